"""Which KV heads the demo model can do without: a miniature of an architecture search, on its own stories.

The method is ours, and not Deci's AutoNAC: pool the KV heads of one layer at a time and measure the extra
held-out loss, assume that these losses add up, choose the best heads for every cache budget by dynamic
programming (``minidecilm/experiments/allocate.py``). Nothing is trained after pooling: what is found is which
layers give way first, not how good a model trained with those heads would be.

Half of the held-out stories are for choosing. On the other half every allocation that pooling can reach is
measured for real: it shows how far the additive prediction is off, and what the best choice would have been.
Beside the chosen ones are those that know nothing of layers: at most so many heads in each.

    python -m analysis.allocation

writes ``analysis/results/allocation.json``. ``analysis/data/README.md`` says where the stories are from.
"""

import argparse
import hashlib
import math
import multiprocessing
import os
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from analysis.common import RESULTS
from benchmarks.common import describe, write_result
from minidecilm import load, measure_allocations, sensitivity, text_rows
from minidecilm.bench.machine import usable_cores
from minidecilm.experiments.allocate import allocation_front, cache_bytes

TEXT = Path(__file__).parent / "data" / "held_out.txt"
KV_CACHE = "bfloat16"


def read_stories(path: Path = TEXT) -> list[str]:
    """Read stories with an empty line between them."""
    return path.read_text(encoding="utf-8").strip("\n").split("\n\n")


def measure(model: str | Path, stories: list[str], executor: Executor | None = None) -> dict[str, Any]:
    """Choose on the first half of the stories, check every allocation on the second.

    Returns
    -------
    dict
        ``sensitivity``: a list with, for each layer, its KV heads and the extra loss by heads left.
        ``allocations``: heads, cache bytes per token, predicted extra loss, real loss, extra loss and
        perplexity of each; whether it was chosen for some budget; and the number of heads if it is what
        limiting all layers to so many gives. Losses are in nats per token.
    """
    lm = load(model)
    rows = text_rows(lm, stories)
    half = len(rows) // 2
    found = sensitivity(model, rows[:half], executor=executor)
    chosen = {allocation.kv_heads for allocation in allocation_front(found, KV_CACHE)}
    present = lm.config.num_key_value_heads_per_layer
    uniform = {tuple(min(old, limit) for old in present): limit for limit in sorted(set(present))}

    every = list(product(*(sorted(options) for options in found.extra_losses)))
    losses = measure_allocations(model, every, rows[half:], executor=executor)
    base = losses[every.index(present)]
    allocations = [
        {
            "kv_heads": list(heads),
            "bytes_per_token": cache_bytes(lm.config, heads, KV_CACHE),
            "predicted_extra_loss": sum(
                options[k] for options, k in zip(found.extra_losses, heads, strict=True)
            ),
            "extra_loss": loss - base,
            "loss": loss,
            "perplexity": math.exp(loss),
            "chosen": heads in chosen,
            "at_most_heads": uniform.get(heads),
        }
        for heads, loss in zip(every, losses, strict=True)
    ]
    return {
        "model": str(model),
        "weights_sha256": fingerprint(lm.checkpoint.files),
        "kv_cache": KV_CACHE,
        "stories_for_choosing": half,
        "tokens_for_choosing": sum(map(len, rows[:half])) - half,
        "loss_while_choosing": found.base_loss,
        "stories_for_checking": len(rows) - half,
        "tokens_for_checking": sum(map(len, rows[half:])) - (len(rows) - half),
        "sensitivity": [
            {"layer": layer, "kv_heads": old, "extra_losses": {str(k): options[k] for k in sorted(options)}}
            for layer, (old, options) in enumerate(zip(present, found.extra_losses, strict=True))
        ],
        "allocations": sorted(allocations, key=lambda found: (found["bytes_per_token"], found["loss"])),
    }


def fingerprint(files: tuple[Path, ...]) -> str:
    """SHA-256 of the weights: tells whether a result is of the model that is here."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def summary(result: dict[str, Any]) -> str:
    """Lay out the allocations that were chosen, the limited ones, and the best for the same cache."""
    lines = ["bytes/token  predicted   real  perplexity  best within  KV heads"]
    for row in result["allocations"]:
        if not row["chosen"] and row["at_most_heads"] is None:
            continue
        fitting = [r for r in result["allocations"] if r["bytes_per_token"] <= row["bytes_per_token"]]
        note = "" if row["at_most_heads"] is None else f"  at most {row['at_most_heads']}"
        lines.append(
            f"{row['bytes_per_token']:11,}  {row['predicted_extra_loss']:+9.3f} {row['extra_loss']:+6.3f} "
            f"{row['perplexity']:11.3f}  {min(r['perplexity'] for r in fitting):11.3f}  "
            f"{' '.join(map(str, row['kv_heads']))}{'  chosen' if row['chosen'] else ''}{note}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the demo model and write the result."""
    parser = argparse.ArgumentParser(description="Choose KV heads for the demo model, and check the choice.")
    parser.add_argument("--model", default="demo", help="demo, or a folder with a tokenizer (default: demo)")
    parser.add_argument("--stories", type=Path, default=TEXT, help="texts with an empty line between them")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (default: all cores)")
    options = parser.parse_args()
    # Each worker gets one core; read by NumPy's library when a worker starts.
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn) as executor:
        result = measure(options.model, read_stories(options.stories), executor)
    print(summary(result))
    path = RESULTS / "allocation.json"
    write_result(path, {"machine": describe("numpy"), **result})
    print(f"written to {path}")


if __name__ == "__main__":
    main()
