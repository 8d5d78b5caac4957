"""Mistakes in files."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/files.py",
        "        temporary.unlink(missing_ok=True)\n",
        "        pass\n",
        "tests/unit/test_safetensors_file.py::test_an_interrupted_write_leaves_the_old_file_and_nothing_else",
    ),
    Mutation(
        "minidecilm/files.py",
        "path = path.resolve()",
        "path = path.absolute()",
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
        "    if path.is_dir():\n",
        "    if False:\n",
        "tests/unit/test_files.py::test_a_folder_is_not_replaced",
    ),
]
