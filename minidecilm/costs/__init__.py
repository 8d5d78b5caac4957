"""What a config costs, from the config alone: exact formulas, no measurement.

Bytes and counts are exact integers. Times are what the limits of a device allow at best; its record says
where each limit comes from.
"""

from minidecilm.costs.devices import DEVICE_NAMES, Device, Source, device, read_devices
from minidecilm.costs.fits import largest_batch, largest_context, rows_that_fit
from minidecilm.costs.forward import (
    attention_flops,
    forward_bytes,
    forward_flops,
    roofline_seconds,
    streamed_parameters,
    streamed_weights,
)
from minidecilm.costs.layers import LayerCosts, layer_costs
from minidecilm.costs.memory import (
    Storage,
    StoredTensor,
    kv_cache_bytes,
    kv_cache_bytes_per_layer,
    padded_to_uniform,
    parameters_per_layer,
    stored_tensors,
    weight_bytes,
)
from minidecilm.costs.parts import PARTS, parameters_by_part
from minidecilm.costs.prediction import (
    OperationTime,
    decode_tokens_per_second,
    operation_times,
    prefill_tokens_per_second,
)
from minidecilm.costs.published import MODEL_CARD, PublishedThroughput

__all__ = [
    "DEVICE_NAMES",
    "MODEL_CARD",
    "PARTS",
    "Device",
    "LayerCosts",
    "OperationTime",
    "PublishedThroughput",
    "Source",
    "Storage",
    "StoredTensor",
    "attention_flops",
    "decode_tokens_per_second",
    "device",
    "forward_bytes",
    "forward_flops",
    "kv_cache_bytes",
    "kv_cache_bytes_per_layer",
    "largest_batch",
    "largest_context",
    "layer_costs",
    "operation_times",
    "padded_to_uniform",
    "parameters_by_part",
    "parameters_per_layer",
    "prefill_tokens_per_second",
    "read_devices",
    "roofline_seconds",
    "rows_that_fit",
    "stored_tensors",
    "streamed_parameters",
    "streamed_weights",
    "weight_bytes",
]
