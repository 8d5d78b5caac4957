"""What docs/reference/stability.md calls stable keeps its names."""

from dataclasses import fields
from typing import get_type_hints

import pytest

from minidecilm import costs, plots
from minidecilm.sampling import Keywords, Options

COSTS = """
DEVICE_NAMES MODEL_CARD PARTS Device LayerCosts OperationTime PublishedThroughput Source Storage StoredTensor
attention_flops decode_tokens_per_second device forward_bytes forward_flops kv_cache_bytes
kv_cache_bytes_per_layer largest_batch largest_context layer_costs operation_times padded_to_uniform
parameters_by_part parameters_per_layer prefill_tokens_per_second read_devices roofline_seconds rows_that_fit
stored_tensors streamed_parameters streamed_weights weight_bytes
"""
PLOTS = """
DARK FORMATS LIGHT MODEL_COLORS TITLES activations allocations architecture architecture_size attention_grid
attention_maps by_head by_position check_suffix factors kv_cache_by_batch kv_cache_by_context kv_heads
largest_batch new_figure parameters roofline rope_base rotary_angles save_figure save_numbers
score_by_distance sensitivity style throughput wavelengths
"""


@pytest.mark.parametrize(("room", "names"), [(costs, COSTS), (plots, PLOTS)], ids=["costs", "plots"])
def test_stable_names_are_there(room, names):
    modules = {name for name in names.split() if type(getattr(room, name)).__name__ == "module"}
    assert modules == set()


def test_keywords_are_the_options():
    options = {field.name: field.type for field in fields(Options)}
    assert get_type_hints(Keywords) == get_type_hints(Options)
    assert list(Keywords.__annotations__) == list(options)
