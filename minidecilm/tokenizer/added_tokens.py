"""Tokens that a fine-tune added beside tokenizer.model, or whose piece it renamed.

They stand in added_tokens.json ({text: id}) and in tokenizer_config.json (``added_tokens_decoder``). The ids
of a model may go beyond both: an embedding is padded to a round number.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minidecilm.errors import CheckpointError
from minidecilm.files import brief, read_object, require_file

_MAX_FILE_BYTES = 4 << 20  # chat templates, which are not read, can be long
_MAX_ID = 1 << 24

#: Files that are read for a tokenizer, beside tokenizer.model.
CONFIG_NAME = "tokenizer_config.json"
ADDED_NAME = "added_tokens.json"
SPECIAL_NAME = "special_tokens_map.json"


class AddedToken(NamedTuple):
    """A token that the files beside tokenizer.model name.

    Attributes
    ----------
    text : str
    special : bool or None
        Whether it stands for no text, as an end of turn; None where no file says.
    strips_left, strips_right : bool
        Whether it takes the white space before it, or after it, with it.
    """

    text: str
    special: bool | None = None
    strips_left: bool = False
    strips_right: bool = False


def read_optional(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that may be absent; anything else is a CheckpointError."""
    if not path.exists():
        return {}
    require_file(path)
    return read_object(path, _MAX_FILE_BYTES, CheckpointError)


def read_added_tokens(folder: Path, config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """Read the added tokens of a checkpoint folder, by id; `config` is its tokenizer_config.json.

    An entry that is none, or a second text for one id, is a CheckpointError.
    """
    place = f"{folder / CONFIG_NAME}: added_tokens_decoder"
    entries = config.get("added_tokens_decoder")
    entries = {} if entries is None else entries
    _check(isinstance(entries, dict), place, "an object", entries)
    found: dict[int, AddedToken] = {}
    for key, entry in entries.items():
        where = f"{place}: {brief(key)}"
        _check(re.fullmatch("[0-9]{1,8}", key) and int(key) < _MAX_ID, where, "a token id", key)
        _check(isinstance(entry, dict), where, "an object", entry)
        flags = [entry.get(name) for name in ("special", "lstrip", "rstrip")]
        _check(all(flag in (True, False, None) for flag in flags), where, "true or false", entry)
        text = _checked_text(entry.get("content"), where)
        _add(found, int(key), AddedToken(text, flags[0], bool(flags[1]), bool(flags[2])), where, place)
    added = read_optional(folder / ADDED_NAME)
    special = _special_texts(config) | _special_texts(read_optional(folder / SPECIAL_NAME) if added else {})
    for text, token in added.items():
        where = f"{folder / ADDED_NAME}: {brief(text)}"
        _check(type(token) is int and 0 <= token < _MAX_ID, where, "a token id", token)
        _add(found, token, AddedToken(_checked_text(text, where)), where, place)
    return {
        token: entry._replace(special=True) if entry.special is None and entry.text in special else entry
        for token, entry in found.items()
    }


def _check(ok: Any, where: str, expected: str, found: Any) -> None:
    if not ok:
        raise CheckpointError(f"{where}: expected {expected}, found {brief(found)}")


def _checked_text(text: Any, where: str) -> str:
    """Refuse what could not be written out: JSON can spell half of a surrogate pair."""
    ok = isinstance(text, str) and text.encode(errors="replace").decode() == text
    _check(ok, where, "the token's text", text)
    return str(text)


def _add(found: dict[int, AddedToken], token: int, entry: AddedToken, where: str, place: str) -> None:
    known = found.setdefault(token, entry)
    if known.text != entry.text:
        raise CheckpointError(
            f"{where}: token {token} is {brief(entry.text)} here and {brief(known.text)} in {place}; "
            "keep the one that the model was trained with"
        )


def _special_texts(values: Mapping[str, Any]) -> set[str]:
    """Texts that a file names as special: each is a string, or an object with its ``content``."""
    named = [value for key, value in values.items() if key.endswith("_token")]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = values.get(key)
        named += more if isinstance(more, list) else more.values() if isinstance(more, dict) else []
    texts = [value.get("content") if isinstance(value, dict) else value for value in named]
    return {text for text in texts if isinstance(text, str)}


class TokenFinder:
    """Cuts a text at the tokens it spells: at the first that begins, and there at the longest.

    Parameters
    ----------
    tokens : mapping of int to AddedToken
        By id; of two with one text, the first counts.
    """

    def __init__(self, tokens: Mapping[int, AddedToken]) -> None:
        self._tokens: dict[str, tuple[int, AddedToken]] = {}
        lengths: dict[str, set[int]] = {}
        for token, entry in tokens.items():
            if entry.text:
                self._tokens.setdefault(entry.text, (token, entry))
                lengths.setdefault(entry.text[0], set()).add(len(entry.text))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        self._first = re.compile(f"[{re.escape(''.join(lengths))}]" if lengths else "(?!)")

    def cut(self, text: str) -> Iterator[str | int]:
        """Yield text, id, text, id and so on, and at last text; texts may be empty."""
        start = 0
        for match in self._first.finditer(text):
            at = match.start()
            names = (text[at : at + length] for length in self._lengths[match[0]])
            name = next((name for name in names if name in self._tokens), None)
            if at < start or name is None:
                continue
            token, entry = self._tokens[name]
            yield text[start:at].rstrip() if entry.strips_left else text[start:at]
            yield token
            start = at + len(name)
            while entry.strips_right and text[start : start + 1].isspace():
                start += 1
        yield text[start:]
