"""The whole DeciLM-6B through the NumPy backend in 16 GiB: does it run, in how much memory, how fast.

Writes a checkpoint of random weights in the published layout (11.4 GB) unless the folder has one, then, in a
fresh process whose address space is limited to 16 GiB, mapped weights included, generates tokens with a
progress bar. The limit beside it is reading the same bytes once, as a sum in NumPy: decoding reads every
weight once a token.

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
from typing import Any

from benchmarks.machine import RESULTS, describe, process_memory, write_result

LIMIT = 16 * 2**30


def generate_here(folder: Path, prompt_tokens: int, new_tokens: int) -> dict[str, Any]:
    """Load and generate in this process, under the limit."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    import numpy as np

    import minidecilm

    start = time.perf_counter()
    model = minidecilm.load(folder, backend="numpy").model
    opening = time.perf_counter() - start
    prompt = np.random.default_rng(0).integers(3, model.config.vocab_size, size=prompt_tokens)
    trace: list[minidecilm.Step] = []
    minidecilm.generate_tokens(model, prompt, max_new_tokens=new_tokens, trace=trace, progress=True)
    memory = process_memory()
    start = time.perf_counter()
    for weight in model.weights.values():
        weight.reshape(-1).view(np.uint64).sum()
    return {
        "prompt_tokens": prompt_tokens,
        "new_tokens": len(trace),
        "opening_seconds": opening,
        "prefill_seconds": trace[0].seconds,
        "decode_seconds": [step.seconds for step in trace[1:]],
        "peak_resident_bytes": memory["peak_total"],
        "anonymous_bytes": memory["anonymous"],
        "read_once_seconds": time.perf_counter() - start,
        "kv_cache_bytes": trace[-1].cache_nbytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the checkpoint is, or is to be written"
    )
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=4)
    parser.add_argument("--output", type=Path, default=RESULTS / "full_size.json", help="JSON file to write")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(generate_here(arguments.folder, arguments.prompt_tokens, arguments.new_tokens)))
        return

    import minidecilm

    if not arguments.folder.exists():
        minidecilm.write_random_checkpoint(minidecilm.preset("decilm-6b"), arguments.folder)
    command = [sys.executable, "-m", "benchmarks.full_size", "--here", "--folder", str(arguments.folder)]
    command += ["--prompt-tokens", str(arguments.prompt_tokens), "--new-tokens", str(arguments.new_tokens)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(
        f"opened in {found['opening_seconds']:.2f} s; prefill of {found['prompt_tokens']} tokens "
        f"{found['prefill_seconds']:.1f} s; {median(found['decode_seconds']):.1f} s a token after that, "
        f"{median(found['decode_seconds']) / found['read_once_seconds']:.1f} times reading the weights once; "
        f"{found['anonymous_bytes'] / 1e6:.0f} MB besides the mapped file, address space limited to 16 GiB"
    )
    what = "decilm-6b, random bfloat16 weights, numpy backend, float32 compute"
    write_result(
        arguments.output,
        {"what": what, "address_space_limit_bytes": LIMIT, **describe("numpy", "ml_dtypes"), **found},
    )


if __name__ == "__main__":
    main()
