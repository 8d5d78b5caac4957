"""DeciLM 6B in NumPy: every layer with its own number of KV heads, and what that buys.

>>> import minidecilm
>>> lm = minidecilm.load("demo")
>>> story = lm.generate("Once upon a time", max_new_tokens=20, temperature=0.7)
"""

from importlib import import_module

TYPE_CHECKING = (
    False  # not from typing: until the command line is there, every import delays its answer to Ctrl-C
)
if TYPE_CHECKING:
    from typing import Any

    from minidecilm.api import PROMPT_TEMPLATES as PROMPT_TEMPLATES
    from minidecilm.api import LanguageModel as LanguageModel
    from minidecilm.api import generate as generate
    from minidecilm.api import load as load
    from minidecilm.api import stream as stream
    from minidecilm.config import Config as Config
    from minidecilm.config import LayerConfig as LayerConfig
    from minidecilm.errors import CheckpointError as CheckpointError
    from minidecilm.errors import ConfigError as ConfigError
    from minidecilm.errors import Interrupted as Interrupted
    from minidecilm.experiments.allocate import choose_allocation as choose_allocation
    from minidecilm.experiments.compare import compare as compare
    from minidecilm.experiments.compare import first_difference as first_difference
    from minidecilm.experiments.evaluate import text_rows as text_rows
    from minidecilm.experiments.evaluate import token_losses as token_losses
    from minidecilm.experiments.pooling import pool_kv_heads as pool_kv_heads
    from minidecilm.experiments.sweep import measure_allocations as measure_allocations
    from minidecilm.experiments.sweep import sensitivity as sensitivity
    from minidecilm.generation import generate_tokens as generate_tokens
    from minidecilm.observe import STAGES as STAGES
    from minidecilm.observe import Recorder as Recorder
    from minidecilm.presets import PRESET_NAMES as PRESET_NAMES
    from minidecilm.presets import preset as preset
    from minidecilm.trace import Step as Step
    from minidecilm.trace import Totals as Totals
    from minidecilm.weights.export import export_checkpoint as export_checkpoint
    from minidecilm.weights.quantize import quantize_checkpoint as quantize_checkpoint
    from minidecilm.weights.random_weights import write_random_checkpoint as write_random_checkpoint

__version__ = "0.1.0"

# Importing the package loads none of it: a name, or a module of the package, is loaded when it is first used.
_HOMES = {
    "api": ("LanguageModel", "PROMPT_TEMPLATES", "generate", "load", "stream"),
    "config": ("Config", "LayerConfig"),
    "errors": ("CheckpointError", "ConfigError", "Interrupted"),
    "experiments.allocate": ("choose_allocation",),
    "experiments.compare": ("compare", "first_difference"),
    "experiments.evaluate": ("text_rows", "token_losses"),
    "experiments.pooling": ("pool_kv_heads",),
    "experiments.sweep": ("measure_allocations", "sensitivity"),
    "generation": ("generate_tokens",),
    "observe": ("Recorder", "STAGES"),
    "presets": ("PRESET_NAMES", "preset"),
    "trace": ("Step", "Totals"),
    "weights.export": ("export_checkpoint",),
    "weights.quantize": ("quantize_checkpoint",),
    "weights.random_weights": ("write_random_checkpoint",),
}
__all__ = sorted(sum(_HOMES.values(), ()))


def __getattr__(name: str) -> "Any":
    from importlib.util import find_spec

    for home, names in _HOMES.items():
        if name in names:
            return globals().setdefault(name, getattr(import_module(f"minidecilm.{home}"), name))
    if not name.startswith("_") and find_spec(f"minidecilm.{name}"):
        return import_module(f"minidecilm.{name}")
    raise AttributeError(f"module 'minidecilm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
