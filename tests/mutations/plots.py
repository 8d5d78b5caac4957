"""Mistakes in what figures show: data, colours, places and labels."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/plots/inside.py",
        '"reference": VERMILION, "fixed": PURPLE',
        '"reference": PURPLE, "fixed": VERMILION',
        "tests/unit/test_plots.py::test_by_position",
    ),
    Mutation(
        "minidecilm/plots/inside.py",
        "ax.axvline(context, color=GREY",
        "ax.axvline(positions[0], color=GREY",
        "tests/unit/test_plots.py::test_by_position",
    ),
    Mutation(
        "minidecilm/plots/inside.py",
        "kv_head = head // groups.shape[1]",
        "kv_head = head % groups.shape[0]",
        "tests/unit/test_plots.py::test_heads_of_a_kv_head_share_a_colour",
    ),
    Mutation(
        "minidecilm/plots/inside.py",
        "places = layer + np.linspace(",
        "places = np.linspace(",
        "tests/unit/test_gallery.py::test_entropy_is_the_mean_of_all_queries",
    ),
    Mutation(
        "minidecilm/plots/inside.py",
        "PowerNorm(0.5, 0, 1)",
        "PowerNorm(0.5)",
        "tests/unit/test_gallery.py::test_attention_of_a_layer",
    ),
    Mutation(
        "minidecilm/plots/speed.py",
        "size, context, weights) for size in sizes]",
        "size, context) for size in sizes]",
        "tests/unit/test_gallery.py::test_throughput_of_a_device_of_ones_own",
    ),
    Mutation(
        "minidecilm/plots/speed.py",
        "(size, 1, context - 1) for size in batch_sizes",
        "(size, 1, 0) for size in batch_sizes",
        "tests/unit/test_gallery.py::test_roofline_of_a_device_of_ones_own",
    ),
    Mutation(
        "minidecilm/plots/speed.py",
        "alpha = 0.35 if name in predicted else 0.8",
        "alpha = 0.8",
        "tests/unit/test_plots.py::test_factors_are_written_and_multiply",
    ),
    Mutation(
        "minidecilm/plots/sizes.py",
        "heads, width=0.8, color=color_of(name, index)",
        "heads, width=0.8, color=color_of(name, 0)",
        "tests/unit/test_gallery.py::test_kv_heads_of_each_model_in_its_colour",
    ),
    Mutation(
        "minidecilm/plots/sizes.py",
        "(config, batch_size, context, dtype) for context in contexts",
        "(config, 1, context, dtype) for context in contexts",
        "tests/unit/test_plots.py::test_cache_of_rows_and_storages",
    ),
    Mutation(
        "minidecilm/plots/sizes.py",
        "nbytes, context, weights, kv_cache)",
        "nbytes, context, weights)",
        "tests/unit/test_plots.py::test_dots_are_the_rows_that_fit",
    ),
    Mutation(
        "minidecilm/plots/sizes.py",
        "ax.plot([rows], [row], markers[title]",
        'ax.plot([rows], [row], "o"',
        "tests/unit/test_plots.py::test_dots_are_the_rows_that_fit",
    ),
    Mutation(
        "minidecilm/plots/rotary.py",
        "positions / rope.wavelengths(base, config",
        "positions / rope.wavelengths(config.rope_theta, config",
        "tests/unit/test_plots.py::test_angles",
    ),
    Mutation(
        "minidecilm/plots/rotary.py",
        "ax.axhline(M, color=GREY",
        "ax.axhline(lengths[0], color=GREY",
        "tests/unit/test_plots.py::test_bases_and_wavelengths",
    ),
    Mutation(
        "minidecilm/plots/axes.py",
        "color=ink(lines[index].get_color())",
        "color=ink(lines[0].get_color())",
        "tests/unit/test_plots.py::test_labels_at_the_ends_of_lines_do_not_meet",
    ),
    Mutation(
        "minidecilm/plots/output.py",
        "x = left + (column + 0.5) *",
        "x = left + column *",
        "tests/unit/test_plots.py::test_numbers_name_categories_and_cells",
    ),
    Mutation(
        "minidecilm/plots/allocation.py",
        "[extra_losses[layer][heads] for layer in places]",
        "[extra_losses[0].get(heads, 0) for layer in places]",
        "tests/unit/test_plots.py::test_sensitivity_and_allocations",
    ),
    Mutation(
        "minidecilm/plots/allocation.py",
        "[place + (index - ",
        "[index + (index - ",
        "tests/unit/test_plots.py::test_sensitivity_and_allocations",
    ),
    Mutation(
        "minidecilm/plots/architecture.py",
        "[query_heads[layer] // kv_heads[layer]",
        "[most // kv_heads[layer]",
        "tests/unit/test_plots.py::test_architecture",
    ),
    Mutation(
        "minidecilm/plots/architecture.py",
        'f"{heads}", f"{cached:,} B")',
        'f"{heads}", f"{cached // 2:,} B")',
        "tests/unit/test_plots.py::test_architecture",
    ),
    Mutation(
        "minidecilm/plots/style.py",
        "DARK if dark else LIGHT",
        "LIGHT",
        "tests/unit/test_gallery.py::test_dark",
    ),
]
