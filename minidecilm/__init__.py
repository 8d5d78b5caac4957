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

    from minidecilm.api import PROMPT_TEMPLATES, LanguageModel, generate, load, stream
    from minidecilm.config import Config, LayerConfig
    from minidecilm.errors import CheckpointError, ConfigError, Interrupted
    from minidecilm.experiments.allocate import choose_allocation
    from minidecilm.experiments.compare import compare, first_difference
    from minidecilm.experiments.evaluate import text_rows, token_losses
    from minidecilm.experiments.pooling import pool_kv_heads
    from minidecilm.experiments.sweep import measure_allocations, sensitivity
    from minidecilm.generation import generate_tokens
    from minidecilm.observe import STAGES, Recorder
    from minidecilm.presets import PRESET_NAMES, preset
    from minidecilm.trace import Step, Totals
    from minidecilm.weights.quantize import quantize_checkpoint
    from minidecilm.weights.random_weights import write_random_checkpoint

__version__ = "0.1.0"

__all__ = [
    "PRESET_NAMES",
    "PROMPT_TEMPLATES",
    "STAGES",
    "CheckpointError",
    "Config",
    "ConfigError",
    "Interrupted",
    "LanguageModel",
    "LayerConfig",
    "Recorder",
    "Step",
    "Totals",
    "choose_allocation",
    "compare",
    "first_difference",
    "generate",
    "generate_tokens",
    "load",
    "measure_allocations",
    "pool_kv_heads",
    "preset",
    "quantize_checkpoint",
    "sensitivity",
    "stream",
    "text_rows",
    "token_losses",
    "write_random_checkpoint",
]

# Importing the package loads none of it: a name, or a module of the package, is loaded when it is first used.
_HOMES = {
    "choose_allocation": "experiments.allocate",
    "PROMPT_TEMPLATES": "api",
    "LanguageModel": "api",
    "generate": "api",
    "load": "api",
    "stream": "api",
    "write_random_checkpoint": "weights.random_weights",
    "Config": "config",
    "LayerConfig": "config",
    "compare": "experiments.compare",
    "first_difference": "experiments.compare",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "Interrupted": "errors",
    "text_rows": "experiments.evaluate",
    "token_losses": "experiments.evaluate",
    "generate_tokens": "generation",
    "STAGES": "observe",
    "Recorder": "observe",
    "pool_kv_heads": "experiments.pooling",
    "PRESET_NAMES": "presets",
    "preset": "presets",
    "quantize_checkpoint": "weights.quantize",
    "measure_allocations": "experiments.sweep",
    "sensitivity": "experiments.sweep",
    "Step": "trace",
    "Totals": "trace",
}


def __getattr__(name: str) -> "Any":
    from importlib.util import find_spec

    if name in _HOMES:
        value = getattr(import_module(f"minidecilm.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and find_spec(f"minidecilm.{name}"):
        return import_module(f"minidecilm.{name}")
    raise AttributeError(f"module 'minidecilm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
