"""Mistakes in config."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/config.py",
        "if heads % layer.num_key_value_heads:",
        "if False:",
        "tests/unit/test_config.py::test_wrong_kv_heads_pass_no_entry",
    ),
    Mutation(
        "minidecilm/config_keys.py",
        "    if per_layer is not None:\n        check",
        "    if per_layer is not None and uniform is None:\n        check",
        "tests/unit/test_config.py::test_a_resaved_copy_has_the_heads_of_the_list_and_not_the_false_32",
    ),
    Mutation(
        "minidecilm/config.py",
        '"self_attn.o_proj": (E, H * D),',
        '"self_attn.o_proj": (H * D, E),',
        "tests/unit/test_config.py::test_shapes_follow_the_query_heads_of_their_layer",
    ),
    Mutation(
        "minidecilm/config_keys.py",
        "theta = 10000.0 if theta is None",
        "theta = 500000.0 if theta is None",
        "tests/unit/test_config.py::test_absent_rope_and_token_keys_are_llamas",
    ),
    Mutation(
        "minidecilm/config_keys.py",
        "low <= value < _MAX_REAL",
        "low < value < _MAX_REAL",
        "tests/unit/test_config.py::test_values_at_their_edges",
    ),
    Mutation(
        "minidecilm/config_keys.py",
        "check(original in (None, now),",
        "check(True,",
        "tests/unit/test_config.py::test_what_contradicts_is_refused_by_name",
    ),
    Mutation(
        "minidecilm/config.py",
        "0 < count <= _MAX_LAYERS",
        "0 < count < _MAX_LAYERS",
        "tests/unit/test_config.py::test_values_at_their_edges",
    ),
    Mutation(
        "minidecilm/config.py",
        "self.head_dim % 2 == 0",
        "self.head_dim % 4 == 0",
        "tests/unit/test_config.py::test_values_at_their_edges",
    ),
    Mutation(
        "minidecilm/config.py",
        "tuple(eos) if isinstance(eos, list)",
        "tuple(eos[:1]) if isinstance(eos, list)",
        "tests/unit/test_config.py::test_any_of_several_ids_ends_a_text",
    ),
]
