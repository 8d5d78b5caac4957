"""Text in, text out: loading, streaming, stop strings, templates."""

import shutil

import numpy as np
import pytest

import minidecilm
from minidecilm.api import DEMO_FOLDER, _RowText
from minidecilm.errors import CheckpointError
from tests import checks

GREEDY = {"max_new_tokens": 40, "temperature": 0}


@pytest.fixture(scope="module")
def lm():
    return minidecilm.load("demo")


def test_pieces_join_to_the_text(lm):
    for options in (GREEDY, {"max_new_tokens": 40, "temperature": 1.5, "top_p": 1.0, "seed": 5}):
        pieces = list(lm.stream("Once upon a time", **options))
        assert len(pieces) > 5
        assert "".join(pieces) == lm.generate("Once upon a time", **options)


def test_a_batch_gives_the_same_texts(lm):
    prompts = ["Once upon a time", "The", "One day a little robot went to the river and"]
    options = {"max_new_tokens": 40, "temperature": 0.8, "seed": 2}
    assert lm.generate(prompts, **options) == [lm.generate(prompt, **options) for prompt in prompts]
    assert lm.generate([prompts[0]], **options) == [lm.generate(prompts[0], **options)]


def test_one_liner(lm):
    assert minidecilm.generate("Once upon a time", **GREEDY) == lm.generate("Once upon a time", **GREEDY)
    assert minidecilm.generate("Once", model=lm, **GREEDY) == lm.generate("Once", **GREEDY)
    assert "".join(minidecilm.stream("Once", model=lm, **GREEDY)) == lm.generate("Once", **GREEDY)


def test_stop_strings_cut_the_text(lm):
    whole = lm.generate("Once upon a time", **GREEDY)
    for stop in (whole[10:14], whole[3:30], [whole[20:23], "not in the text"]):
        first = [stop] if isinstance(stop, str) else stop
        cut = min(at for at in map(whole.find, first) if at >= 0)
        assert lm.generate("Once upon a time", stop=stop, **GREEDY) == whole[:cut]
        assert "".join(lm.stream("Once upon a time", stop=stop, **GREEDY)) == whole[:cut]


def test_a_stop_string_begun_but_not_finished_is_shown_at_the_end(lm):
    whole = lm.generate("Once upon a time", **GREEDY)
    assert lm.generate("Once upon a time", stop=whole[-3:] + "never", **GREEDY) == whole


class Echo:
    """A decoder whose tokens are the text itself."""

    def push(self, token):
        return token

    def flush(self):
        return ""


def test_nothing_that_may_become_a_stop_string_is_shown():
    row = _RowText(Echo(), ["###", "#!"])
    shown = []
    for piece in ("a", "#", "b", "##", "c#", "#", "#", "d"):
        row.push(piece)
        shown.append(row.text)
    assert shown == ["a", "a", "a#b", "a#b", "a#b##c", "a#b##c", "a#b##c", "a#b##c"]
    assert row.finish() == "a#b##c"


def test_ctrl_c_keeps_the_text_so_far(lm):
    class Interrupted(minidecilm.model.DeciLM):
        calls = 0

        def __call__(self, *args, **kwargs):
            self.calls += 1
            if self.calls == 6:
                raise KeyboardInterrupt
            return super().__call__(*args, **kwargs)

    whole = lm.generate("Once upon a time", **GREEDY)
    model = Interrupted(lm.config, lm.model.weights, lm.backend)
    broken_off = minidecilm.LanguageModel(model, lm.tokenizer, lm.checkpoint)
    text = broken_off.generate("Once upon a time", **GREEDY)
    assert text
    assert whole.startswith(text)
    assert len(text) < len(whole)


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ("", ValueError, "prompt is empty"),
        ([], ValueError, "batch of prompts is empty"),
        (["a", ""], ValueError, "prompt is empty"),
        (["a", 3], TypeError, "prompt 1: expected text, found int"),
        ("word " * 3000, ValueError, "exceeds 1024 tokens"),
    ],
    ids=["empty", "no prompts", "one empty", "number", "too long"],
)
def test_bad_prompts(lm, prompt, error, message):
    with pytest.raises(error, match=message):
        lm.generate(prompt)


def test_an_empty_stop_string_is_refused(lm):
    with pytest.raises(ValueError, match="empty string"):
        lm.generate("a", stop="")


def test_templates_are_exact(lm):
    alpaca = minidecilm.api.apply_template("Name {instruction} fruit.", "DeciLM-6b-instruct")
    assert alpaca == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n\nName {instruction} fruit.\n\n### Response:\n"
    )
    seven = minidecilm.api.apply_template("Name a fruit.", "decilm-7b-instruct")
    assert seven == (
        "### System:\nYou are an AI assistant that follows instruction extremely well. "
        "Help as much as you can.\n### User:\nName a fruit.\n### Assistant:\n"
    )
    assert lm.generate("Hi", template="decilm-6b-instruct", **GREEDY) == lm.generate(
        minidecilm.api.apply_template("Hi", "decilm-6b-instruct"), **GREEDY
    )
    with pytest.raises(ValueError, match="decilm-6b-instruct, decilm-7b-instruct"):
        lm.generate("Hi", template="vicuna")


def test_without_a_tokenizer_only_text_is_missing():
    bare = minidecilm.load(checks.GOLDEN)
    assert bare.tokenizer is None
    assert bare.model([[1, 2]]).shape == (1, 2, 512)
    for call in (lambda: bare.generate("a"), lambda: list(bare.stream("a"))):
        with pytest.raises(minidecilm.CheckpointError, match=r"tokenizer\.model is missing"):
            call()


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    for file in checks.GOLDEN.iterdir():
        shutil.copy(file, tmp_path)
    shutil.copy(DEMO_FOLDER / "tokenizer.model", tmp_path)
    with pytest.raises(minidecilm.CheckpointError, match=r"2048 pieces.*vocab_size = 512"):
        minidecilm.load(tmp_path)


@pytest.mark.parametrize("weights", ["float64", "float32", "bfloat16"])
def test_weights_can_be_converted(lm, weights):
    converted = minidecilm.load("demo", weights=weights)
    assert {array.dtype.name for array in converted.model.weights.values()} == {weights}
    ids = [[1, 400, 500, 600]]
    np.testing.assert_allclose(converted.model(ids), lm.model(ids), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("weights", "int3"),
        ("backend", "abacus"),
        ("dtype", "float16"),
        ("rope", "static"),
        ("adapter", "folder"),
    ],
)
def test_unknown_options_are_named(option, value):
    with pytest.raises(ValueError, match=option):
        minidecilm.load("demo", **{option: value})


def test_repr_says_what_runs(lm):
    assert repr(lm).startswith("<LanguageModel demo: ")
    assert "backend=numpy, dtype=float32, rope=reference" in repr(lm)


def test_hub_ids_load_from_the_hub_cache(tmp_path, monkeypatch, lm):
    """Offline, a hub id finds what was fetched before; what was not is one clear OSError."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    snapshot = tmp_path / "models--Org--Name" / "snapshots" / ("0" * 40)
    shutil.copytree(DEMO_FOLDER, snapshot)
    refs = tmp_path / "models--Org--Name" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert minidecilm.load("Org/Name").generate("Once", **GREEDY) == lm.generate("Once", **GREEDY)
    with pytest.raises(OSError, match="Org/Other: no such folder, and the Hugging Face hub gave"):
        minidecilm.load("Org/Other")


def test_demo_is_what_it_says(lm):
    heads = lm.config.num_key_value_heads_per_layer
    assert set(heads) == {1, 2, 4}
    assert lm.config.rope_factor == 2.0
    assert lm.config.max_position_embeddings == 256
    assert sum(file.stat().st_size for file in DEMO_FOLDER.rglob("*")) < 12e6
    assert {array.dtype.name for array in lm.model.weights.values()} == {"bfloat16"}
    assert len(lm.checkpoint.files) > 1


def test_a_preset_has_no_weights():
    with pytest.raises(
        CheckpointError, match="DeciLM-6B is a preset without weights: give a checkpoint folder"
    ):
        minidecilm.load("DeciLM-6B")
