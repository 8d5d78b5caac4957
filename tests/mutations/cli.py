"""Mistakes in cli."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/cli/main.py",
        "stop=options.stop,",
        "stop=None,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--stop]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "template=options.template,",
        "template=None,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--template]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "max_length=options.max_length,",
        "max_length=None,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--max-length]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "top_k=options.top_k,",
        "top_k=0,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--top-k]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "top_p=options.top_p,",
        "top_p=options.min_p,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--top-p]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "min_p=options.min_p,",
        "min_p=0.0,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--min-p]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "repetition_penalty=options.repetition_penalty,",
        "repetition_penalty=1.0,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--repetition-penalty]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "seed=options.seed,",
        "seed=0,",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--seed]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "settings, values * (3 - len(values))",
        "settings, values[:1] * 2",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[compare/--dtype1]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "bench.Plan(options.prompt_tokens, options.new_tokens, options.batch, options.rounds)",
        "bench.Plan(options.prompt_tokens, options.new_tokens, options.batch)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[bench/--rounds]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "        options.group,\n",
        "",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[quantize/--group]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "first_difference(differences, options.tolerance)",
        "first_difference(differences, 1e-3)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[compare/--tolerance]",
    ),
    Mutation(
        "minidecilm/cli/main.py",
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
        "minidecilm/cli/main.py",
        "return 0 if first is None else 1",
        "return 0",
        "tests/unit/test_cli.py::test_compare_names_the_first_stage_and_layer",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        'text.removesuffix("\\n")',
        "text.rstrip()",
        "tests/unit/test_cli.py::test_one_newline_is_cut_off_and_nothing_else",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "1 <= options.tokens <= length_limit",
        "1 <= options.tokens <= 2 * length_limit",
        "tests/unit/test_cli.py::test_bad_input_gives_one_line_and_exit_2",
    ),
    Mutation(
        "minidecilm/cli/main.py",
        "        check_length(a.config, len(ids[0]), 1, None)\n",
        "",
        "tests/unit/test_cli.py::test_bad_input_gives_one_line_and_exit_2",
    ),
]
