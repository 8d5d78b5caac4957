"""Mistakes in which figure of what is drawn: layer, context, storage, device, prompt."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/plots/gallery.py",
        "weights = _weights(seen, kv_heads)[layer]",
        "weights = _weights(seen, kv_heads)[0]",
        "tests/unit/test_gallery.py::test_attention_of_a_layer",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "_POWERS[:9], context, size",
        "_POWERS[:9], size",
        "tests/unit/test_gallery.py::test_cache_by_batch",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "_MEMORIES, context, weights, size",
        "_MEMORIES, context, size",
        "tests/unit/test_gallery.py::test_largest_batch",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "_MEMORIES, context, weights, size",
        "_MEMORIES, 4096, weights, size",
        "tests/unit/test_gallery.py::test_largest_batch",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "title=title, context=context, weights=weights)",
        "title=title, weights=weights)",
        "tests/unit/test_gallery.py::test_roofline_of_a_device_of_ones_own",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "title=title, context=context, weights=weights)",
        "title=title, context=context)",
        "tests/unit/test_gallery.py::test_roofline_of_a_device_of_ones_own",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "costs.device(options.device, options.devices)",
        'costs.device("a10")',
        "tests/unit/test_gallery.py::test_roofline_of_a_device_of_ones_own",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "attention_entropy(weights).mean(axis=-1)",
        "attention_entropy(weights)[..., -1]",
        "tests/unit/test_gallery.py::test_entropy_is_the_mean_of_all_queries",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        '"added by attention": "o_proj"',
        '"added by attention": "down_proj"',
        "tests/unit/test_gallery.py::test_activations_are_those_of_each_stage_and_layer",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "root_mean_square(seen[layer, stage])",
        "root_mean_square(seen[0, stage])",
        "tests/unit/test_gallery.py::test_activations_are_those_of_each_stage_and_layer",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "longest = 4 * min(config",
        "longest = 4 * max(config",
        "tests/unit/test_gallery.py::test_rotary_base_up_to_four_times_the_shorter_context",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "return [config.max_position_embeddings * times",
        "return [4096 * times",
        "tests/unit/test_gallery.py::test_wavelengths_of_one_two_and_four_contexts",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        '_MEMORIES = {f"{size} GB": size * 10**9',
        '_MEMORIES = {f"{size} GB": size * 2**30',
        "tests/unit/test_gallery.py::test_largest_batch",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "with plots.style(dark=options.dark):",
        "with plots.style():",
        "tests/unit/test_gallery.py::test_dark",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "ids = tokenizer.encode(options.prompt)",
        "ids = tokenizer.encode(_PROMPT)",
        "tests/unit/test_gallery.py::test_a_prompt_is_read_whole",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "model = find_model(name, ",
        "model = find_model(names[0], ",
        "tests/unit/test_gallery.py::test_cache_by_batch",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "names = [*options.models, *options.config]",
        "names = [*options.models]",
        "tests/unit/test_gallery.py::test_kv_heads_of_each_model_in_its_colour",
    ),
]
