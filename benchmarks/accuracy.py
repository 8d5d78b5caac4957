"""What each backend, storage of weights and storage of the cache costs in accuracy, on the demo model.

Held-out stories are fed whole; every logit is compared with that of the same bfloat16 weights computed in
float64 by the NumPy backend. Perplexity is of the stories' own next tokens. Writes
``benchmarks/results/accuracy.json``, and the table made of it, ``accuracy.md``.

    python -m benchmarks.accuracy

The Numba backend rounds activations too: to int8 with a scale per group of columns where weights are packed,
and to bfloat16 where that is the arithmetic.
"""

import argparse
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import minidecilm
from benchmarks.common import RESULTS, describe, write_result
from training.stories import HELD_OUT_START, stories

KERNELS = {"numpy": "", "numba": "explicit", "numba, portable kernels": "portable"}
GROUPS = (32, 64, 128)
#: How much worse than with the stored weights, at most.
BOUNDS = {"int8": 0.005, "int4": 0.05}

BATCH = 20  # stories fed together

HEADING = """\
# Accuracy of the demo model, by backend and storage

Made by `python -m benchmarks.accuracy` from `accuracy.json`.

{stories:,} held-out stories, {tokens:,} tokens, on {cpu}. Errors are those of logits, of which the standard
deviation is {logit_deviation:.2f}, against float64 with the same stored bfloat16 weights, of which the
perplexity is {reference_perplexity:.4f}. Bits are those of a weight, scales included. Bounds on the
change of perplexity: {bounds}.

| backend | weights | arithmetic | cache | bits | max error | mean error | same top-1 | perplexity | change |
|---|---|---|---|---|---|---|---|---|---|\
"""


@dataclass(frozen=True)
class Setting:
    """One row of the table; `group` is 0 where weights are not packed."""

    backend: str
    weights: str
    group: int = 0
    kv_cache: str = "float32"
    dtype: str = "float32"


@dataclass
class Tally:
    """Sums over positions, of which each has V logits and one true next token."""

    logits: int = 0
    tokens: int = 0
    largest: float = 0.0
    absolute: float = 0.0
    agreeing: int = 0
    loss: float = 0.0

    def add(self, found: Any, reference: Any, targets: Any) -> None:
        """Count (N, V) logits in, and (N,) next tokens."""
        found = found.astype(np.float64)
        error = np.abs(found - reference)
        self.logits += error.size
        self.tokens += len(targets)
        self.largest = max(self.largest, float(error.max()))
        self.absolute += float(error.sum())
        self.agreeing += int(np.sum(found.argmax(axis=1) == reference.argmax(axis=1)))
        self.loss += losses(found, targets)

    def report(self) -> dict[str, float]:
        return {
            "max_error": self.largest,
            "mean_error": self.absolute / self.logits,
            "top1_agreement": self.agreeing / self.tokens,
            "perplexity": math.exp(self.loss / self.tokens),
        }


def losses(logits: Any, targets: Any) -> float:
    """Sum of -log p(target), in nats: (N, V), (N,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(shifted, targets[:, None], axis=1)[:, 0]
    return float(np.sum(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def batches(lm: minidecilm.LanguageModel, count: int) -> Iterator[tuple[Any, Any]]:
    """Yield padded ids (B, T + 1) of held-out stories, and which of the T next tokens are theirs."""
    for start in range(0, count, BATCH):
        rows = []
        for text in stories(HELD_OUT_START + start, min(BATCH, count - start)):
            ids = [*lm.tokenizer.encode(text), *lm.config.eos_token_ids]
            rows.append(ids[: lm.config.max_position_embeddings + 1])
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros(
            (len(rows), max(lengths)), np.int64
        )  # attention looks back only, so padding changes nothing
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        yield ids, np.arange(1, ids.shape[1]) < lengths[:, None]


def measure(
    models: dict[Setting, minidecilm.LanguageModel], reference: minidecilm.LanguageModel, count: int
) -> tuple[dict[Setting, dict[str, float]], float, int]:
    """Compare models with the reference on so many stories.

    Returns
    -------
    reports, perplexity of the reference, number of tokens
    """
    tallies, own = {setting: Tally() for setting in models}, Tally()
    for ids, real in tqdm(batches(reference, count), total=-(-count // BATCH), unit="batch", disable=None):
        expected, targets = reference.model(ids[:, :-1])[real], ids[:, 1:][real]
        own.add(expected, expected, targets)
        for setting, lm in models.items():
            tallies[setting].add(lm.model(ids[:, :-1])[real], expected, targets)
    reports = {setting: tally.report() for setting, tally in tallies.items()}
    return reports, own.report()["perplexity"], own.tokens


def load(setting: Setting, folder: Path) -> minidecilm.LanguageModel:
    """Load the demo in a setting; packed copies are made in `folder`, once each."""
    options = {name: getattr(setting, name) for name in ("kv_cache", "dtype")}
    options["backend"] = setting.backend.split(",")[0]
    os.environ["MINIDECILM_KERNELS"] = KERNELS[setting.backend]  # read when the backend is made
    if not setting.group:
        return minidecilm.load("demo", weights=setting.weights, **options)
    packed = folder / f"{setting.weights}-{setting.group}"
    if not packed.exists():
        demo = minidecilm.load("demo").checkpoint.folder
        minidecilm.quantize_checkpoint(demo, packed, setting.weights, setting.group, progress=False)
    return minidecilm.load(packed, **options)


def settings(backends: Iterable[str]) -> Iterator[Setting]:
    """Every storage of weights with a float32 cache; the main ones with a bfloat16 cache too.

    Numba also multiplies in bfloat16 what is stored so.
    """
    for backend in backends:
        for kv_cache in ("float32", "bfloat16"):
            yield Setting(backend, "stored", 0, kv_cache)
            if kv_cache == "float32":
                yield Setting(backend, "float32", 0, kv_cache)
            if backend != "numpy":
                yield Setting(backend, "stored", 0, kv_cache, "bfloat16")
            for weights in BOUNDS:
                for group in GROUPS if kv_cache == "float32" else (64,):
                    yield Setting(backend, weights, group, kv_cache)


def arithmetic(run: dict[str, Any]) -> str:
    """Name what weights and activations are when they are multiplied."""
    integers = run["group"] and run["backend"] != "numpy"
    return "int8" if integers else run["dtype"]


def page(result: dict[str, Any]) -> str:
    """Make the table."""
    base = result["reference_perplexity"]
    bounds = ", ".join(f"{weights} {bound:+.1%}" for weights, bound in BOUNDS.items())
    lines = [HEADING.format(**result, cpu=result["machine"]["cpu"], bounds=bounds)]
    for run in result["runs"]:
        weights = f"{run['weights']}, group {run['group']}" if run["group"] else run["weights"]
        lines.append(
            f"| {run['backend']} | {weights} | {arithmetic(run)} | {run['kv_cache']} "
            f"| {run['bits_per_weight']:.2f} "
            f"| {run['max_error']:.2g} | {run['mean_error']:.2g} | {run['top1_agreement']:.2%} "
            f"| {run['perplexity']:.4f} | {run['perplexity'] / base - 1:+z.3%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure accuracy by backend and storage.")
    parser.add_argument("--stories", type=int, default=200)
    parser.add_argument("--backends", nargs="+", choices=KERNELS, default=list(KERNELS))
    arguments = parser.parse_args()
    reference = minidecilm.load("demo", backend="numpy", dtype="float64")
    with tempfile.TemporaryDirectory() as folder:
        models = {setting: load(setting, Path(folder)) for setting in settings(arguments.backends)}
        reports, perplexity, tokens = measure(models, reference, arguments.stories)
        ids, real = next(batches(reference, BATCH))
        result = {
            "machine": describe("numpy", "numba"),
            "stories": arguments.stories,
            "tokens": tokens,
            "model": fingerprint(reference),
            "parameters": reference.config.num_parameters,
            "reference_perplexity": perplexity,
            "logit_deviation": float(reference.model(ids[:, :-1])[real].std()),
            "runs": [
                asdict(setting)
                | {"bits_per_weight": 8 * weight_bytes(models[setting]) / reference.config.num_parameters}
                | reports[setting]
                for setting in models
            ],
        }
    write_result(RESULTS / "accuracy.json", result)
    (RESULTS / "accuracy.md").write_text(page(result), encoding="utf-8")
    print(page(result))


def fingerprint(lm: minidecilm.LanguageModel) -> str:
    """SHA-256 of the weights: tells whether a result is of the demo that is here."""
    digest = hashlib.sha256()
    for file in lm.checkpoint.files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def weight_bytes(lm: minidecilm.LanguageModel) -> int:
    return sum(weight.nbytes for weight in lm.model.weights.values())


if __name__ == "__main__":
    main()
