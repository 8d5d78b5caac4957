"""What a config costs, from the config alone: exact formulas, no measurement."""

from minidecilm.costs.memory import (
    kv_cache_bytes,
    kv_cache_bytes_per_layer,
    parameters_per_layer,
    weight_bytes,
)

__all__ = ["kv_cache_bytes", "kv_cache_bytes_per_layer", "parameters_per_layer", "weight_bytes"]
