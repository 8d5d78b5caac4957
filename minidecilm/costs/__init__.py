"""What a config costs, from the config alone: exact formulas, no measurement.

Bytes and counts are exact integers. Times are what the limits of a device allow at best; its record says
where each limit comes from.

An argument means the same in every function. The result is for all rows together. What is no count or
storage raises a ``ValueError``.

``batch_size``
    Rows; they share the weights, and each has its own cache.
``new_tokens``
    T, tokens of a row that a pass is given: a prompt, or 1 in decode.
``past_tokens``
    Tokens of a row in the cache before the pass.
``context``
    S, tokens of a row in the cache; of a pass, once it has written its own.
``weights``
    How they are stored: a :data:`~minidecilm.costs.memory.Storage`.
``kv_cache``, ``dtype``
    Float dtype of the keys and values in the cache.
``memory_bytes``, ``reserved_bytes``
    Of a device, and what is to be left free of them.
"""

from minidecilm.costs.devices import DEVICE_NAMES as DEVICE_NAMES
from minidecilm.costs.devices import Device as Device
from minidecilm.costs.devices import Source as Source
from minidecilm.costs.devices import device as device
from minidecilm.costs.devices import read_devices as read_devices
from minidecilm.costs.fits import largest_batch as largest_batch
from minidecilm.costs.fits import largest_context as largest_context
from minidecilm.costs.fits import rows_that_fit as rows_that_fit
from minidecilm.costs.forward import attention_flops as attention_flops
from minidecilm.costs.forward import forward_bytes as forward_bytes
from minidecilm.costs.forward import forward_flops as forward_flops
from minidecilm.costs.forward import roofline_seconds as roofline_seconds
from minidecilm.costs.forward import streamed_parameters as streamed_parameters
from minidecilm.costs.forward import streamed_weights as streamed_weights
from minidecilm.costs.layers import LayerCosts as LayerCosts
from minidecilm.costs.layers import layer_costs as layer_costs
from minidecilm.costs.memory import Storage as Storage
from minidecilm.costs.memory import StoredTensor as StoredTensor
from minidecilm.costs.memory import kv_cache_bytes as kv_cache_bytes
from minidecilm.costs.memory import kv_cache_bytes_per_layer as kv_cache_bytes_per_layer
from minidecilm.costs.memory import padded_to_uniform as padded_to_uniform
from minidecilm.costs.memory import parameters_per_layer as parameters_per_layer
from minidecilm.costs.memory import stored_tensors as stored_tensors
from minidecilm.costs.memory import weight_bytes as weight_bytes
from minidecilm.costs.parts import PARTS as PARTS
from minidecilm.costs.parts import parameters_by_part as parameters_by_part
from minidecilm.costs.prediction import OperationTime as OperationTime
from minidecilm.costs.prediction import decode_tokens_per_second as decode_tokens_per_second
from minidecilm.costs.prediction import operation_times as operation_times
from minidecilm.costs.prediction import prefill_tokens_per_second as prefill_tokens_per_second
from minidecilm.costs.published import MODEL_CARD as MODEL_CARD
from minidecilm.costs.published import PublishedThroughput as PublishedThroughput
