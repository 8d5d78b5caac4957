"""Mistakes in tokenizer."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "piece = piece.removeprefix(_SPACE)",
        "piece = piece.lstrip(_SPACE)",
        "tests/unit/test_tokenizer.py::test_pieces_of_several_spaces",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        '"\\ufffd" * (error.end - error.start)',
        '"\\ufffd"',
        "tests/unit/test_tokenizer.py::test_half_a_character_at_the_end",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "return self.flush() + shown",
        "return shown",
        "tests/unit/test_tokenizer.py::test_stream_step_by_step",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "self._at_start &= not shown",
        "self._at_start = False",
        "tests/unit/test_tokenizer.py::test_stream_step_by_step",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "self._at_start = not continuation",
        "self._at_start = True",
        "tests/unit/test_tokenizer.py::test_a_continuation_keeps_its_leading_space",
    ),
    Mutation(
        "minidecilm/tokenizer/added_tokens.py",
        "sorted(found, reverse=True)",
        "sorted(found)",
        "tests/unit/test_tokenizer.py::test_other_control_pieces_are_special_too",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "ids += self._model.encode(_BARRIER + part)[self._barrier_length :]",
        "ids += self._model.encode(part)",
        "tests/unit/test_tokenizer.py::test_only_the_beginning_gets_the_dummy_prefix",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "self.add_bos if add_bos is None else add_bos",
        "self.add_bos",
        "tests/unit/test_tokenizer.py::test_config_says_what_is_added",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        'decode(b"", final=True)',
        'decode(b"", final=False)',
        "tests/unit/test_tokenizer.py::test_half_a_character_at_the_end",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "elif number == 0 and not continuation:",
        "elif number == 0:",
        "tests/unit/test_api.py::test_a_conversation_is_as_one_text",
    ),
    Mutation(
        "minidecilm/tokenizer/__init__.py",
        "            add_bos = bool(add_bos)\n",
        "            pass\n",
        "tests/unit/test_api.py::test_a_conversation_is_as_one_text",
    ),
]
