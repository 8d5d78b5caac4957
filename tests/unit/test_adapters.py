"""Adapters: PEFT's own logits, weights merged by hand, both ways to apply one, commands, and slips."""

import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import minidecilm
from minidecilm.backends import NUMPY, create_backend
from minidecilm.backends.beside import beside
from minidecilm.backends.host import Host
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.config import LayerConfig
from minidecilm.errors import CheckpointError
from minidecilm.model import DeciLM
from minidecilm.weights.adapted import AdaptedWeight, with_adapter
from minidecilm.weights.adapters import LowRank, read_adapter
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.merge import merge_checkpoint
from minidecilm.weights.quantize import quantize_checkpoint, quantize_weight
from tests.adapters import MODEL, PLAIN, PREFIX, low_rank, merged_by_hand, write_adapter, write_model

GOLDEN = Path(__file__).parents[1] / "golden" / "adapters"
FROM_PEFT = ("plain", "rslora", "patterns", "dora", "saved", "head")
IDS = np.random.default_rng(1).integers(3, 40, (2, 9))
TIED = replace(MODEL, tie_word_embeddings=True)


def saved(name, shape, seed=2):
    return {f"{PREFIX}{name}": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


EMBEDDING = saved("model.embed_tokens.weight", (40, 24))
HEAD = saved("lm_head.weight", (40, 24), 3)
# tensors, what the configuration says, the model's config: the six good ones from PEFT apart
GOOD = {
    "plain": (low_rank(), {}, MODEL),
    "one module": (low_rank(modules=r"v_proj$"), {}, MODEL),
    "one layer": (low_rank(modules=r"layers\.2\..*_proj$"), {"layers_to_transform": [2]}, MODEL),
    "rsLoRA": (low_rank(), {"use_rslora": True}, MODEL),
    "rank of one module": (low_rank(ranks={"k_proj": 1}), {"rank_pattern": {"k_proj": 1}}, MODEL),
    "alpha of one module": (low_rank(), {"alpha_pattern": {"2.self_attn.q_proj": 30, "up_proj": 0.5}}, MODEL),
    "both patterns, rsLoRA": (
        low_rank(ranks={"1.self_attn.v_proj": 5}),
        {
            "rank_pattern": {"layers.1.self_attn.v_proj": 5},
            "alpha_pattern": {"v_proj": 9},
            "use_rslora": True,
        },
        MODEL,
    ),
    "DoRA": (low_rank(dora=True), {"use_dora": True}, MODEL),
    "DoRA, rsLoRA": (low_rank(dora=True), {"use_dora": True, "use_rslora": True}, MODEL),
    "embedding and head": (
        low_rank(modules=r"[qo]_proj$") | EMBEDDING | HEAD,
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        MODEL,
    ),
    "norms alone": (saved("model.norm.weight", (24,)), {"modules_to_save": ["norm"]}, MODEL),
    "head by LoRA, and its base": (
        low_rank(modules="lm_head") | {f"{PREFIX}lm_head.base_layer.weight": HEAD[f"{PREFIX}lm_head.weight"]},
        {},
        MODEL,
    ),
    "in bfloat16": (
        {name: array.astype(ml_dtypes.bfloat16) for name, array in low_rank().items()},
        {"loftq_config": {}, "eva_config": None, "init_lora_weights": "gaussian"},
        MODEL,
    ),
    "tied head by LoRA": (low_rank(modules="q_proj|lm_head"), {}, TIED),
    "tied head of its own": (HEAD, {"modules_to_save": ["lm_head"]}, TIED),
    "tied head, embedding too": (HEAD | EMBEDDING, {"modules_to_save": ["lm_head", "embed_tokens"]}, TIED),
    "tied head, tied for good": (
        EMBEDDING,
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        TIED,
    ),
}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of the model of a config."""
    folder = tmp_path_factory.mktemp("models")
    found = {config: write_model(folder / f"{number}", config) for number, config in enumerate((MODEL, TIED))}
    found["bfloat16"] = write_model(
        folder / "bf16", replace(MODEL, torch_dtype="bfloat16"), ml_dtypes.bfloat16
    )
    return found


def by_hand(folder, tensors, values):
    """Logits in float64 of weights merged by hand."""
    config, weights = open_checkpoint(folder).config, dict(open_checkpoint(folder).tensors)
    if config.tie_word_embeddings and any("lm_head" in name for name in tensors):
        config = replace(config, tie_word_embeddings=False)
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    merged = merged_by_hand(weights, tensors, PLAIN | values)
    return DeciLM(config, merged, NUMPY, "float64")(IDS)


@pytest.mark.parametrize("weights", ["stored", "float64"])
@pytest.mark.parametrize("name", FROM_PEFT)
def test_logits_of_peft(name, weights):
    """Beside the weights, and merged."""
    golden = np.load(GOLDEN / "golden.npz")
    base = GOLDEN / ("tied_base" if name == "head" else "base")
    options = {"backend": "numpy", "dtype": "float64", "weights": weights}
    without = minidecilm.load(base, **options).model(golden["ids"])
    np.testing.assert_allclose(without, golden[base.name], rtol=0, atol=1e-12)
    found = minidecilm.load(base, adapter=GOLDEN / name, **options).model(golden["ids"])
    np.testing.assert_allclose(found, golden[name], rtol=0, atol=1e-12)
    assert np.abs(found - without).max() > 0.5


@pytest.mark.parametrize("weights", ["stored", "float64"])
@pytest.mark.parametrize("name", GOOD)
def test_logits_of_weights_merged_by_hand(name, weights, models, tmp_path):
    tensors, values, config = GOOD[name]
    folder = write_adapter(tmp_path / "adapter", tensors, **values)
    expected = by_hand(models[config], tensors, values)
    lm = minidecilm.load(models[config], adapter=folder, backend="numpy", dtype="float64", weights=weights)
    np.testing.assert_allclose(lm.model(IDS), expected, rtol=0, atol=1e-10)
    assert np.abs(minidecilm.load(models[config]).model(IDS) - expected).max() > 0.1
    beside_it = {name for name, weight in lm.model.weights.items() if isinstance(weight, AdaptedWeight)}
    low = {name for name in tensors if "lora_A" in name}
    assert len(beside_it) == (len(low) if weights == "stored" else 0)


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ["plain", "DoRA", "embedding and head"])
def test_a_base_stays_as_it_is_stored(name, storage, models, tmp_path):
    """Beside it, on both backends: as if what is stored was widened and merged."""
    tensors, values, _ = GOOD[name]
    folder = write_adapter(tmp_path / "adapter", tensors, **values)
    base = models["bfloat16" if storage == "bfloat16" else MODEL]
    if storage.startswith("int"):
        quantize_checkpoint(base, tmp_path / "packed", storage, 32)
        base = tmp_path / "packed"
    options = {"adapter": folder, "dtype": "float64", "backend": "numpy"}
    lm = minidecilm.load(base, **options)
    k_proj = lm.model.weights["model.layers.1.self_attn.k_proj.weight"]
    stored = k_proj.base if isinstance(k_proj, AdaptedWeight) else k_proj
    assert stored is lm.checkpoint.tensors["model.layers.1.self_attn.k_proj.weight"]
    merged = minidecilm.load(base, weights="float64", **options)
    expected = merged.model(IDS)
    # A weight that is replaced is rounded to the dtype of one that is stored in floats.
    np.testing.assert_allclose(lm.model(IDS), expected, rtol=0, atol=1e-10)
    # Numba rounds the activations that packed weights meet: what it adds to their products is tested below.
    for backend in ("numpy",) if storage.startswith("int") else ("numpy", "numba"):
        found = minidecilm.load(base, adapter=folder, backend=backend).model(IDS)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8", "int4"])
def test_a_product_gains_two_small_ones(backend, storage):
    """One weight or several in one go, of which some have no adapter."""
    generator = np.random.default_rng(3)
    plain = create_backend(backend)
    x = generator.normal(size=(2, 3, 40)).astype(np.float32)
    weights, expected = [], []
    for rows, magnitude in ((32, None), (18, generator.uniform(1, 2, 18)), (7, None)):
        matrix = generator.normal(size=(rows, 40)).astype(np.float32)
        packed = storage.startswith("int")
        base = quantize_weight(matrix, int(storage[3:]), 32) if packed else matrix.astype(storage)
        A, B = generator.normal(size=(4, 40)), generator.normal(size=(rows, 4))
        y, wide = plain.linear(x, base), np.asarray(base[0:rows], np.float64)
        if rows == 7:
            weights.append(base)
        else:
            weights.append(AdaptedWeight(base, LowRank(A, B, 0.7, magnitude), "weight"))
            y = y + 0.7 * x @ A.T @ B.T
            if magnitude is not None:
                y *= magnitude / np.linalg.norm(wide + 0.7 * B @ A, axis=1)
        expected.append(y)
    both = beside(plain)
    for found in (both.linears(x, *weights), [both.linear(x, weight) for weight in weights]):
        for y, right in zip(found, expected, strict=True):
            assert y.dtype == np.float32
            np.testing.assert_allclose(y, right, rtol=0, atol=2e-4)


def test_generation_goes_through_the_adapter(models, tmp_path):
    """Prefill, decode and what gets kernels ready."""
    folder = write_adapter(tmp_path / "adapter", *GOOD["DoRA"][:1], use_dora=True)
    texts = {
        (backend, weights): minidecilm.generate_tokens(
            minidecilm.load(models[MODEL], adapter=folder, backend=backend, weights=weights).model,
            IDS,
            max_new_tokens=12,
            temperature=0,
        )
        for backend in ("numpy", "numba")
        for weights in ("stored", "float32")
    }
    assert len({str(text) for text in texts.values()}) == 1
    plain = minidecilm.generate_tokens(
        minidecilm.load(models[MODEL]).model, IDS, max_new_tokens=12, temperature=0
    )
    assert str(plain) not in {str(text) for text in texts.values()}


def test_a_backend_is_made_ready_for_the_weights_without_the_adapter():
    """Its kernels are those of what is stored."""
    seen = []
    backend = replace(NUMPY, prepare=lambda *arguments: seen.append(arguments))
    base, change = np.ones((3, 4), np.float32), LowRank(np.ones((1, 4)), np.ones((3, 1)), 1.0)
    weights = {"changed": AdaptedWeight(base, change, "weight"), "other": base[0]}
    beside(backend).prepare(weights, "float32", False)
    [(ready, *rest)] = seen
    assert ready["changed"] is base
    assert ready["other"] is weights["other"]
    assert rest == ["float32", False]


def swapped_layers(tensors):
    """Layer 0 and layer 3 have the same shapes."""
    swap = {"0": "3", "3": "0"}
    return {
        ".".join(swap.get(part, part) for part in name.split(".")): array for name, array in tensors.items()
    }


@pytest.mark.parametrize(
    ("name", "slip"),
    [
        ("plain", lambda tensors, values: (tensors, values | {"lora_alpha": 6.01})),
        ("plain", lambda tensors, values: (swapped_layers(tensors), values)),
        ("rsLoRA", lambda tensors, values: (tensors, {})),
        ("alpha of one module", lambda tensors, values: (tensors, {})),
        ("DoRA", lambda tensors, values: (tensors, {})),
    ],
    ids=["scale", "layers", "rsLoRA", "alpha", "DoRA"],
)
def test_a_slip_shows_in_the_logits(name, slip, models, tmp_path):
    tensors, values, config = GOOD[name]
    folder = write_adapter(tmp_path / "adapter", tensors, **values)
    found = minidecilm.load(models[config], adapter=folder, dtype="float64", backend="numpy").model(IDS)
    assert np.abs(found - by_hand(models[config], *slip(tensors, values))).max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["plain", "DoRA", "embedding and head", "tied head by LoRA"])
def test_a_merged_folder(name, dtype, tmp_path):
    """Every weight in the dtype it was stored in, rounded once; what belongs to a model comes along."""
    tensors, values, config = GOOD[name]
    base = write_model(tmp_path / "model", replace(config, torch_dtype=dtype), np.dtype(dtype))
    (base / "tokenizer.model").write_text("pieces")
    (base / "LICENSE.md").write_text("terms")
    adapter = write_adapter(tmp_path / "adapter", tensors, **values)
    merge_checkpoint(base, adapter, tmp_path / "merged", max_shard_bytes=20_000)
    merged, before = open_checkpoint(tmp_path / "merged"), dict(open_checkpoint(base).tensors)
    assert len(merged.files) > 1
    assert (merged.folder / "tokenizer.model").read_text() == "pieces"
    assert (merged.folder / "LICENSE.md").read_text() == "terms"
    assert merged.config == replace(config, torch_dtype=dtype, tie_word_embeddings=False)
    before.setdefault("lm_head.weight", before["model.embed_tokens.weight"])
    for weight, expected in merged_by_hand(before, tensors, PLAIN | values).items():
        found = merged.tensors[weight]
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_allclose(
            found.astype(np.float64), expected, rtol=float(ml_dtypes.finfo(dtype).eps) / 2 + 1e-9, atol=1e-7
        )


def test_quantising_with_an_adapter_is_to_quantise_what_was_merged(models, tmp_path):
    base, (tensors, values, _) = models[MODEL], GOOD["DoRA"]
    adapter = write_adapter(tmp_path / "adapter", tensors, **values)
    quantize_checkpoint(base, tmp_path / "at once", "int4", 32, adapter=adapter)
    merge_checkpoint(base, adapter, tmp_path / "merged")
    quantize_checkpoint(tmp_path / "merged", tmp_path / "in two", "int4", 32)
    one, two = (minidecilm.load(tmp_path / name).model(IDS) for name in ("at once", "in two"))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)
    in_memory = minidecilm.load(base, adapter=adapter, weights="int8").model(IDS)
    expected = minidecilm.load(tmp_path / "merged", weights="int8").model(IDS)
    np.testing.assert_allclose(in_memory, expected, rtol=0, atol=1e-5)


def test_nothing_is_read_or_merged_that_need_not_be(models, tmp_path):
    """A base stays mapped: of its matrices only DoRA reads any, a block at a time."""
    folder = write_adapter(tmp_path / "adapter", low_rank())
    checkpoint = open_checkpoint(models[MODEL])
    _, weights = with_adapter(checkpoint.config, checkpoint.tensors, folder)
    weight = weights["model.layers.0.mlp.up_proj.weight"]
    assert weight.base is checkpoint.tensors["model.layers.0.mlp.up_proj.weight"]
    unreadable = replace(weight, base=None)
    A, B, factors = unreadable.parts(np.float32)
    assert (A.dtype, B.dtype, factors) == (np.float32, np.float32, None)
    assert weight.nbytes == weight.base.nbytes + 4 * 3 * (24 + 36)


def test_rows_are_merged_a_block_at_a_time(monkeypatch):
    monkeypatch.setattr("minidecilm.weights.adapted._BLOCK", 50)
    generator = np.random.default_rng(0)
    base, A, B = (generator.normal(size=shape) for shape in ((23, 20), (2, 20), (23, 2)))
    weight = AdaptedWeight(base, LowRank(A, B, 3.0, generator.uniform(1, 2, 23)), "weight")
    whole = weight[0:23]
    blocks = list(weight.blocks(np.float64))
    assert {len(block) for block in blocks} == {2, 1}
    for found in (np.concatenate(blocks), weight.astype(np.float64)):
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-14)
    factors = weight.parts(np.float64)[2]
    np.testing.assert_allclose(factors * np.linalg.norm(base + 3 * B @ A, axis=1), weight.update.magnitude)


def test_a_backend_with_memory_of_its_own_wants_the_adapter_merged():
    with pytest.raises(ValueError, match=r"the gpu backend needs it merged: .*minidecilm merge") as caught:
        beside(replace(NUMPY, name="gpu", device=Host()))
    assert "\n" not in str(caught.value)


def refused_merge(base, adapter, target):
    with pytest.raises(CheckpointError) as caught:
        merge_checkpoint(base, adapter, target)
    assert not target.exists()
    assert not [path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}")]
    return str(caught.value)


def test_what_cannot_be_merged_leaves_nothing(models, tmp_path):
    quantize_checkpoint(models[MODEL], tmp_path / "packed", "int8", 32)
    adapter = write_adapter(tmp_path / "adapter", low_rank())
    said = refused_merge(tmp_path / "packed", adapter, tmp_path / "new")
    assert "found int8 in groups of 32; take the checkpoint it was made from" in said
    half = write_model(tmp_path / "half", replace(MODEL, torch_dtype="float16"), np.float16)
    large = write_adapter(tmp_path / "large", low_rank(), lora_alpha=1e7)
    said = refused_merge(half, large, tmp_path / "new")
    assert "q_proj.weight: expected values that are finite in float16 with the adapter" in said
    large = write_adapter(tmp_path / "saved", {name: array * 1e6 for name, array in HEAD.items()})
    assert "lm_head.weight: expected values that are finite" in refused_merge(half, large, tmp_path / "new")


def test_dora_without_a_row_to_scale_is_refused(models, tmp_path):
    tensors, values, _ = GOOD["DoRA"]
    name = "model.layers.1.self_attn.k_proj"
    zeros = {f"{PREFIX}{name}.lora_B.weight": np.zeros((12, 3), np.float32)}
    adapter = write_adapter(tmp_path / "adapter", tensors | zeros, **values)
    checkpoint = open_checkpoint(models[MODEL])
    weights = {key: np.array(value) for key, value in checkpoint.tensors.items()}
    weights[f"{name}.weight"][7] = 0
    weight = with_adapter(checkpoint.config, weights, adapter)[1][f"{name}.weight"]
    for use in (lambda: weight.parts(np.float32), lambda: weight[4:9]):
        with pytest.raises(CheckpointError, match=r"k_proj.weight: .*zeros alone in row 7; give the model"):
            use()


def test_memory_stays_at_a_few_blocks(monkeypatch, tmp_path):
    """The adapter itself is in memory, and no weight of the model but those being merged."""
    monkeypatch.setattr("minidecilm.weights.adapted._BLOCK", 1 << 13)
    wide = replace(MODEL, hidden_size=256, layers=(LayerConfig(4, 1024), LayerConfig(1, 1024)))
    base = write_model(tmp_path / "model", wide)
    adapter = write_adapter(tmp_path / "adapter", low_rank(wide, dora=True), use_dora=True)
    nbytes = open_checkpoint(base).nbytes
    tracemalloc.start()
    try:
        merge_checkpoint(base, adapter, tmp_path / "merged")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < nbytes / 4
    assert open_checkpoint(tmp_path / "merged").nbytes == nbytes


SLOW_MERGE = """
import sys, time
from minidecilm.weights import adapted
from minidecilm.weights.merge import merge_checkpoint
rounds = adapted.narrowed
def slowly(*arguments):
    print("writing", flush=True)
    time.sleep(0.2)
    return rounds(*arguments)
adapted.narrowed = slowly
merge_checkpoint(*sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks that end with a process")
def test_a_killed_merge_leaves_nothing_that_looks_whole(models, tmp_path):
    adapter, target = write_adapter(tmp_path / "adapter", low_rank()), tmp_path / "new" / "model"
    target.parent.mkdir()
    command = [sys.executable, "-c", SLOW_MERGE, models[MODEL], adapter, target]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    time.sleep(0.3)
    process.kill()
    process.communicate()
    [left] = target.parent.iterdir()
    assert left.name.endswith(".part")
    with pytest.raises(CheckpointError):
        open_checkpoint(left)
    merge_checkpoint(models[MODEL], adapter, target)
    assert list(target.parent.iterdir()) == [target]


def test_commands_take_an_adapter(run_command, tmp_path):
    config = open_checkpoint(DEMO_FOLDER).config
    generator = np.random.default_rng(0)
    shape = config.parameter_shapes()["model.layers.1.self_attn.v_proj.weight"]
    name = f"{PREFIX}model.layers.1.self_attn.v_proj"
    tensors = {f"{name}.lora_A.weight": generator.normal(size=(3, shape[1]))}
    tensors[f"{name}.lora_B.weight"] = generator.normal(size=(shape[0], 3))
    adapter = write_adapter(tmp_path / "adapter", tensors)
    say = ("generate", "Once upon a time", "--temperature", 0, "--max-new-tokens", 20)
    beside_it = run_command(*say, "--adapter", adapter)
    assert beside_it[0] == 0
    assert beside_it[1] != run_command(*say)[1]
    code, out, err = run_command("merge", "demo", adapter, tmp_path / "merged")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == f"{tmp_path / 'merged'}: 3,305,728 bytes of weights"
    assert run_command(*say, "--model", tmp_path / "merged")[1] == beside_it[1]
    compared = run_command("compare", "demo", "--adapter", f",{adapter}")
    assert compared[0] == 1
    assert "first difference: v of layer 1," in compared[1]
    assert run_command("compare", "demo", "--adapter", adapter)[0] == 0
    code, out, err = run_command("bench", "--config", "decilm-6b", "--random", "--adapter", adapter)
    assert (code, err) == (2, "minidecilm bench: --adapter: random weights have none; give a model\n")
    code, _, err = run_command("generate", "Once", "--adapter", DEMO_FOLDER)
    assert code == 2
    assert "expected the configuration of an adapter, found a model; give it as the model" in err
    assert len(err.splitlines()) == 1


def test_what_an_adapter_holds(tmp_path):
    adapter = read_adapter(GOLDEN / "patterns", open_checkpoint(GOLDEN / "base").config)
    scales = {
        name.removeprefix("model.layers."): update.scale
        for name, update in adapter.updates.items()
        if "k_proj" in name or "mlp.up" in name
    }
    assert scales == {
        "0.self_attn.k_proj.weight": 7 / 3,  # alpha of this module, rank of all k_proj
        "1.self_attn.k_proj.weight": 4 / 3,
        "0.mlp.up_proj.weight": 90 / 2,  # the first pattern that fits, as they stand in the file
        "1.mlp.up_proj.weight": 90 / 1,
    }
