"""Who takes part, and who beside whom."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.scenarios import ATTENDING, FEEDING, Contestant, Scenario


class Entry(NamedTuple):
    """A module of this folder, and the options of one contestant."""

    module: str
    options: dict[str, Any]


class Group(NamedTuple):
    """Contestants of like accuracy, that share the memory and take turns.

    Attributes
    ----------
    arithmetic : str
        In which minidecilm multiplies: one of ``peaks.PEAKS``.
    entries : mapping of str to Entry
    scenarios : mapping of str to Scenario
    guests : tuple of str
        Contestants of earlier groups, of which the faster joins in reading a prompt.
    """

    arithmetic: str
    entries: Mapping[str, Entry]
    scenarios: Mapping[str, Scenario] = FEEDING
    guests: tuple[str, ...] = ()


#: What the others' results are compared with: of the networks, and of the attentions.
REFERENCE, ATTENTION_REFERENCE = "minidecilm NumPy f32", "minidecilm NumPy attention"

ATTENTIONS = {
    "minidecilm attention f32": Entry("ours", {"backend": "numba", "cache": "float32"}),
    "minidecilm attention bf16": Entry("ours", {"backend": "numba", "cache": "bfloat16"}),
    ATTENTION_REFERENCE: Entry("ours", {"backend": "numpy", "cache": "float32"}),
} | {
    f"PyTorch SDPA {short}, {call}": Entry("pytorch", {"dtype": dtype, "call": call})
    for short, dtype in {"f32": "float32", "bf16": "bfloat16"}.items()
    for call in ("gqa", "repeat", "fold")
}

GROUPS = {
    # First: the other networks are compared with its NumPy.
    "float32": Group(
        "float32",
        {
            "minidecilm f32": Entry("ours", {"folder": "checkpoint"}),
            REFERENCE: Entry("ours", {"folder": "checkpoint", "backend": "numpy", "weights": "float32"}),
            "PyTorch f32": Entry("pytorch", {"dtype": "float32"}),
        },
    ),
    "bfloat16": Group(
        "bfloat16",
        {
            "minidecilm bf16": Entry("ours", {"folder": "checkpoint", "dtype": "bfloat16"}),
            "PyTorch bf16": Entry("pytorch", {"dtype": "bfloat16"}),
            "llama.cpp BF16": Entry("llamacpp", {"storage": "BF16"}),
        },
    ),
    "int8": Group(
        "int8",
        {
            "minidecilm int8": Entry("ours", {"folder": "int8"}),
            "llama.cpp Q8_0": Entry("llamacpp", {"storage": "Q8_0"}),
        },
        guests=("PyTorch f32", "PyTorch bf16"),
    ),
    "int4": Group(
        "int4",
        {
            "minidecilm int4": Entry("ours", {"folder": "int4"}),
            "llama.cpp Q4_0": Entry("llamacpp", {"storage": "Q4_0"}),
            "llama.cpp Q4_K_M": Entry("llamacpp", {"storage": "Q4_K_M"}),
        },
    ),
    "attention": Group("float32", ATTENTIONS, ATTENDING),
}
# Takes part in the small network only: it shows that llama.cpp computes the same, up to float32's rounding.
EXACT = {"llama.cpp F32, exact": Entry("llamacpp", {"storage": "F32", "exact": True})}

#: The compiled models of minidecilm, by the group in which each takes part.
COMPILED = {
    "float32": "minidecilm f32",
    "bfloat16": "minidecilm bf16",
    "int8": "minidecilm int8",
    "int4": "minidecilm int4",
}

ENTRIES = {name: entry for group in GROUPS.values() for name, entry in group.entries.items()} | EXACT


def create(name: str, models: Path) -> Contestant:
    """Load the model, or make the attention, of that name; `models` holds what models read."""
    entry = ENTRIES[name]
    module = import_module(f"benchmarks.peers.{entry.module}")
    if name in ATTENTIONS:
        return module.Attention(**entry.options)
    return module.Model(models, **entry.options)
