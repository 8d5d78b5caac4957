"""Who takes part."""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.scenarios import Contestant


class Entry(NamedTuple):
    """A module of this folder, and the options of one contestant."""

    module: str
    options: dict[str, Any]


MODELS = {
    "minidecilm bf16": Entry("ours", {"backend": "numba", "folder": "checkpoint"}),
    "minidecilm int8": Entry("ours", {"backend": "numba", "folder": "int8"}),
    "minidecilm int4": Entry("ours", {"backend": "numba", "folder": "int4"}),
    "minidecilm NumPy f32": Entry("ours", {"backend": "numpy", "folder": "checkpoint", "weights": "float32"}),
    "PyTorch f32": Entry("pytorch", {"dtype": "float32"}),
    "PyTorch bf16": Entry("pytorch", {"dtype": "bfloat16"}),
    "llama.cpp BF16": Entry("llamacpp", {"storage": "BF16"}),
    "llama.cpp Q8_0": Entry("llamacpp", {"storage": "Q8_0"}),
    "llama.cpp Q4_0": Entry("llamacpp", {"storage": "Q4_0"}),
}
# Takes part in the small network only: it shows that llama.cpp computes the same, up to float32's rounding.
EXACT = {"llama.cpp F32, exact": Entry("llamacpp", {"storage": "F32", "exact": True})}
ATTENTIONS = {
    "minidecilm attention f32": Entry("ours", {"backend": "numba", "cache": "float32"}),
    "minidecilm attention bf16": Entry("ours", {"backend": "numba", "cache": "bfloat16"}),
    "minidecilm NumPy attention": Entry("ours", {"backend": "numpy", "cache": "float32"}),
} | {
    f"PyTorch SDPA {short}, {call}": Entry("pytorch", {"dtype": dtype, "call": call})
    for short, dtype in {"f32": "float32", "bf16": "bfloat16"}.items()
    for call in ("gqa", "repeat", "fold")
}


def create(name: str, models: Path) -> Contestant:
    """Load the model, or make the attention, of that name; `models` holds what models read."""
    entry = (MODELS | EXACT | ATTENTIONS)[name]
    module = import_module(f"benchmarks.peers.{entry.module}")
    if name in ATTENTIONS:
        return module.Attention(**entry.options)
    return module.Model(models, **entry.options)
