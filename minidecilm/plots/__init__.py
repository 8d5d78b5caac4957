"""Figures: functions that draw data into an Axes and return it; they load matplotlib when they are called."""

from typing import TYPE_CHECKING

from minidecilm.plots.allocation import allocations, sensitivity
from minidecilm.plots.architecture import architecture, architecture_size
from minidecilm.plots.inside import activations, attention_grid, attention_maps, by_head, by_position
from minidecilm.plots.output import FORMATS, check_suffix, save_figure, save_numbers
from minidecilm.plots.rotary import rope_base, rotary_angles, score_by_distance, wavelengths
from minidecilm.plots.sizes import kv_cache_by_batch, kv_cache_by_context, kv_heads, largest_batch, parameters
from minidecilm.plots.speed import factors, roofline, throughput
from minidecilm.plots.style import DARK, LIGHT, MODEL_COLORS, new_figure, style
from minidecilm.presets import TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure

__all__ = [
    "DARK",
    "FORMATS",
    "LIGHT",
    "MODEL_COLORS",
    "TITLES",
    "activations",
    "allocations",
    "architecture",
    "architecture_size",
    "attention_grid",
    "attention_maps",
    "by_head",
    "by_position",
    "check_suffix",
    "factors",
    "kv_cache_by_batch",
    "kv_cache_by_context",
    "kv_heads",
    "largest_batch",
    "new_figure",
    "parameters",
    "roofline",
    "rope_base",
    "rotary_angles",
    "save_figure",
    "save_numbers",
    "score_by_distance",
    "sensitivity",
    "style",
    "throughput",
    "wavelengths",
]
