"""Mistakes in reading adapters, in merging them, and in multiplying with them beside the weights."""

from tests.mutations import Mutation

READER = "minidecilm/weights/adapters.py"
ADAPTED = "minidecilm/weights/adapted.py"
BESIDE = "minidecilm/backends/beside.py"
GOOD = "tests/unit/test_adapters.py::test_logits_of_weights_merged_by_hand"
PEFT = "tests/unit/test_adapters.py::test_logits_of_peft"
BAD = "tests/unit/test_bad_adapters.py::test_a_bad_adapter_is_refused_in_one_line"

MUTATIONS = [
    Mutation(READER, 'math.sqrt(rank) if values.get("use_rslora") else rank', "rank", f"{GOOD} {PEFT}"),
    Mutation(READER, 'values["lora_alpha"])\n', 'values["r"])\n', f"{GOOD} {PEFT}"),
    Mutation(READER, "return next(fits, default)", "return ([default, *fits])[-1]", PEFT),
    Mutation(READER, 'rf"(.*\\.)?({key})$", module', 'rf"({key})$", module', f"{GOOD} {PEFT}"),
    Mutation(READER, "self.read(parts[_MAGNITUDE], (rows,)) if dora else None", "None", f"{GOOD} {PEFT}"),
    Mutation(READER, "self.shapes.setdefault(HEAD", 'self.shapes.setdefault("head"', f"{GOOD} {PEFT}"),
    Mutation(READER, "tie_word_embeddings=False)", "tie_word_embeddings=True)", f"{GOOD} {PEFT}"),
    Mutation(READER, 'not values.get("ensure_weight_tying")', "True", GOOD),
    Mutation(
        READER,
        'and not values.get("ensure_weight_tying")',
        "and False",
        "tests/unit/test_bad_adapters.py::test_an_embedding_alone_of_a_tied_model_says_nothing_of_the_head",
    ),
    Mutation(READER, "if found != shape:", "if False:", BAD),
    Mutation(READER, "if not np.isfinite(array).all():", "if False:", BAD),
    Mutation(READER, "if dtype not in _FLOATS:", "if False:", BAD),
    Mutation(READER, "type(beginning) is type(value) and beginning == value", "beginning == value", BAD),
    Mutation(READER, "if not dora and _MAGNITUDE in parts:", "if False:", BAD),
    Mutation(
        READER, "if _SLOW.search(pattern) or not _compiles(pattern):", "if not _compiles(pattern):", BAD
    ),
    Mutation(READER, "if not updates and not replaced:", "if False:", BAD),
    Mutation(READER, "placed = key.startswith(_PREFIX) and weight", "placed = weight", BAD),
    Mutation(READER, "if unknown:", "if False:", BAD),
    Mutation(
        READER,
        'folder.glob("adapter_model*.bin")',
        'folder.glob("adapter_model*.pt")',
        "tests/unit/test_bad_adapters.py::test_a_folder_that_is_no_adapter",
    ),
    Mutation(ADAPTED, "total *= self.update.scale", "pass", f"{GOOD} {PEFT}"),
    Mutation(ADAPTED, "merged if factors is None else merged * factors[:, None]", "merged", f"{GOOD} {PEFT}"),
    Mutation(
        ADAPTED,
        "lengths = np.linalg.norm(total, axis=1)",
        "lengths = np.linalg.norm(self.base[rows].astype(np.float64), axis=1)",
        f"{GOOD} {PEFT}",
    ),
    Mutation(
        ADAPTED,
        "return total, self.update.magnitude[rows] / lengths",
        "return total, 1 / lengths",
        f"{GOOD} {PEFT}",
    ),
    Mutation(
        ADAPTED,
        "self.update.B[rows]",
        "self.update.B[: len(self.base[rows])]",
        "tests/unit/test_adapters.py::test_rows_are_merged_a_block_at_a_time",
    ),
    Mutation(ADAPTED, "up = self.update.scale * ", "up = ", f"{GOOD} {PEFT}"),
    Mutation(
        ADAPTED,
        "if not lengths.all():",
        "if False:",
        "tests/unit/test_adapters.py::test_dora_without_a_row_to_scale_is_refused",
    ),
    Mutation(
        ADAPTED,
        "if not np.isfinite(rounded).all():",
        "if False:",
        "tests/unit/test_adapters.py::test_what_cannot_be_merged_leaves_nothing",
    ),
    Mutation(
        ADAPTED,
        "changed.setdefault(HEAD, changed[EMBEDDING])",
        "changed.setdefault(HEAD, None)",
        f"{GOOD} {PEFT}",
    ),
    Mutation(
        ADAPTED,
        "dtype = old.dtype if isinstance(old, np.ndarray) else new.dtype",
        "dtype = new.dtype",
        "tests/unit/test_adapters.py::test_a_merged_folder",
    ),
    Mutation(BESIDE, "y = y + (x @ A.T) @ B.T", "y = y + (x @ A.T) @ B.T / 2", f"{GOOD} {PEFT}"),
    Mutation(BESIDE, "return y if factors is None else y * factors", "return y", f"{GOOD} {PEFT}"),
    Mutation(
        BESIDE,
        "name: _base(weight) for name",
        "name: weight for name",
        "tests/unit/test_adapters.py::test_a_backend_is_made_ready_for_the_weights_without_the_adapter",
    ),
    Mutation(
        BESIDE,
        "if backend.device is not HOST:",
        "if False:",
        "tests/unit/test_adapters.py::test_a_backend_with_memory_of_its_own_wants_the_adapter_merged",
    ),
    Mutation(
        "minidecilm/api.py",
        "chosen = beside(chosen)",
        "pass",
        "tests/unit/test_adapters.py::test_a_base_stays_as_it_is_stored",
    ),
    Mutation(
        "minidecilm/weights/merge.py",
        "weight.blocks(weight.dtype)",
        "[weight.base]",
        "tests/unit/test_adapters.py::test_a_merged_folder",
    ),
    Mutation(
        "minidecilm/weights/merge.py",
        "companions=companions_of(checkpoint.folder)",
        "companions=()",
        "tests/unit/test_adapters.py::test_a_merged_folder",
    ),
    Mutation(
        "minidecilm/weights/quantize.py",
        "checkpoint.float_tensors(), adapter)",
        "checkpoint.float_tensors(), None)",
        "tests/unit/test_adapters.py::test_quantising_with_an_adapter_is_to_quantise_what_was_merged",
    ),
]
