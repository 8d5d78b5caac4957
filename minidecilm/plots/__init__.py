"""Figures: functions that draw data into an Axes and return it; they load matplotlib when they are called.

They share arguments. `ax` is the Axes to draw into, `axes` an array of them. `configs` are by title; `name`
is the title of one model, and sets its colour; `index` tells models apart that have no colour of their own.
Texts are `lengths` tokens long. `batch_sizes` are rows, and each has `context` or one of `contexts` tokens
in its cache; the storages `weights`, `kv_cache` and `dtype` are those of :mod:`minidecilm.costs`.
"""

from typing import TYPE_CHECKING

from minidecilm.plots.allocation import allocations as allocations
from minidecilm.plots.allocation import sensitivity as sensitivity
from minidecilm.plots.architecture import architecture as architecture
from minidecilm.plots.architecture import architecture_size as architecture_size
from minidecilm.plots.inside import activations as activations
from minidecilm.plots.inside import attention_grid as attention_grid
from minidecilm.plots.inside import attention_maps as attention_maps
from minidecilm.plots.inside import by_head as by_head
from minidecilm.plots.inside import by_position as by_position
from minidecilm.plots.output import FORMATS as FORMATS
from minidecilm.plots.output import check_suffix as check_suffix
from minidecilm.plots.output import save_figure as save_figure
from minidecilm.plots.output import save_numbers as save_numbers
from minidecilm.plots.rotary import rope_base as rope_base
from minidecilm.plots.rotary import rotary_angles as rotary_angles
from minidecilm.plots.rotary import score_by_distance as score_by_distance
from minidecilm.plots.rotary import wavelengths as wavelengths
from minidecilm.plots.sizes import kv_cache_by_batch as kv_cache_by_batch
from minidecilm.plots.sizes import kv_cache_by_context as kv_cache_by_context
from minidecilm.plots.sizes import kv_heads as kv_heads
from minidecilm.plots.sizes import largest_batch as largest_batch
from minidecilm.plots.sizes import parameters as parameters
from minidecilm.plots.speed import factors as factors
from minidecilm.plots.speed import roofline as roofline
from minidecilm.plots.speed import throughput as throughput
from minidecilm.plots.style import DARK as DARK
from minidecilm.plots.style import LIGHT as LIGHT
from minidecilm.plots.style import MODEL_COLORS as MODEL_COLORS
from minidecilm.plots.style import new_figure as new_figure
from minidecilm.plots.style import style as style
from minidecilm.presets import TITLES as TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure
