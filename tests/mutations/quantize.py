"""Mistakes in making codes and scales of floats."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/quantize.py",
        "np.arange(7.0, 10.5, 0.5",
        "np.arange(7.0, 8.5, 0.5",
        "tests/unit/test_quantize.py::test_scales_of_4_bits_are_about_as_good_as_any",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "np.arange(7.0, 10.5, 0.5",
        "np.arange(8.0, 10.5, 0.5",
        "tests/unit/test_quantize.py::test_scales_of_4_bits_are_about_as_good_as_any",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "np.arange(7.0, 10.5, 0.5",
        "np.arange(7.0, 10.5, 1.0",
        "tests/unit/test_quantize.py::test_scales_of_4_bits_are_about_as_good_as_any",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "gain = along * factor",
        "gain = along",
        "tests/unit/test_quantize.py::test_scales_of_4_bits_are_about_as_good_as_any",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "start + np.flatnonzero(~finite)[0] // groups",
        "np.flatnonzero(~finite)[0] // groups",
        "tests/unit/test_quantize.py::test_what_is_not_finite_is_refused_by_name",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "finite = np.isfinite(high) & np.isfinite(low)",
        "finite = np.isfinite(high)",
        "tests/unit/test_quantize.py::test_what_is_not_finite_is_refused_by_name",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "quantize_weight(weight, bits, scheme.group,",
        "quantize_weight(weight, bits, 64,",
        "tests/unit/test_quantize.py::test_weights_in_memory_get_the_group_of_their_scheme",
    ),
    Mutation(
        "minidecilm/weights/checkpoint_writer.py",
        '"chat_template.jinja", "generation_config.json"',
        '"chat_template.jinja"',
        "tests/unit/test_quantize.py::test_what_belongs_to_a_model_comes_along",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "bar.update(weight.size)",
        "bar.update(1)",
        "tests/unit/test_quantize.py::test_a_bar_is_shown_where_it_is_asked_for",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "np.abs(largest) / 127 if",
        "np.abs(largest) / 128 if",
        "tests/unit/test_quantize.py::test_codes_and_scales_survive_being_quantised_again",
    ),
]
