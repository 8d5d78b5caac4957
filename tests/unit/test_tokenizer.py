"""Text to ids and back as SentencePiece and transformers do it (golden/make_tokenizer.py); in parts too."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from minidecilm import tokenizer as module
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.errors import CheckpointError
from minidecilm.tokenizer import Tokenizer

unhurried = settings(deadline=None)  # the machine may be busy

FOLDER = Path(__file__).parents[1] / "golden" / "tokenizer"
CASES = json.loads((FOLDER / "golden.json").read_text())["cases"]

TOKENIZER = Tokenizer.from_folder(FOLDER)
SENTENCEPIECE = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "tokenizer.model"))

TEXTS = st.text() | st.text(alphabet="s aé你\n\u0301😀 ")
WITH_SPECIALS = st.lists(st.sampled_from(["<s>", "</s>", "<unk>", "s", " ", "<", "was", "é"])).map("".join)
IDS = st.lists(
    st.integers(0, TOKENIZER.vocab_size - 1)
    | st.sampled_from([i for i in range(TOKENIZER.vocab_size) if TOKENIZER.is_byte(i)])
    | st.sampled_from([TOKENIZER.bos_id, TOKENIZER.eos_id])
)


def pieces_of(ids):
    return [TOKENIZER.id_to_piece(i) for i in ids]


def byte_id(byte):
    return SENTENCEPIECE.piece_to_id(f"<0x{byte:02X}>")


# --- golden texts


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"])[:40])
def test_ids_are_those_of_sentencepiece_and_transformers(case):
    text = case["text"]
    assert TOKENIZER.encode(text, add_bos=False) == case["sentencepiece_ids"]
    ids = case["transformers_ids"], case["transformers_ids_split_special"]
    if text.startswith((" ", "\u2581")):
        # transformers 5 adds no dummy prefix to a text that begins with a space, and so loses that space when
        # it decodes. We follow SentencePiece, with which the models were trained.
        ids = [[bos, SENTENCEPIECE.piece_to_id("\u2581"), *rest] for bos, *rest in ids]
    assert [TOKENIZER.encode(text, allow_special=True), TOKENIZER.encode(text)] == list(ids)


def decodes_golden_texts(decode):
    """Check a function (ids, skip_special) -> str; the planted mistakes below must fail it."""
    for case in CASES:
        ids = case["transformers_ids"]
        assert decode(ids, skip_special=True) == case["transformers_decoded_skip_special"]
        assert decode(ids, skip_special=False) == case["transformers_decoded"]
        assert decode(case["sentencepiece_ids"], skip_special=True) == case["sentencepiece_decoded"]


def test_decoded_texts_are_those_of_sentencepiece_and_transformers():
    decodes_golden_texts(TOKENIZER.decode)


def strip_the_letters(ids, skip_special):
    """Take a set of characters for a prefix: 'was'.strip('<s>') == 'wa'."""
    return "".join(TOKENIZER.decode([i]).strip("<s>").strip("</s>") for i in ids)


def piece_by_piece(ids, skip_special):
    """Decode each id alone: loses spaces, and breaks what several byte pieces spell."""
    return "".join(TOKENIZER.decode([i], skip_special=skip_special) for i in ids)


def strip_all_spaces(ids, skip_special):
    return TOKENIZER.decode(ids, skip_special=skip_special).strip()


def keep_the_dummy_prefix(ids, skip_special):
    stream = TOKENIZER.stream(continuation=True, skip_special=skip_special)
    return "".join(map(stream.push, ids)) + stream.flush()


MISTAKES = [strip_the_letters, piece_by_piece, strip_all_spaces, keep_the_dummy_prefix]


@pytest.mark.parametrize("decode", MISTAKES, ids=lambda decode: decode.__name__)
def test_planted_mistakes_are_found(decode):
    with pytest.raises(AssertionError):
        decodes_golden_texts(decode)


# --- round trips


@unhurried
@given(TEXTS | WITH_SPECIALS)
@example("was his sister's glass less than this? yes </s> ss")
@example(" leading and trailing ")
@example("\x00")
@example("\u2581 the one character that does not survive")
def test_every_text_survives_but_for_the_space_mark(text):
    ids = TOKENIZER.encode(text)
    assert ids[0] == TOKENIZER.bos_id
    assert not any(map(TOKENIZER.is_special, ids[1:]))
    assert TOKENIZER.decode(ids) == text.replace("\u2581", " ")


@unhurried
@given(TEXTS | WITH_SPECIALS)
@example("<s>was</s> his <unk><s>  s")
def test_special_pieces_survive_where_they_are_allowed(text):
    ids = TOKENIZER.encode(text, add_bos=False, allow_special=True)
    assert TOKENIZER.decode(ids, skip_special=False) == text.replace("\u2581", " ")
    assert sum(map(TOKENIZER.is_special, ids)) == sum(text.count(s) for s in ("<s>", "</s>", "<unk>"))


def test_only_the_beginning_gets_the_dummy_prefix():
    ids = TOKENIZER.encode("was</s>was<s> was", add_bos=False, allow_special=True)
    assert pieces_of(ids)[0] == "\u2581was"
    assert pieces_of(ids)[1] == "</s>"
    assert not pieces_of(ids)[2].startswith("\u2581")
    assert pieces_of(ids)[-2:] == ["<s>", "\u2581was"]


@unhurried
@given(TEXTS)
def test_text_after_a_special_piece_is_cut_as_after_any_barrier(text):
    """What follows a special piece has the pieces that it has after a character no piece can hold."""
    assume(not any(special in text for special in ("<s>", "</s>", "<unk>")))
    ids = TOKENIZER.encode("<s>" + text, add_bos=False, allow_special=True)
    barrier = "\ue123"
    alone = SENTENCEPIECE.encode(barrier)
    assert SENTENCEPIECE.encode(barrier + text) == alone + ids[1:]


# --- decoding in pieces


@unhurried
@given(IDS)
def test_any_ids_decode_as_sentencepiece_decodes_them(ids):
    """Broken UTF-8 included. Unknown is left out: it shows as nothing here, as a sign in SentencePiece."""
    ids = [i for i in ids if i != TOKENIZER.unk_id]
    assert TOKENIZER.decode(ids) == SENTENCEPIECE.decode(ids)


@unhurried
@given(TEXTS)
def test_a_stream_never_emits_half_a_character(text):
    stream, shown = TOKENIZER.stream(), ""
    for i in TOKENIZER.encode(text):
        shown += stream.push(i)
        assert text.replace("\u2581", " ").startswith(shown)
    assert stream.flush() == ""
    assert shown == text.replace("\u2581", " ")


@unhurried
@given(TEXTS, st.integers(0, 30))
def test_prompt_and_continuation_join(text, cut):
    """A model that continues a prompt: the texts put together are the text of the ids put together."""
    ids = TOKENIZER.encode(text)
    while any(map(TOKENIZER.is_byte, ids[cut : cut + 1])):  # begin the continuation at a character
        cut += 1
    cut = max(cut, 2)  # the prompt has text
    stream = TOKENIZER.stream(continuation=True)
    new = "".join(map(stream.push, ids[cut:])) + stream.flush()
    assert TOKENIZER.decode(ids[:cut]) + new == TOKENIZER.decode(ids)


def test_a_continuation_keeps_its_leading_space():
    [was] = TOKENIZER.encode("was", add_bos=False)
    assert TOKENIZER.stream().push(was) == "was"
    assert TOKENIZER.stream(continuation=True).push(was) == " was"


def test_an_emoji_is_held_until_it_is_whole():
    stream = TOKENIZER.stream()
    assert [stream.push(byte_id(b)) for b in "😀".encode()] == ["", "", "", "😀"]
    assert stream.flush() == ""


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_piece(byte):
    stream = TOKENIZER.stream()
    first = stream.push(byte_id(byte))
    begins_a_character = 0xC2 <= byte <= 0xF4
    assert first == (chr(byte) if byte < 0x80 else "" if begins_a_character else "\ufffd")
    assert first + stream.flush() == bytes([byte]).decode(errors="replace")


@pytest.mark.parametrize(
    ("pushed", "expected"),
    [
        ([0xE4, 0xBD, 0xA0], ["", "", "你"]),
        ([0xE4, 0xBD, "s"], ["", "", "\ufffd\ufffds"]),  # as soon as it cannot be completed
        ([0xE4, 0xE4, 0xBD, 0xA0], ["", "\ufffd", "", "你"]),
        ([0xE4, "</s>", 0xBD], ["", "\ufffd", "\ufffd"]),  # no character across a special piece
        ([0xE4, 0xBD, "\u2581was"], ["", "", "\ufffd\ufffd was"]),
        ([0xF4, 0x90], ["", "\ufffd\ufffd"]),  # beyond the last code point
        ([0xED, 0xA0, 0x80], ["", "", "\ufffd" * 3]),  # a surrogate, which Python sees at its third byte
        ([0x20, "\u2581was"], [" ", " was"]),
        (["<s>", "\u2581was"], ["", "was"]),
        (["<s>", "\u2581", "\u2581was"], ["", "", " was"]),
    ],
)
def test_stream_step_by_step(pushed, expected):
    stream = TOKENIZER.stream()
    ids = [byte_id(p) if isinstance(p, int) else SENTENCEPIECE.piece_to_id(p) for p in pushed]
    assert [stream.push(i) for i in ids] == expected
    assert stream.flush() == ""


def test_half_a_character_at_the_end():
    stream = TOKENIZER.stream()
    assert [stream.push(byte_id(b)) for b in "😀".encode()[:3]] == [""] * 3
    assert stream.flush() == "\ufffd" * 3
    assert stream.flush() == ""


def test_special_ids_are_left_out_or_written():
    ids = [TOKENIZER.bos_id, *TOKENIZER.encode("was", add_bos=False), TOKENIZER.eos_id, TOKENIZER.unk_id]
    assert TOKENIZER.decode(ids) == "was"
    assert TOKENIZER.decode(ids, skip_special=False) == "<s> was</s><unk>"


def test_numpy_ids():
    ids = np.array(TOKENIZER.encode("his glass"), np.int32)
    assert TOKENIZER.decode(ids) == "his glass"
    assert TOKENIZER.is_special(ids[0])


# --- wrong arguments


@pytest.mark.parametrize("text", [b"was", None, 3, ["was"]])
def test_what_is_not_text_is_refused(text):
    with pytest.raises(TypeError, match=r"^text: expected str, found "):
        TOKENIZER.encode(text)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match=r"lone surrogate U\+D800 at position 1"):
        TOKENIZER.encode("a\ud800")


def test_negative_ids_are_refused():
    stream = TOKENIZER.stream()
    for function in (TOKENIZER.id_to_piece, TOKENIZER.is_special, TOKENIZER.is_byte, stream.push):
        with pytest.raises(ValueError, match=r"^token id: expected at least 0, found -1$"):
            function(-1)
    with pytest.raises(ValueError, match=r"^token id: "):
        TOKENIZER.decode([1, -200])


# --- files


def train(sentences=("was this his class", "she sees the sea") * 20, **changes):
    """Train a tokenizer on a few words: Llama's settings, with changes."""
    settings = {
        "model_type": "bpe",
        "vocab_size": 280,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    } | changes
    model = io.BytesIO()
    words = iter(sentences)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=words, model_writer=model, **settings)
    return model.getvalue()


@pytest.fixture(scope="session")
def llama_like():
    return train()


def test_a_trained_model_is_accepted(llama_like):
    tokenizer = Tokenizer(llama_like)
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert tokenizer.decode(tokenizer.encode("this was she")) == "this was she"
    assert repr(tokenizer) == f"<Tokenizer: {tokenizer.vocab_size} pieces>"


def test_pieces_of_several_spaces():
    """Llama's has them, the golden one has not: one space is the dummy prefix, the others are text."""
    indented = ["   was", "was    this", "        his", "  she   sees"] * 20
    tokenizer = Tokenizer(train(indented, allow_whitespace_only_pieces=True, vocab_size=290))
    for spaces in range(1, 12):
        text = " " * spaces + "was" + " " * spaces
        ids = tokenizer.encode(text, add_bos=False)
        assert set(tokenizer.id_to_piece(ids[0])) == {"\u2581"}
        assert tokenizer.decode(ids) == text
        stream = tokenizer.stream(continuation=True)
        assert "".join(map(stream.push, ids)) == " " + text
    four = next(i for i in range(tokenizer.vocab_size) if tokenizer.id_to_piece(i) == "\u2581" * 4)
    assert tokenizer.decode([four]) == " " * 3
    assert tokenizer.decode([tokenizer.bos_id, four, four]) == " " * 7
    assert tokenizer.stream(continuation=True).push(four) == " " * 4


def test_other_control_pieces_are_special_too():
    tokenizer = Tokenizer(train(control_symbols=["<s>s", "[INST]"], vocab_size=282))
    ids = tokenizer.encode("<s>s[INST]was", allow_special=True)
    assert [tokenizer.id_to_piece(i) for i in ids[:3]] == ["<s>", "<s>s", "[INST]"]
    assert tokenizer.decode(ids) == "was"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"byte_fallback": False, "vocab_size": 40}, "no piece for each byte"),
        ({"normalization_rule_name": "nmt_nfkc"}, "text is changed"),
        ({"remove_extra_whitespaces": True}, "text is changed"),
        ({"add_dummy_prefix": False}, "text is changed"),
        ({"bos_id": -1}, "no piece <s>"),
        ({"eos_id": -1}, "no piece </s>"),
        ({"unk_piece": "<what>"}, "no piece <unk>"),
        ({"model_type": "word", "vocab_size": 267}, "spaces have no pieces"),
    ],
)
def test_other_conventions_are_refused(changes, complaint):
    with pytest.raises(CheckpointError, match=f"^not a Llama tokenizer: {complaint}"):
        Tokenizer(train(**changes))


def test_a_folder_without_tokenizer(tmp_path):
    assert Tokenizer.from_folder(tmp_path) is None


@pytest.mark.parametrize("cut", [0, 1, 2, 100, -1])
def test_a_truncated_file_is_refused(cut, llama_like, tmp_path, capfd):
    (tmp_path / "tokenizer.model").write_bytes(llama_like[:cut])
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: not a "):
        Tokenizer.from_folder(str(tmp_path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content", [b"garbage" * 99, b"\x00" * 999, b"\x0a\x00", b"\xff" * 64, b'{"version": 1}']
)
def test_garbage_is_refused(content, tmp_path, capfd):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: not a SentencePiece model"):
        Tokenizer.from_folder(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_damaged_files_are_refused_or_work(llama_like, capfd):
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = np.frombuffer(llama_like, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=rng.integers(1, 8))] = rng.integers(256)
        try:
            tokenizer = Tokenizer(damaged.tobytes())
        except CheckpointError:
            refused += 1
        else:
            tokenizer.decode(range(tokenizer.vocab_size))
            tokenizer.encode("was <s> this\n", allow_special=True)
    assert 0 < refused < 300
    assert capfd.readouterr() == ("", "")


def test_a_piece_that_is_not_utf8_is_refused(llama_like):
    assert llama_like.count(b"<0x41>") == 1
    with pytest.raises(CheckpointError, match="damaged"):
        Tokenizer(llama_like.replace(b"<0x41>", b"<0x\xff1>"))


def test_a_huge_file_is_refused_unread(llama_like, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").write_bytes(llama_like)
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", len(llama_like))
    assert Tokenizer.from_folder(tmp_path) is not None
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", len(llama_like) - 1)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: larger than "):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer_config.json"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_refused(name, make, llama_like, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(llama_like)
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(CheckpointError, match=name):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("config", "begins", "ends"),
    [
        ("{}", True, False),
        ('{"add_bos_token": false}', False, False),
        ('{"add_eos_token": true, "legacy": true, "bos_token": {"content": "<s>"}}', True, True),
        ('{"add_bos_token": null, "add_eos_token": null}', True, False),
    ],
)
def test_config_says_what_is_added(config, begins, ends, llama_like, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(llama_like)
    (tmp_path / "tokenizer_config.json").write_text(config)
    tokenizer = Tokenizer.from_folder(tmp_path)
    ids = tokenizer.encode("was")
    assert (ids[0] == tokenizer.bos_id, ids[-1] == tokenizer.eos_id) == (begins, ends)
    assert tokenizer.encode("was", add_bos=True)[0] == tokenizer.bos_id
    assert tokenizer.encode("was", add_bos=False)[0] != tokenizer.bos_id


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('{"add_bos_token": 1}', "add_bos_token: expected true or false, found 1"),
        ('{"add_eos_token": "no"}', "add_eos_token: expected true or false, found 'no'"),
        ('{"add_bos_token": true, "add_bos_token": false}', "stands twice"),
        ("[]", "expected a JSON object"),
        ("\xff", "not valid JSON"),
    ],
)
def test_a_bad_config_is_refused(config, complaint, llama_like, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(llama_like)
    (tmp_path / "tokenizer_config.json").write_text(config, encoding="latin-1")
    with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json: .*{complaint}"):
        Tokenizer.from_folder(tmp_path)


# --- tokens beyond the pieces


def flags(content, special=False, strips=False):
    return {"content": content, "special": special, "lstrip": strips, "rstrip": strips, "normalized": True}


# As transformers 4.57.6 saves a tokenizer with these tokens; the demo model's has 2,048 pieces.
DECODER = {
    "0": flags("<unk>", True),
    "2": flags("</s>"),
    "2048": flags("<|im_start|>", True),
    "2049": flags("<|im_end|>", True),
    "2050": flags("<tool>"),
    "2051": flags("  x "),
    "2052": flags("[SEP2]", strips=True),
}
ADDED = {entry["content"]: int(token) for token, entry in DECODER.items() if int(token) > 2047}


@pytest.fixture
def folder(tmp_path):
    shutil.copy(DEMO_FOLDER / "tokenizer.model", tmp_path)
    return tmp_path


def with_files(folder, **files):
    for name, values in files.items():
        (folder / f"{name}.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return Tokenizer.from_folder(folder)


@pytest.mark.parametrize("legacy_file", [False, True])
def test_added_tokens_are_cut_out_as_transformers_does(folder, legacy_file):
    """The ids are those that LlamaTokenizerFast of transformers 4.57.6 gives for the same files."""
    tokenizer = with_files(
        folder,
        tokenizer_config={"added_tokens_decoder": DECODER},
        **({"added_tokens": ADDED} if legacy_file else {}),
    )
    assert tokenizer.vocab_size == 2048
    for text, ids, decoded in (
        ("a <tool> b", [1, 261, 1953, 2050, 268], "a <tool> b"),
        ("a<tool>b", [1, 261, 2050, 1975], "a<tool>b"),
        ("x [SEP2] y", [1, 1953, 1990, 2052, 1967], "x[SEP2]y"),
        ("<|im_start|>user\nhi<|im_end|>", [1, 2048, 1966, 1963, 269, 13, 1959, 1960, 2049], "user\nhi"),
        ("a  x b", [1, 261, 2051, 1975], "a  x b"),
        ("</s> a", [1, 2, 261], "a"),
    ):
        assert tokenizer.encode(text, allow_special=True) == ids
        assert tokenizer.decode(ids) == decoded
    ids = tokenizer.encode("<|im_start|>a<tool>")
    assert 2048 not in ids
    assert ids[-1] == 2050
    assert tokenizer.decode(ids) == "<|im_start|>a<tool>"
    assert tokenizer.decode([2048, 261, 2049, 2], skip_special=False) == "<|im_start|> a<|im_end|></s>"


def test_ids_of_a_padded_embedding_are_nothing(folder):
    tokenizer = with_files(folder, added_tokens={"<|im_end|>": 2048})
    assert tokenizer.decode([1, 261, 2050, 10**9, 261]) == "a a"
    assert tokenizer.decode([2050], skip_special=False) == ""
    for token, piece, special in ((2048, "<|im_end|>", False), (2050, "", True), (10**9, "", True)):
        assert (tokenizer.id_to_piece(token), tokenizer.is_special(token)) == (piece, special)
        assert not tokenizer.is_byte(token)


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        ({}, "<|im_end|>"),
        ({"special_tokens_map": {"eos_token": "<|im_end|>"}}, ""),
        ({"special_tokens_map": {"eos_token": {"content": "<|im_end|>", "lstrip": False}}}, ""),
        ({"special_tokens_map": {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}}, ""),
        ({"special_tokens_map": {"additional_special_tokens": [{"content": "<|im_end|>"}]}}, ""),
        ({"tokenizer_config": {"pad_token": "<|im_end|>", "bos_token": None}}, ""),
        ({"tokenizer_config": {"extra_special_tokens": {"end_token": "<|im_end|>"}}}, ""),
        ({"tokenizer_config": {"added_tokens_decoder": {"2048": {"content": "<|im_end|>"}}}}, "<|im_end|>"),
        ({"tokenizer_config": {"added_tokens_decoder": {"2048": flags("<|im_end|>", True)}}}, ""),
    ],
)
def test_who_says_that_an_added_token_is_special(folder, files, shown):
    tokenizer = with_files(folder, added_tokens={"<|im_end|>": 2048}, **files)
    assert tokenizer.decode([261, 2048]) == "a" + shown
    # Text from outside becomes the token only where a file says that it is not special.
    assert 2048 not in tokenizer.encode("<|im_end|>")
    assert tokenizer.encode("<|im_end|>", add_bos=False, allow_special=True) == [2048]


def test_a_renamed_piece_has_its_new_text(folder):
    token = byte_id(0x41)
    entries = {"5": flags("<|im_start|>", True), str(token): flags("<0x42>"), "2": flags("<|end|>", True)}
    tokenizer = with_files(folder, tokenizer_config={"added_tokens_decoder": entries})
    ids = tokenizer.encode("<|im_start|>a</s><|end|>", add_bos=False, allow_special=True)
    assert (ids[0], ids[-1], ids.count(2)) == (5, 2, 1)
    assert tokenizer.decode(ids, skip_special=False) == "<|im_start|>a</s><|end|>"
    assert tokenizer.is_special(5)
    assert tokenizer.decode([token]) == "<0x42>"
    assert not tokenizer.is_byte(token)


def test_tokens_that_the_model_does_not_have_are_left_out(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": DECODER}))
    tokenizer = Tokenizer.from_folder(folder, 2050)
    assert max(tokenizer.encode("<|im_end|> <tool>", allow_special=True)) == 2049
    assert tokenizer.decode([2050]) == ""


def test_half_a_character_before_an_added_token(folder):
    tokenizer = with_files(folder, tokenizer_config={"added_tokens_decoder": DECODER})
    first = tokenizer.encode("\U0001f600", add_bos=False)[-4]
    for token, shown in ((2049, "\ufffd"), (2050, "\ufffd<tool>"), (3000, "\ufffd")):
        stream = tokenizer.stream(continuation=True)
        assert [stream.push(first), stream.push(token), stream.flush()] == ["", shown, ""]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"added_tokens": "[]"}, r"added_tokens\.json: expected a JSON object"),
        ({"added_tokens": {"<a>": "2048"}}, r"added_tokens\.json: '<a>': expected a token id, found '2048'"),
        ({"added_tokens": {"<a>": -1}}, r"added_tokens\.json: '<a>': expected a token id, found -1"),
        ({"added_tokens": {"<a>": True}}, r"added_tokens\.json: '<a>': expected a token id, found True"),
        ({"added_tokens": {"<a>": 10**9}}, r"added_tokens\.json: '<a>': expected a token id"),
        ({"added_tokens": '{"\\ud800": 2048}'}, r"added_tokens\.json: .*expected the token's text"),
        ({"added_tokens": {"<a>": 2048, "<b>": 2048}}, r"token 2048 is '<b>' here and '<a>'"),
        (
            {"added_tokens": {"<a>": 2048}, "special_tokens_map": "{"},
            r"special_tokens_map\.json: not valid JSON",
        ),
        ({"tokenizer_config": {"added_tokens_decoder": []}}, "added_tokens_decoder: expected an object"),
        ({"tokenizer_config": {"added_tokens_decoder": {"a": {}}}}, "'a': expected a token id"),
        ({"tokenizer_config": {"added_tokens_decoder": {"1": "a"}}}, "'1': expected an object, found 'a'"),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"1": {}}}},
            "'1': expected the token's text, found None",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"1": {"content": "a", "special": "yes"}}}},
            "'1': expected true or false",
        ),
        (
            {
                "tokenizer_config": {"added_tokens_decoder": {"2048": {"content": "<b>"}}},
                "added_tokens": {"<a>": 2048},
            },
            r"added_tokens\.json: '<a>': token 2048 is '<a>' here and '<b>' in .*tokenizer_config\.json",
        ),
        ({"tokenizer_config": "version https://git-lfs.github.com/spec/v1"}, "git-lfs pointer"),
    ],
)
def test_bad_added_tokens_are_refused(folder, files, complaint):
    with pytest.raises(CheckpointError, match=complaint) as caught:
        with_files(folder, **files)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_pointer_in_the_place_of_the_model(folder):
    (folder / "tokenizer.model").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:9e\nsize 9\n"
    )
    with pytest.raises(CheckpointError, match=r"tokenizer\.model: .*git lfs pull"):
        Tokenizer.from_folder(folder)


def test_thousands_of_added_tokens_cost_little(folder):
    tokenizer = with_files(folder, added_tokens={f"<|audio_{n}|>": 2048 + n for n in range(30_000)})
    text = "<|audio_1|><|audio_29999|> and then <" * 200
    ids = tokenizer.encode(text, add_bos=False, allow_special=True)
    assert (ids[0], ids[1], ids.count(2048 + 29_999)) == (2049, 2048 + 29_999, 200)
    assert tokenizer.decode(ids) == text
