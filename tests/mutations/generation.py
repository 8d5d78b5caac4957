"""Mistakes in generation."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/generation.py",
        "seen = [list(prompt) for prompt in prompts]",
        "seen = [[0] * (max(map(len, prompts)) - len(p)) + list(p) for p in prompts]",
        "tests/unit/test_generation.py::test_penalty_counts_prompt_and_new_tokens_of_the_row_and_no_padding",
    ),
    Mutation(
        "minidecilm/generation.py",
        "                    seen[row].append(token)\n",
        "",
        "tests/unit/test_generation.py::test_penalty_counts_prompt_and_new_tokens_of_the_row_and_no_padding",
    ),
    Mutation(
        "minidecilm/generation.py",
        "[[0 if ended else 1] for ended in padding]",
        "[[1] for _ in padding]",
        "tests/unit/test_generation.py::test_a_row_that_ends_counts_nowhere_from_then_on",
    ),
    Mutation(
        "minidecilm/generation.py",
        "planned = [len(prompt) + max_new_tokens",
        "planned = [width + max_new_tokens",
        "tests/unit/test_generation.py::test_each_row_is_planned_for_its_own_length",
    ),
    Mutation(
        "minidecilm/generation.py",
        "check_length(model.config, max(lengths),",
        "check_length(model.config, lengths[0],",
        "tests/unit/test_generation.py::test_the_length_of_every_row_is_checked_to_the_token",
    ),
    Mutation(
        "minidecilm/generation.py",
        "if prompt_length + max_new_tokens <= limit:",
        "if prompt_length + max_new_tokens < limit:",
        "tests/unit/test_generation.py::test_limits_to_the_token",
    ),
    Mutation(
        "minidecilm/generation.py",
        "if prompt_length + max_new_tokens <= limit:",
        "if prompt_length + max_new_tokens <= limit + 1:",
        "tests/unit/test_generation.py::test_limits_to_the_token",
    ),
    Mutation(
        "minidecilm/sampling.py",
        "keep_min_p(scores, options.min_p)",
        "keep_min_p(scores, 0.0)",
        "tests/unit/test_generation.py::test_each_sampling_option_decides",
    ),
    Mutation(
        "minidecilm/generation.py",
        "seen[row], options, generators[row])",
        "seen[row], options, generators[0])",
        "tests/unit/test_generation.py::test_seeds",
    ),
    Mutation(
        "minidecilm/generation.py",
        "            if all(finished) and options.cache is None:\n",
        "            if finished[0] and options.cache is None:\n",
        "tests/unit/test_generation.py::test_a_row_that_ends_counts_nowhere_from_then_on",
    ),
    Mutation(
        "minidecilm/generation.py",
        "            if all(finished) and options.cache is None:\n                return\n",
        "",
        "tests/unit/test_generation.py::test_all_rows_ended_ends_the_run",
    ),
    Mutation(
        "minidecilm/generation.py",
        "tuple(new[row][-len(ending) :]) == ending",
        "tuple(new[row][-len(ending) :]) == ending[-1:]",
        "tests/unit/test_generation.py::test_stop_sequences_end_a_row_and_are_left_out",
    ),
    Mutation(
        "minidecilm/generation.py",
        "return config.max_position_embeddings, ",
        "return DYNAMIC_LENGTH_FACTOR * config.max_position_embeddings, ",
        "tests/unit/test_generation.py::test_limits_to_the_token",
    ),
    Mutation(
        "minidecilm/generation.py",
        'finished[row] = "eos"',
        'finished[row] = "stop"',
        "tests/unit/test_generation.py::test_a_row_that_ends_counts_nowhere_from_then_on",
    ),
    Mutation(
        "minidecilm/generation.py",
        "            if options.trace is not None:\n",
        "            if True:\n",
        "tests/unit/test_generation.py::test_a_step_computes_log_probabilities_only_for_a_trace",
    ),
    Mutation(
        "minidecilm/generation.py",
        "if progress is None and shown and",
        "if False and",
        "tests/unit/test_cli.py::test_bars_never_run_into_the_text_on_a_terminal",
    ),
    Mutation(
        "minidecilm/api.py",
        "            return ends or row.push(token)\n",
        "            return row.push(token)\n",
        "tests/unit/test_api.py::test_the_end_token_is_no_part_of_the_answer",
    ),
    Mutation(
        "minidecilm/generation.py",
        "[token is None for token in tokens]",
        "finished",
        "tests/unit/test_generation.py::test_a_cache_holds_the_last_token_of_rows_that_end_at_unlike_times",
    ),
    Mutation(
        "minidecilm/generation.py",
        "                next_logits()\n",
        "                pass\n",
        "tests/unit/test_generation.py::test_a_conversation_is_as_one_text",
    ),
    Mutation(
        "minidecilm/generation.py",
        "past = options.cache.row_lengths.tolist()",
        "past = [0] * len(prompts)",
        "tests/unit/test_generation.py::test_a_cache_that_does_not_serve_is_refused_and_left_alone",
    ),
    Mutation(
        "minidecilm/generation.py",
        "np.ones((len(prompts), width + max_new_tokens), np.bool_)",
        "np.ones((len(prompts), 1), np.bool_)",
        "tests/unit/test_generation.py::test_a_cache_that_does_not_serve_is_refused_and_left_alone",
    ),
]
