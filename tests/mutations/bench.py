"""Mistakes in what is timed, counted and called what in a benchmark."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/bench/timing.py",
        "in range(plan.prompt_tokens, plan.length):",
        "in range(plan.prompt_tokens + 1, plan.length):",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "return middle - start, perf_counter() - middle",
        "return middle - start, perf_counter() - start",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "model(ids[:, : plan.prompt_tokens], cache, last_only=True,",
        "model(ids[:, : plan.prompt_tokens], cache, last_only=False,",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "_run(model, warm_up, timing.batch_size, bar)",
        "pass",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "_run(model, plan, timing.batch_size, bar)",
        "_run(model, plan, plan.batch_sizes[0], bar)",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "    cache = model.new_cache(batch_size, plan.length)\n    start = perf_counter()",
        "    start = perf_counter()\n    cache = model.new_cache(batch_size, plan.length)",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "for _ in range(plan.rounds):\n            for timing in timings:",
        "for timing in timings:\n            for _ in range(plan.rounds):",
        "tests/unit/test_bench.py::test_rounds_take_their_time_and_nothing_else",
    ),
    Mutation(
        "minidecilm/bench/limits.py",
        "+= model.weights[name].nbytes",
        "+= 1",
        "tests/unit/test_bench.py::test_the_head_does_not_say_how_a_model_is_stored",
    ),
    Mutation(
        "minidecilm/bench/limits.py",
        'if ".layers." in name:',
        "if name:",
        "tests/unit/test_bench.py::test_the_head_does_not_say_how_a_model_is_stored",
    ),
    Mutation(
        "minidecilm/bench/timing.py",
        "bar.update(len(model.config.layers))",
        "bar.update(1)",
        "tests/unit/test_bench.py::test_a_bar_counts_every_layer_of_every_call",
    ),
    Mutation(
        "minidecilm/bench/limits.py",
        "return min(int(value), cores)",
        "return int(value)",
        "tests/unit/test_bench.py::test_threads_are_those_that_are_used",
    ),
    Mutation(
        "minidecilm/bench/rates.py",
        "prefill = [(plan.prompt_tokens, 0)]",
        "prefill = [(plan.length, 0)]",
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/bench/rates.py",
        "weights = len(passes) * weight_bytes",
        "weights = weight_bytes",
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/bench/rates.py",
        "sum(past + T for T, past in passes)",
        "sum(past for T, past in passes)",
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/bench/rates.py",
        "passes), median(seconds)",
        "passes), min(seconds)",
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/bench/rates.py",
        "(max(seconds) - min(seconds)) / typical",
        "(max(seconds) - typical) / typical",
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/bench/rates.py",
        'memory.get("anonymous")',
        'memory.get("mapped")',
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/cli/bench.py",
        '_percent(found["share_of_read_bandwidth"])',
        '_percent(found["share_of_peak"])',
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/cli/bench.py",
        '_number(found["weight_bytes_per_second"], 1e9)',
        '_number(found["operations_per_second"], 1e9)',
        "tests/unit/test_bench.py::test_figures_follow_from_the_seconds",
    ),
    Mutation(
        "minidecilm/cli/bench.py",
        'unit = "GOP/s" if arithmetic in BITS else "GFLOP/s"',
        'unit = "GFLOP/s"',
        "tests/unit/test_bench.py::test_the_sentence_of_a_model_that_leaves_the_caches",
    ),
    Mutation(
        "minidecilm/cli/bench.py",
        "_percent(prefill['share_of_peak'])",
        "_percent(decode['share_of_peak'])",
        "tests/unit/test_bench.py::test_the_sentence_of_a_model_that_leaves_the_caches",
    ),
]
