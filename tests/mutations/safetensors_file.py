"""Mistakes in safetensors file."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "if entry.begin != position:",
        "if entry.begin < position:",
        "tests/unit/test_safetensors_file.py::test_a_damaged_file_is_refused_by_name",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "if position != data_bytes:",
        "if position > data_bytes:",
        "tests/unit/test_safetensors_file.py::test_a_damaged_file_is_refused_by_name",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "offsets[1] - offsets[0] == nbytes",
        "offsets[1] - offsets[0] >= nbytes",
        "tests/unit/test_safetensors_file.py::test_a_damaged_file_is_refused_by_name",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "type(size) is int and size >= 0",
        "isinstance(size, int) and size >= 0",
        "tests/unit/test_safetensors_file.py",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "_CACHE_LINE - DTYPES[source.dtype].itemsize if source.nbytes % _CACHE_LINE else 0",
        "0",
        "tests/unit/test_safetensors_file.py::test_tensors_begin_at_a_cache_line_where_sizes_allow",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "-(8 + len(text)) % _CACHE_LINE",
        "-len(text) % _CACHE_LINE",
        "tests/unit/test_safetensors_file.py::test_tensors_begin_at_a_cache_line_where_sizes_allow",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "if written != source.nbytes:",
        "if written > source.nbytes:",
        "tests/unit/test_safetensors_file.py::test_sources_that_break_their_word_are_refused",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "size < 8 or length > size - 8",
        "size < 8",
        "tests/unit/test_safetensors_file.py",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        'np.memmap(file, np.uint8, mode="r")',
        'np.memmap(file, np.uint8, mode="c")',
        "tests/unit/test_safetensors_file.py::test_arrays_are_aligned_views_of_one_read_only_map",
    ),
]
