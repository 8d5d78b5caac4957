"""The whole DeciLM-6B in 16 GiB: does it run, in how much memory, how fast.

Writes a checkpoint of random weights in the published layout (11.4 GB) unless the folder has one, and
quantises it to int8 and int4 (9.5 GB more). Then, for each backend and storage, generates tokens with a
progress bar in a fresh process whose address space is limited to 16 GiB, mapped weights included. Beside the
speed of decoding stands how fast the memory can be read: every token reads every weight once, but for the
embedding.

    python -m benchmarks.full_size --folder /tmp/decilm-6b-random
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, describe, spread, write_result

LIMIT = 16 * 2**30


class Run(NamedTuple):
    """What one process does; `suffix` of the folder says how the weights are stored."""

    backend: str
    suffix: str
    prompt_tokens: int
    new_tokens: int


RUNS = {
    "NumPy bf16": Run("numpy", "", 16, 4),
    "Numba bf16": Run("numba", "", 512, 65),
    "Numba int8": Run("numba", "-int8", 512, 65),
    "Numba int4": Run("numba", "-int4", 512, 65),
}


def with_suffix(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def generate_here(folder: Path, run: Run) -> dict[str, Any]:
    """Load and generate in this process, under the limit."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    import numpy as np

    import minidecilm
    from minidecilm import costs
    from minidecilm.backends.numba_backend.probe import read_bandwidth
    from minidecilm.bench.machine import process_memory

    start = time.perf_counter()
    model = minidecilm.load(with_suffix(folder, run.suffix), backend=run.backend).model
    opening = time.perf_counter() - start
    prompt = np.random.default_rng(0).integers(3, model.config.vocab_size, size=run.prompt_tokens)
    start = time.perf_counter()
    minidecilm.generate_tokens(
        model, prompt[:2], max_new_tokens=2
    )  # compiles, and reads the file into memory
    first_time = time.perf_counter() - start
    trace: list[minidecilm.Step] = []
    minidecilm.generate_tokens(model, prompt, max_new_tokens=run.new_tokens, trace=trace, progress=True)
    memory = process_memory()
    streamed = sum(model.weights[name].nbytes for name in costs.streamed_weights(model.config))
    decoding = [step.seconds for step in trace[1:]]
    return {
        "prompt_tokens": run.prompt_tokens,
        "new_tokens": len(trace),
        "opening_seconds": opening,
        "first_two_tokens_seconds": first_time,
        "prefill_seconds": trace[0].seconds,
        "decode_seconds": spread(decoding),
        "streamed_bytes_per_token": streamed,
        "streamed_bytes_per_second": streamed / median(decoding),
        "read_bytes_per_second": read_bandwidth(),
        "peak_resident_bytes": memory["peak"],
        "anonymous_bytes": memory["anonymous"],
        "kv_cache_bytes": trace[-1].cache_nbytes,
    }


def prepare(folder: Path) -> None:
    """Write what is not there of the checkpoint and its quantised forms."""
    import minidecilm
    from minidecilm.weights.quantize import quantize_checkpoint

    if not folder.exists():
        minidecilm.write_random_checkpoint(minidecilm.preset("decilm-6b"), folder)
    for weights in ("int8", "int4"):
        packed = with_suffix(folder, f"-{weights}")
        if not packed.exists():
            quantize_checkpoint(folder, packed, weights)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the checkpoint is, or is to be written"
    )
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="default: all")
    parser.add_argument("--output", type=Path, default=RESULTS / "full_size.json", help="JSON file to write")
    parser.add_argument("--here", choices=RUNS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(generate_here(arguments.folder, RUNS[arguments.here])))
        return

    prepare(arguments.folder)
    rows = {}
    for name in arguments.runs:
        command = [sys.executable, "-m", "benchmarks.full_size", "--here", name, "--folder", arguments.folder]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rows[name] = found
        print(
            f"{name}: opened in {found['opening_seconds']:.2f} s, prefill of {found['prompt_tokens']} tokens "
            f"{found['prefill_seconds']:.1f} s, then {1 / found['decode_seconds']['median']:.2f} tokens/s at "
            f"{found['streamed_bytes_per_second'] / found['read_bytes_per_second']:.0%} of the bandwidth; "
            f"{found['anonymous_bytes'] / 1e6:.0f} MB besides the mapped file"
        )
    result = {
        "what": "decilm-6b, random weights, float32 compute, one text",
        "address_space_limit_bytes": LIMIT,
        **describe("numpy", "numba", "ml_dtypes"),
        "runs": rows,
    }
    write_result(arguments.output, result)


if __name__ == "__main__":
    main()
