"""Store what transformers' own logits processors make of some logits.

Run from the repository root with torch and transformers installed:
    python tests/golden/make_sampling.py
"""

import json
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import transformers
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

PATH = Path(__file__).parent / "sampling.npz"
V = 512

# In the order in which generate() chains them; a neutral value leaves the processor out, as generate() does.
PROCESSORS = {
    "repetition_penalty": (1.0, RepetitionPenaltyLogitsProcessor),
    "temperature": (1.0, TemperatureLogitsWarper),
    "top_k": (0, TopKLogitsWarper),
    "top_p": (1.0, TopPLogitsWarper),
    "min_p": (0.0, MinPLogitsWarper),
}

SETTINGS = [
    *({"repetition_penalty": value} for value in (0.5, 1.2, 3.0)),
    *({"temperature": value} for value in (0.1, 0.7, 2.0)),
    *({"top_k": value} for value in (1, 2, 40, 511, 512, 9999)),
    *({"top_p": value} for value in (1e-6, 0.25, 0.5, 0.9, 0.95, 0.999)),
    *({"min_p": value} for value in (1e-4, 0.05, 0.5, 1.0)),
    {"temperature": 0.8, "top_p": 0.95},
    {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.02},
    {"repetition_penalty": 1.3, "temperature": 0.6, "top_k": 20, "top_p": 0.8, "min_p": 0.1},
    {"repetition_penalty": 0.8, "temperature": 3.0, "top_k": 300, "top_p": 0.99, "min_p": 0.01},
    {"repetition_penalty": 5.0, "temperature": 0.2, "top_k": 3, "top_p": 0.5, "min_p": 0.9},
]


def make_logits():
    """Named rows of (V,) float32 logits, easy and hard."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=V) * 3
    removed = np.where(rng.random(V) < 0.5, -np.inf, normal)
    peaked = np.full(V, -20.0)
    peaked[7] = 60.0
    one = np.full(V, -np.inf)
    one[300] = 1.5
    rows = {
        "normal": normal,
        "narrow": rng.normal(size=V) * 0.1,
        "large": rng.normal(size=V) * 100 + 1000,
        "all_negative": -np.abs(normal) - 1,
        "ties": np.round(normal),  # a few dozen tokens share each logit
        "many_ties": np.repeat([2.0, 1.0, 0.0, -1.0], V // 4)[rng.permutation(V)],
        "signed_zeros": np.where(rng.random(V) < 0.5, 0.0, -0.0),
        "flat": np.full(V, 0.25),
        "peaked": peaked,
        "two_peaks": np.where(np.isin(np.arange(V), (3, 400)), 30.0, rng.normal(size=V)),
        "removed": removed,
        "one_left": one,
        "long_tail": -np.log(np.arange(1, V + 1))[rng.permutation(V)],
    }
    return {name: row.astype(np.float32) for name, row in rows.items()}


def run(setting, token_ids, logits):
    """Chain the processors of one setting over (rows, V) logits; all rows have seen the same ids."""
    chain = LogitsProcessorList(
        make(setting[name])
        for name, (neutral, make) in PROCESSORS.items()
        if setting.get(name, neutral) != neutral
    )
    seen = torch.from_numpy(np.tile(token_ids, (len(logits), 1)))
    return chain(seen, torch.from_numpy(logits.copy())).numpy()


def main():
    rng = np.random.default_rng(1)
    token_ids = np.concatenate([rng.integers(V, size=60), [7, 7, 3, 300]])  # with repetitions
    logits = make_logits()
    stacked = np.stack(list(logits.values()))
    processed, rounding = [], []
    for setting in SETTINGS:
        # torch.sort leaves the order of equal logits open, so which of them top-p removes would depend on the
        # machine: ask for the stable order, one of those allowed. Float64, so that no rounding decides.
        with mock.patch("torch.sort", partial(torch.sort, stable=True)):
            wide = run(setting, token_ids, stacked.astype(np.float64))
        processed.append(wide.astype(np.float32))
        # What generate() computes, in float32 and with ties in any order, keeps as many tokens of each row,
        # save where rounding decides.
        narrow = run(setting, token_ids, stacked)
        differs = np.isfinite(narrow).sum(axis=1) != np.isfinite(wide).sum(axis=1)
        rounding += [[setting, name] for name, row in zip(logits, differs, strict=True) if row]
    versions = {module.__name__: module.__version__ for module in (torch, transformers, np)}
    meta = {
        "versions": versions,
        "rows": list(logits),
        "settings": SETTINGS,
        "float32_keeps_other_number": rounding,
    }
    np.savez_compressed(
        PATH, logits=stacked, token_ids=token_ids, processed=np.stack(processed), meta=json.dumps(meta)
    )
    print(versions, f"{len(SETTINGS)} settings x {len(stacked)} rows, {PATH.stat().st_size:,} bytes")
    print("rounding decides in", rounding)


if __name__ == "__main__":
    main()
