"""Mistakes in writing a model for other programs."""

from tests.mutations import Mutation

TESTS = "tests/unit/test_export.py"
EXPORT, GGUF = "minidecilm/weights/export.py", "minidecilm/weights/gguf_file.py"

MUTATIONS = [
    Mutation(
        EXPORT,
        "np.repeat(heads, wanted // rows, axis=0)",
        "np.tile(heads, (wanted // rows, 1))",
        f"{TESTS}::test_a_llama_folder_is_what_transformers_read",
    ),
    Mutation(
        EXPORT,
        "np.arange(rows).reshape(-1, head_dim)",
        "np.arange(rows).reshape(-1, 1)",
        f"{TESTS}::test_a_llama_folder_is_what_transformers_read",
    ),
    Mutation(
        "minidecilm/config.py",
        "common = lcm(*",
        "common = max(",
        f"{TESTS}::test_layers_with_2_and_3_heads_get_6",
    ),
    Mutation(
        EXPORT,
        'written if rope == "dynamic" else replace(written, rope_factor=None)',
        "written",
        f"{TESTS}::test_dynamic_ntk_is_left_out_or_kept",
    ),
    Mutation(
        EXPORT,
        "[(common, _)] = Counter(heads).most_common(1)",
        "common = max(heads)",
        f"{TESTS}::test_per_layer_is_what_transformers_writes_and_comes_back",
    ),
    Mutation(
        EXPORT,
        " | own.get(str(index), {})",
        "",
        f"{TESTS}::test_per_layer_says_all_that_differs",
    ),
    Mutation(
        EXPORT,
        'f"{index:0{digits}}"',
        "str(index)",
        f"{TESTS}::test_per_layer_says_all_that_differs",
    ),
    Mutation(
        EXPORT,
        'if module and ".lora_A." not in key',
        'if module and ".lora_B." in key',
        f"{TESTS}::test_an_adapter_fits_the_exported_model",
    ),
    Mutation(
        EXPORT,
        "    read_adapter(adapter, config)",
        "    str(adapter)",
        f"{TESTS}::test_an_adapter_of_another_model_is_refused",
    ),
    Mutation(
        EXPORT,
        "check=checkpoint.check_unchanged",
        "check=lambda: None",
        f"{TESTS}::test_a_source_that_changes_meanwhile_leaves_nothing",
    ),
    Mutation(
        GGUF,
        "rows = neighbouring_rows(len(weight), D) if turned else None",
        "rows = None",
        f"{TESTS}::test_rows_stand_as_llama_cpp_turns_them",
    ),
    Mutation(
        GGUF,
        "reshape(-1, 2, head_dim // 2)",
        "reshape(-1, head_dim // 2, 2)",
        f"{TESTS}::test_rows_stand_as_llama_cpp_turns_them",
    ),
    Mutation(
        GGUF,
        "list(config.num_key_value_heads_per_layer)",
        "[max(config.num_key_value_heads_per_layer)] * len(config.layers)",
        f"{TESTS}::test_a_gguf_file_says_what_the_model_is",
    ),
    Mutation(
        GGUF,
        'if found == "Q4_0" and name == head:',
        'if found == "Q4_0" and name == "lm_head.weight":',
        f"{TESTS}::test_types_and_values",
    ),
    Mutation(
        GGUF,
        "weight.shape[1] % _GROUP",
        "weight.shape[0] % _GROUP",
        f"{TESTS}::test_types_and_values",
    ),
    Mutation(
        GGUF,
        "if largest > most:",
        "if largest > 2 * most:",
        f"{TESTS}::test_values_too_large_for_a_type_are_refused",
    ),
    Mutation(
        GGUF,
        "tokenizer.score(token) for",
        "-float(token) for",
        f"{TESTS}::test_the_tokenizer_is_in_the_file",
    ),
    Mutation(
        GGUF,
        '"CONTROL" if tokenizer.id_to_piece(token) else "UNUSED"',
        '"CONTROL"',
        f"{TESTS}::test_ids_without_a_piece_have_a_name_of_their_own",
    ),
    Mutation(
        "minidecilm/weights/safetensors_file.py",
        "base.madvise(mmap.MADV_DONTNEED)",
        "pass",
        f"{TESTS}::test_memory_stays_at_a_few_blocks",
    ),
]
