"""What a config costs, from the config alone: exact formulas, no measurement."""

from minidecilm.costs.forward import (
    forward_bytes,
    forward_flops,
    roofline_seconds,
    streamed_parameters,
    streamed_weights,
)
from minidecilm.costs.memory import (
    kv_cache_bytes,
    kv_cache_bytes_per_layer,
    parameters_per_layer,
    weight_bytes,
)

__all__ = [
    "forward_bytes",
    "forward_flops",
    "kv_cache_bytes",
    "kv_cache_bytes_per_layer",
    "parameters_per_layer",
    "roofline_seconds",
    "streamed_parameters",
    "streamed_weights",
    "weight_bytes",
]
