"""DeciLM 6B in NumPy."""

from minidecilm.config import Config
from minidecilm.presets import preset
