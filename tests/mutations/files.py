"""Mistakes in files."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/files.py",
        "        _remove(temporary)\n",
        "        pass\n",
        "tests/unit/test_safetensors_file.py::test_an_interrupted_write_leaves_the_old_file_and_nothing_else",
    ),
    Mutation(
        "minidecilm/files.py",
        "found = path.resolve()",
        "found = path.absolute()",
        "tests/unit/test_files.py::test_a_link_is_written_through",
    ),
    Mutation(
        "minidecilm/files.py",
        "    if path.exists() and not path.is_file():  # to be",
        "    if False:  # to be",
        "tests/unit/test_files.py::test_a_pipe_is_not_replaced",
    ),
    Mutation(
        "minidecilm/files.py",
        "    if path.exists() and not path.is_file():\n        raise CheckpointError",
        "    if False:\n        raise CheckpointError",
        "tests/unit/test_tokenizer.py::test_what_is_not_a_file_is_refused[mkdir-tokenizer.model]",
    ),
    Mutation(
        "minidecilm/files.py",
        "    if path.is_dir():\n        raise",
        "    if False:\n        raise",
        "tests/unit/test_files.py::test_a_folder_is_not_replaced",
    ),
    Mutation(
        "minidecilm/files.py",
        "secrets.token_hex(8)",
        "'0' * 16",
        "tests/unit/test_files.py::test_writers_of_one_file_do_not_meet",
    ),
    Mutation(
        "minidecilm/files.py",
        "            lock = _lock(found, wait=False)\n            if lock is not None:\n",
        "            lock = None\n            if True:\n",
        "tests/unit/test_files.py::test_what_a_killed_writer_left_goes_with_the_next_and_that_of_a_living_one_stays",
    ),
    Mutation(
        "minidecilm/files.py",
        "    for found in path.parent.iterdir() if",
        "    for found in () if",
        "tests/unit/test_files.py::test_what_a_killed_writer_left_goes_with_the_next_and_that_of_a_living_one_stays",
    ),
    Mutation(
        "minidecilm/files.py",
        "now is None or now.number != self.number",
        "now is None",
        "tests/unit/test_api.py::test_a_file_written_to_since_it_was_opened_is_not_read_on",
    ),
    Mutation(
        "minidecilm/files.py",
        "found.st_size, found.st_mtime_ns)",
        "found.st_size, 0)",
        "tests/unit/test_quantize.py::test_a_source_that_changes_meanwhile_leaves_nothing",
    ),
    Mutation(
        "minidecilm/files.py",
        "        if key in found:",
        "        if False:",
        "tests/unit/test_files_json.py",
    ),
    Mutation(
        "minidecilm/files.py",
        "            parse_constant=_refuse_constant,\n",
        "",
        "tests/unit/test_files_json.py",
    ),
    Mutation(
        "minidecilm/files.py",
        "            parse_float=_finite_float,\n",
        "",
        "tests/unit/test_files_json.py",
    ),
    Mutation(
        "minidecilm/files.py",
        "_MAX_DEPTH = 32",
        "_MAX_DEPTH = 1 << 20",
        "tests/unit/test_files_json.py",
    ),
    Mutation(
        "minidecilm/files.py",
        "found = file.read(max_bytes + 1)",
        "found = file.read(max_bytes)",
        "tests/unit/test_files_json.py",
    ),
    Mutation(
        "minidecilm/files.py",
        "_REPR.maxlevel = 3",
        "_REPR.maxlevel = 300",
        "tests/unit/test_files_json.py",
    ),
]
