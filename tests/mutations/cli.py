"""Mistakes in cli."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/cli/generate.py",
        "stop=options.stop,",
        "stop=None,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--stop]",
    ),
    Mutation(
        "minidecilm/cli/generate.py",
        "template=options.template,",
        "template=None,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--template]",
    ),
    Mutation(
        "minidecilm/cli/generate.py",
        "getattr(options, field.name) for field in _FLAGS}",
        "getattr(options, field.name) for field in _FLAGS[:-1]}",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--seed]",
    ),
    Mutation(
        "minidecilm/cli/generate.py",
        "getattr(options, field.name) for field in _FLAGS}",
        "field.default for field in _FLAGS}",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--repetition-penalty]",
    ),
    Mutation(
        "minidecilm/cli/compare.py",
        "settings, values * (3 - len(values))",
        "settings, values[:1] * 2",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[compare/--dtype1]",
    ),
    Mutation(
        "minidecilm/cli/bench.py",
        "bench.Plan(options.prompt_tokens, options.new_tokens, options.batch, options.rounds)",
        "bench.Plan(options.prompt_tokens, options.new_tokens, options.batch)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[bench/--rounds]",
    ),
    Mutation(
        "minidecilm/cli/quantize.py",
        "        options.group,\n",
        "",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[quantize/--group]",
    ),
    Mutation(
        "minidecilm/cli/compare.py",
        "first_difference(differences, options.tolerance)",
        "first_difference(differences, 1e-3)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[compare/--tolerance]",
    ),
    Mutation(
        "minidecilm/cli/compare.py",
        "size=(1, options.tokens)",
        "size=(1, 32)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[compare/--tokens]",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "options.device, options.devices)",
        "options.device)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[plot/--devices0]",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
        "_BATCH_SIZES, context,",
        "_BATCH_SIZES, 1024,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[plot/--context2]",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        '{"layer": options.layer}',
        '{"layer": 0}',
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[plot/--layer]",
    ),
    Mutation(
        "minidecilm/cli/plot.py",
        "plots.style(dark=options.dark)",
        "plots.style()",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[plot/--dark]",
    ),
    Mutation(
        "minidecilm/cli/compare.py",
        "return 0 if first is None else 1",
        "return 0",
        "tests/unit/test_cli.py::test_compare_names_the_first_stage_and_layer",
    ),
    Mutation(
        "minidecilm/cli/generate.py",
        'text.removesuffix("\\n")',
        "text.rstrip()",
        "tests/unit/test_cli.py::test_one_newline_is_cut_off_and_nothing_else",
    ),
    Mutation(
        "minidecilm/cli/compare.py",
        "1 <= options.tokens <= limit:",
        "1 <= options.tokens <= 2 * limit:",
        "tests/unit/test_cli.py::test_bad_input_gives_one_line_and_exit_2",
    ),
    Mutation(
        "minidecilm/cli/compare.py",
        "    check_length(lm.config, len(ids[0]), 1, None)\n",
        "",
        "tests/unit/test_cli.py::test_bad_input_gives_one_line_and_exit_2",
    ),
]
