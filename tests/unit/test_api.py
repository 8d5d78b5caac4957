"""Text in, text out: loading, streaming, stop strings, templates."""

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm.api import _RowText
from minidecilm.catalog import DEMO_FOLDER, find_model
from minidecilm.errors import CheckpointError
from minidecilm.files import hub_name
from minidecilm.weights.checkpoint_writer import write_checkpoint
from minidecilm.weights.safetensors_file import TensorSource
from tests import checks
from tests.unit.scripted import saying
from tests.unit.test_tokenizer import train

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
    options = {**GREEDY, "max_new_tokens": 12}
    for more in ({}, {"stop": "e"}, {"template": "decilm-7b-instruct"}):
        expected = lm.generate("Once", **options, **more)
        assert minidecilm.generate("Once", model=lm, **options, **more) == expected
        assert "".join(minidecilm.stream("Once", model=lm, **options, **more)) == expected


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


def chat_model(folder, tokens, eos, special=True):
    """Make a copy of the demo model, with 8 ids beyond the pieces, that writes given tokens."""
    for file in DEMO_FOLDER.iterdir():
        shutil.copy(file, folder)
    demo = minidecilm.load("demo")
    config = replace(demo.config, vocab_size=2056, eos_token_ids=eos)
    sources = []
    for name, weight in demo.checkpoint.tensors.items():
        wide = np.zeros(config.parameter_shapes()[name], weight.dtype)
        wide[: len(weight)] = weight
        sources.append(TensorSource.from_array(name, wide))
    (folder / "model").mkdir()
    write_checkpoint(config, folder / "model", sources)
    entry = {"content": "<|im_end|>", "special": special}
    settings = {"added_tokens_decoder": {"2048": entry, "2049": {"content": "<tool>", "special": False}}}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
    shutil.copy(DEMO_FOLDER / "tokenizer.model", folder / "model")

    class Dictated(minidecilm.model.DeciLM):
        def __call__(self, ids, *args, **kwargs):
            logits = super().__call__(ids, *args, **kwargs)
            logits[:, -1, tokens[self.written]] = 1e9
            self.written += 1
            return logits

    lm = minidecilm.load(folder / "model")
    model = Dictated(lm.config, lm.model.weights, lm.backend)
    model.written = 0
    return minidecilm.LanguageModel(model, lm.tokenizer, lm.checkpoint)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("end", [2, 2048, 2053])
def test_the_end_token_is_no_part_of_the_answer(tmp_path, end, special):
    """It ends the row before it is decoded: beyond the pieces, with or without a text, special or not."""
    written = [*[261] * 2, 2049, 2052, 261, end]
    lm = chat_model(tmp_path, written, (end,), special)
    assert lm.generate("a", **GREEDY) == " a a<tool> a"
    lm.model.written = 0
    assert "".join(lm.stream("a", **GREEDY)) == " a a<tool> a"
    lm.model.written = 0
    assert minidecilm.generate_tokens(lm.model, [1, 261], **GREEDY).tolist() == written
    lm.model.written = 0
    assert (
        minidecilm.generate_tokens(lm.model, [1, 261], stop=[[261, end]], **GREEDY).tolist() == written[:-2]
    )
    lm.model.written = 0
    trace = []
    assert lm.generate("a", stop="tool", trace=trace, **GREEDY) == " a a<"
    assert trace[-1].finished == ["stop"]


def test_one_end_id_is_a_list_of_one(lm):
    whole = minidecilm.generate_tokens(lm.model, [1, 300], **GREEDY).tolist()
    end = whole[7]
    cut = whole[: whole.index(end) + 1]
    for eos in (end, [end], np.int64(end), (end, 5)):
        found = minidecilm.generate_tokens(lm.model, [1, 300], eos_token_ids=eos, **GREEDY)
        assert found.tolist() == cut
    assert minidecilm.generate_tokens(lm.model, [1, 300], eos_token_ids=(), **GREEDY).tolist() == whole


def that_says(lm, *rows):
    """The demo model, saying these ids."""
    return minidecilm.LanguageModel(saying(lm.model, *rows), lm.tokenizer, lm.checkpoint)


def bytes_of(lm, text):
    ids = {lm.tokenizer.id_to_piece(token): token for token in range(lm.tokenizer.vocab_size)}
    return [ids[f"<0x{byte:02X}>"] for byte in text.encode()]


def every_way(lm, rows, **options):
    """Text of one row as it comes from each way to generate; they must agree."""
    options = {"temperature": 0, "max_new_tokens": len(rows[0]), **options}
    whole = that_says(lm, *rows).generate(["a"] * len(rows), **options)[0]
    alone = that_says(lm, rows[0])
    assert alone.generate("a", **options) == whole
    alone.model.calls = 0
    assert "".join(alone.stream("a", **options)) == whole
    return whole


def test_the_first_space_of_a_continuation_is_part_of_it(lm):
    was = lm.tokenizer.encode("was", add_bos=False)
    assert lm.tokenizer.decode(was) == "was"  # at the beginning of a text it is the dummy prefix
    assert every_way(lm, [was * 2]) == " was was"
    assert every_way(lm, [bytes_of(lm, "  ") + was]) == "   was"


def test_half_a_character_at_the_end_is_shown_as_what_it_is(lm):
    was = lm.tokenizer.encode("was", add_bos=False)
    face = bytes_of(lm, "😀")
    assert every_way(lm, [was + face]) == " was😀"
    assert every_way(lm, [was + face[:3]]) == " was\ufffd\ufffd\ufffd"
    # Ended by an id that is no part of the text, and where a stop string is looked for.
    assert every_way(lm, [[*face[:1], 2]], stop="never") == "\ufffd"


def test_the_earlier_of_two_stop_strings_wins(lm):
    """Both are met with the last token, the whole of which is one piece of text."""
    [there] = lm.tokenizer.encode("there", add_bos=False)
    was = lm.tokenizer.encode("was", add_bos=False)
    for stop in (["re", "he"], ["he", "re"], ["ere", "there", "h"], ["re", "e", "he", "her"]):
        cut = min(map("there".index, stop))
        assert every_way(lm, [[*was, there, *was]], stop=stop) == " was " + "there"[:cut]


def test_a_row_that_ends_does_not_end_the_others(lm):
    was, there = (lm.tokenizer.encode(word, add_bos=False) for word in ("was", "there"))
    rows = [was * 5, [*was, *there, *was, *was], [*was, *was, 2, *there, *there]]
    found = that_says(lm, *rows).generate(["a"] * 3, temperature=0, max_new_tokens=4, stop="there")
    assert found == [" was was was was", " was ", " was was"]


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


@pytest.mark.parametrize("prompt", ["Once upon a time", ["Once upon a time"]], ids=["text", "batch"])
def test_ctrl_c_reaches_the_caller_with_the_text_so_far(lm, prompt):
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
    with pytest.raises(KeyboardInterrupt) as stopped:
        broken_off.generate(prompt, **GREEDY)
    text = stopped.value.generated if isinstance(prompt, str) else stopped.value.generated[0]
    assert text
    assert whole.startswith(text)
    assert len(text) < len(whole)

    model.calls, pieces = 0, []
    with pytest.raises(KeyboardInterrupt) as stopped:
        pieces.extend(broken_off.stream("Once upon a time", **GREEDY))
    assert stopped.value.generated == text


def test_what_ends_a_text_is_no_part_of_it(lm):
    """Also where the id that ends it stands for letters."""
    ids, trace = lm.tokenizer.encode("Once upon a time"), []
    whole = lm.generate("Once upon a time", trace=trace, **GREEDY)
    new = [step.tokens[0] for step in trace]
    end = next(token for token in new[5:] if token not in new[:5])
    before = new[: new.index(end)]
    text = lm.tokenizer.decode([*ids, *before]).removeprefix("Once upon a time")
    assert whole.startswith(text)
    for ends in (end, [end]):
        assert lm.generate("Once upon a time", eos_token_ids=ends, **GREEDY) == text
        assert "".join(lm.stream("Once upon a time", eos_token_ids=ends, **GREEDY)) == text


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


def test_a_tokenizer_of_fewer_pieces_than_the_vocabulary_fits(tmp_path):
    """Published vocabularies are padded to a multiple of what a GPU likes."""
    for file in checks.GOLDEN.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(train())  # some 280 pieces, and the config has 512
    assert minidecilm.load(tmp_path).tokenizer.vocab_size < 512


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
    found = minidecilm.load("Org/Name")
    assert found.generate("Once", **GREEDY) == lm.generate("Once", **GREEDY)
    assert repr(found).startswith("<LanguageModel Org/Name: ")
    with pytest.raises(OSError, match="Org/Other: no such folder, and the Hugging Face hub gave"):
        minidecilm.load("Org/Other")


def test_a_file_written_to_since_it_was_opened_is_not_read_on(tmp_path, lm):
    """A mapped file that was cut short would end the process; one that was replaced stays whole for it."""
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    opened = minidecilm.load(folder)
    weights = next(folder.glob("*.safetensors"))
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:100])
    assert opened.generate("Once", **GREEDY) == lm.generate("Once", **GREEDY)
    weights.write_bytes(content)
    opened = minidecilm.load(folder)
    with weights.open("r+b") as file:
        file.truncate(len(content) // 2)
    for call in (
        lambda: opened.generate("Once"),
        lambda: list(opened.stream("Once")),
        lambda: minidecilm.generate_tokens(opened.model, [1, 300]),
    ):
        with pytest.raises(CheckpointError, match=r"expected the file of .* written to since"):
            call()


def test_what_is_not_mapped_may_change_while_a_model_is_open(tmp_path, lm, monkeypatch):
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    opened = minidecilm.load(folder)
    (folder / "config.json").write_text("{}")
    assert opened.generate("Once", **GREEDY) == lm.generate("Once", **GREEDY)

    def out_of_reach(path):  # as for a process that has given up the rights it began with
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("minidecilm.files.Seen.now", out_of_reach)
    assert opened.generate("Once", **GREEDY) == lm.generate("Once", **GREEDY)


def test_an_interruption_comes_back_from_a_worker_process():
    stopped = pickle.loads(pickle.dumps(minidecilm.Interrupted(["so far"])))
    assert (type(stopped), stopped.generated) == (minidecilm.Interrupted, ["so far"])


def test_a_folder_in_a_hub_cache_has_the_name_of_its_repository(tmp_path, monkeypatch, run_command):
    snapshot = tmp_path / "models--Org--Name" / "snapshots" / ("0" * 40)
    shutil.copytree(DEMO_FOLDER, snapshot)
    for path, name in (
        (snapshot, "Org/Name"),
        (snapshot / "inner", "Org/Name/inner"),
        (snapshot.parent, None),
        (tmp_path / "models--Org" / "snapshots" / "0", "Org"),
    ):
        assert hub_name(path) == name
    assert find_model(str(snapshot)).name == "Org/Name"
    assert find_model(str(snapshot / "config.json")).name == "Org/Name"
    monkeypatch.chdir(snapshot)
    assert repr(minidecilm.load(".")).startswith("<LanguageModel Org/Name: ")
    assert [find_model(name).name for name in ("demo", "decilm-6b", ".")] == [
        "demo",
        "decilm-6b",
        "Org/Name",
    ]
    code, out, _ = run_command("info", ".", "--compare", "demo")
    assert code == 0
    assert "demo / Org/Name" in out
    figure = tmp_path / "a.svg"
    assert run_command("plot", "kv-heads", "config.json", "--out", figure)[0] == 0
    assert "Org/Name" in figure.read_text()


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


def test_a_conversation_is_as_one_text():
    """No beginning and no dummy prefix in its midst, in text as in the ids that are fed."""
    lm = minidecilm.load("demo")
    cache, options = lm.model.new_cache(1, 90), {"max_new_tokens": 12, "temperature": 0}
    told = "Once upon a time"
    told += lm.generate(told, cache=cache, **options)
    for more in (" Her", "mione said", "\n\n"):
        ids = lm.tokenizer.encode(told)
        assert cache.length == len(ids)
        assert lm.tokenizer.encode(told + more) == ids + lm.tokenizer.encode(more, continuation=True)
        expected = lm.generate(told + more, **options)
        assert "".join(lm.stream(more, cache=cache, **options)) == expected
        told += more + expected
