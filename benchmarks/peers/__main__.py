"""minidecilm beside PyTorch and llama.cpp, end to end and attention alone, in alternation within one run.

The network is as wide as DeciLM-6b but has few layers, so that all contestants fit in memory at once: 20 GB
for the default four. All read the same random weights. Each lives in a process of its own and sleeps while
another works. The first run takes some minutes longer: it installs PyTorch and compiles llama.cpp in
``WORK/venv``.

    python -m benchmarks.peers --work /tmp/peers
    python -m benchmarks.tables
"""

import argparse
from pathlib import Path

from benchmarks.common import RESULTS, write_result
from benchmarks.peers.environment import enter_environment


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for peers, models and logs")
    parser.add_argument("--kv-heads", type=int, nargs="+", default=[4, 2, 1, 4], help="one number per layer")
    parser.add_argument("--rounds", type=int, default=5, help="timed ones; one more goes before")
    parser.add_argument("--tiny", action="store_true", help="a small network: only to see whether all works")
    parser.add_argument("--output", type=Path, default=RESULTS / "peers.json", help="JSON file to write")
    arguments = parser.parse_args()
    work, output = arguments.work.resolve(), arguments.output.resolve()
    work.mkdir(parents=True, exist_ok=True)
    enter_environment(work)

    from benchmarks.peers.play import play  # needs what is installed in the environment

    write_result(output, play(work, arguments.kv_heads, arguments.rounds, arguments.tiny))


if __name__ == "__main__":
    main()
