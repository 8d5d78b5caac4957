"""Mistakes in api."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/api.py",
        "certain = min(found) if found",
        "certain = found[0] if found",
        "tests/unit/test_api.py::test_the_earlier_of_two_stop_strings_wins",
    ),
    Mutation(
        "minidecilm/api.py",
        "longest = max(map(len, self._stops), default=1) - 1",
        "longest = min(map(len, self._stops), default=1) - 1",
        "tests/unit/test_api.py::test_nothing_that_may_become_a_stop_string_is_shown",
    ),
    Mutation(
        "minidecilm/api.py",
        "range(min(longest, len(self._held)), 0, -1)",
        "range(1, min(longest, len(self._held)) + 1)",
        "tests/unit/test_api.py::test_nothing_that_may_become_a_stop_string_is_shown",
    ),
    Mutation(
        "minidecilm/api.py",
        "        self._add(self._decoder.flush())\n",
        "",
        "tests/unit/test_api.py::test_half_a_character_at_the_end_is_shown_as_what_it_is",
    ),
    Mutation(
        "minidecilm/api.py",
        "tokenizer.stream(continuation=True)",
        "tokenizer.stream()",
        "tests/unit/test_api.py::test_the_first_space_of_a_continuation_is_part_of_it",
    ),
    Mutation(
        "minidecilm/api.py",
        "return ends or rows[row].push(token)",
        "return rows[row].push(token) or ends",
        "tests/unit/test_api.py::test_what_ends_a_text_is_no_part_of_it",
    ),
    Mutation(
        "minidecilm/api.py",
        "return ends or row.push(token)",
        "return row.push(token) or ends",
        "tests/unit/test_api.py::test_what_ends_a_text_is_no_part_of_it",
    ),
    Mutation(
        "minidecilm/api.py",
        "        rest = row.finish()[shown:]",
        '        rest = ""',
        "tests/unit/test_api.py::test_half_a_character_at_the_end_is_shown_as_what_it_is",
    ),
    Mutation(
        "minidecilm/api.py",
        "return lm.generate(prompt, stop=stop, template=template, **options)",
        "return lm.generate(prompt, template=template, **options)",
        "tests/unit/test_api.py::test_one_liner",
    ),
    Mutation(
        "minidecilm/api.py",
        "return lm.stream(prompt, stop=stop, template=template, **options)",
        "return lm.stream(prompt, stop=stop, **options)",
        "tests/unit/test_api.py::test_one_liner",
    ),
    Mutation(
        "minidecilm/api.py",
        "tokenizer.vocab_size > checkpoint.config.vocab_size",
        "tokenizer.vocab_size != checkpoint.config.vocab_size",
        "tests/unit/test_api.py::test_a_tokenizer_of_fewer_pieces_than_the_vocabulary_fits",
    ),
    Mutation(
        "minidecilm/api.py",
        "DeciLM(config, tensors, chosen, dtype, rope, kv_cache)",
        "DeciLM(config, tensors, chosen, dtype, rope)",
        "tests/unit/test_options.py::test_an_option_reaches_what_it_names[generate/--kv-cache]",
    ),
    Mutation(
        "minidecilm/api.py",
        "follows = cache is not None and cache.length > 0",
        "follows = False",
        "tests/unit/test_api.py::test_a_conversation_is_as_one_text",
    ),
    Mutation(
        "minidecilm/api.py",
        "follows = cache is not None and cache.length > 0",
        "follows = cache is not None",
        "tests/unit/test_api.py::test_a_conversation_is_as_one_text",
    ),
]
