"""minidecilm beside PyTorch and llama.cpp, end to end and attention alone, in alternation within one run.

The network is as wide as DeciLM-6b but has fewer layers. All contestants read the same random weights. One
group after the other loads, takes turns and ends: those of like accuracy, which fit in memory together (17 GB
for the eight layers). Each lives in a process of its own and sleeps while another works. The first run takes
some minutes longer: it installs PyTorch and compiles llama.cpp in ``WORK/venv``, and writes 14 GB of models.
The result goes to the folder of this CPU in ``benchmarks/results``.

    python -m benchmarks.peers --work /tmp/peers
    python -m benchmarks.tables

A part, to see what a change has brought: ``--groups int4``, once the group float32 has been raced, which
holds what results are compared with.
"""

import argparse
from pathlib import Path

from benchmarks.common import cpu_folder, write_result
from benchmarks.peers.contestants import GROUPS
from benchmarks.peers.environment import enter_environment
from benchmarks.tables import goals_table

KV_HEADS = [4, 2, 1, 4] * 2  # the numbers that DeciLM-6b's layers have


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for peers, models and logs")
    parser.add_argument("--kv-heads", type=int, nargs="+", default=KV_HEADS, help="one number per layer")
    parser.add_argument("--rounds", type=int, default=3, help="timed ones; one more goes before")
    parser.add_argument("--tiny", action="store_true", help="a small network: only to see whether all works")
    parser.add_argument(
        "--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="default: all; float32 goes first"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="JSON file to write; default: of this CPU's results, or in WORK for a part",
    )
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    whole = not arguments.tiny and set(arguments.groups) == set(GROUPS)
    output = (arguments.output or (cpu_folder() if whole else work) / "peers.json").resolve()
    work.mkdir(parents=True, exist_ok=True)
    enter_environment(work)

    from benchmarks.peers.play import play  # needs what is installed in the environment

    result = play(work, arguments.kv_heads, arguments.groups, arguments.rounds, arguments.tiny)
    write_result(output, result)
    print(goals_table(result), f"Written: {output}", sep="\n")


if __name__ == "__main__":
    main()
