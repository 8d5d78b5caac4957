"""DeciLM 6B in NumPy: every layer with its own number of KV heads, and what that buys.

>>> import minidecilm
>>> lm = minidecilm.load("demo")
>>> story = lm.generate("Once upon a time", max_new_tokens=20, temperature=0.7)
"""

from minidecilm.api import PROMPT_TEMPLATES, LanguageModel, generate, load, stream
from minidecilm.checkpoint import write_random_checkpoint
from minidecilm.config import Config, LayerConfig
from minidecilm.diverge import compare, first_difference
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.generation import generate_tokens
from minidecilm.observe import STAGES, Recorder
from minidecilm.presets import PRESET_NAMES, preset
from minidecilm.trace import Step

__version__ = "0.1.0"

__all__ = [
    "PRESET_NAMES",
    "PROMPT_TEMPLATES",
    "STAGES",
    "CheckpointError",
    "Config",
    "ConfigError",
    "LanguageModel",
    "LayerConfig",
    "Recorder",
    "Step",
    "compare",
    "first_difference",
    "generate",
    "generate_tokens",
    "load",
    "preset",
    "stream",
    "write_random_checkpoint",
]
