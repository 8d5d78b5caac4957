"""Text to token ids and back: SentencePiece with Llama's conventions. The only module that imports it."""

import codecs
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minidecilm.errors import CheckpointError
from minidecilm.files import brief, read_bounded, require_file
from minidecilm.tokenizer.added_tokens import (
    CONFIG_NAME,
    AddedToken,
    TokenFinder,
    read_added_tokens,
    read_optional,
)

MAX_MODEL_BYTES = 64 << 20

_SPACE = "\u2581"  # how pieces write a space
_BARRIER = "\U0010ffff"  # a noncharacter: texts do not hold it, so no trained piece does


def _replace_each_byte(error: Any) -> tuple[str, int]:
    """Decode each byte of an invalid sequence to U+FFFD, as SentencePiece does; "replace" makes one."""
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("minidecilm.replace_each_byte", _replace_each_byte)
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Tokenizer:
    r"""A Llama tokenizer: BPE pieces, a piece for each byte, nothing normalised.

    Text begins with one added space, the dummy prefix, so that a word has the same pieces wherever it stands;
    decoding a whole text drops it. Every text survives encoding and decoding, save that U+2581, which pieces
    use for the space, comes back as a space.

    Parameters
    ----------
    model : bytes
        What a tokenizer.model holds.
    add_bos, add_eos : bool
        Whether :meth:`encode` begins and ends a text with the special id.
    added : mapping of int to AddedToken
        Tokens beyond the pieces, and pieces with another text. Ids beyond both decode to nothing.

    Attributes
    ----------
    vocab_size : int
        The number of pieces; the model may have more ids.
    added : dict of int to AddedToken
        Those of `added` whose text is not that of their piece.
    bos_id, eos_id, unk_id : int
        Begin of text, end of text, unknown. With a piece for each byte, no text encodes to unknown.

    Raises
    ------
    CheckpointError
        If `model` is not a SentencePiece model, or not one with these conventions.

    Examples
    --------
    >>> import minidecilm
    >>> tokenizer = minidecilm.load("demo").tokenizer
    >>> ids = tokenizer.encode("Was it his?\nYes.")
    >>> ids[0] == tokenizer.bos_id, tokenizer.decode(ids)
    (True, 'Was it his?\nYes.')
    """

    def __init__(
        self,
        model: bytes,
        *,
        add_bos: bool = True,
        add_eos: bool = False,
        added: Mapping[int, AddedToken] | None = None,
    ) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model = SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(model)
            self._pieces = [str(self._model.id_to_piece(i)) for i in range(self._model.vocab_size())]
        except (RuntimeError, UnicodeDecodeError):
            raise CheckpointError("not a SentencePiece model, or damaged; download it again") from None
        self.add_bos = add_bos
        self.add_eos = add_eos
        self.vocab_size = len(self._pieces)
        self.unk_id: int = self._model.unk_id()
        self.bos_id: int = self._model.bos_id()
        self.eos_id: int = self._model.eos_id()
        control = {
            i for i in range(self.vocab_size) if self._model.is_control(i) or self._model.is_unknown(i)
        }
        self._bytes = {i for i in range(self.vocab_size) if self._model.is_byte(i)}
        self._refuse_other_conventions(control)
        # An entry that repeats its piece adds nothing: the piece stays what it is.
        self.added = {
            i: token for i, token in (added or {}).items() if self._pieces[i : i + 1] != [token.text]
        }
        special = {i: AddedToken(self._pieces[i], special=True) for i in sorted(control)} | {
            i: token._replace(special=True) if token.special is None and i in control else token
            for i, token in self.added.items()
        }
        self._special = {i for i, token in special.items() if token.special}
        self._bytes -= self.added.keys()
        # Text from outside spells no special token. What is known to be text is its token everywhere.
        self._found_in_text = TokenFinder({i: t for i, t in special.items() if t.special is False})
        self._found_where_allowed = TokenFinder(special)
        self._barrier_length = len(self._model.encode(_BARRIER))

    @classmethod
    def from_folder(cls, folder: str | Path, ids: int | None = None) -> "Tokenizer | None":
        """Read tokenizer.model of a checkpoint folder and, where they are, the files that add to it.

        Those are tokenizer_config.json, added_tokens.json and special_tokens_map.json.

        Parameters
        ----------
        folder : str or Path
        ids : int, optional
            Ids that the model has: added tokens beyond them are left out, since no text may become one.

        Returns
        -------
        Tokenizer or None
            None if the folder has no tokenizer.model.

        Raises
        ------
        CheckpointError
            If one of the files is not what its name says; the message begins with its path.
        OSError
            If one cannot be read.
        """
        path = Path(folder) / "tokenizer.model"
        if not path.exists():
            return None
        require_file(path)
        model = read_bounded(path, MAX_MODEL_BYTES, CheckpointError)
        config = read_optional(path.with_name(CONFIG_NAME))
        keys = ("add_bos", "add_eos")
        ends = {key: config[f"{key}_token"] for key in keys if config.get(f"{key}_token") is not None}
        for key, value in ends.items():
            if not isinstance(value, bool):
                where = f"{path.with_name(CONFIG_NAME)}: {key}_token"
                raise CheckpointError(f"{where}: expected true or false, found {brief(value)}")
        added = read_added_tokens(path.parent, config)
        if ids is not None:
            added = {token: entry for token, entry in added.items() if token < ids}
        try:
            return cls(model, **ends, added=added)
        except CheckpointError as problem:
            raise CheckpointError(f"{path}: {problem}") from None

    def __repr__(self) -> str:
        return f"<Tokenizer: {self.vocab_size:,} pieces>"

    def encode(
        self,
        text: str,
        *,
        add_bos: bool | None = None,
        allow_special: bool = False,
        continuation: bool = False,
    ) -> list[int]:
        """Turn text into token ids.

        Parameters
        ----------
        text : str
        add_bos : bool, optional
            Whether to begin with `bos_id`; default: as the tokenizer was made.
        allow_special : bool
            Whether "<s>", "</s>" and other special tokens in `text` become their ids; if not, as is right for
            text from outside, they are letters like all others. Added tokens of which the files say that they
            are not special become their ids in any case. Only the very beginning of `text` gets the dummy
            prefix, not what follows such a token (Hugging Face calls this ``legacy=False``).
        continuation : bool
            The ids follow others: no `bos_id` unless asked for, and no dummy prefix.

        Returns
        -------
        list of int

        Raises
        ------
        ValueError
            If `text` holds a lone surrogate, which UTF-8 cannot encode.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected str, found {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            found = f"U+{ord(text[problem.start]):04X} at position {problem.start}"
            raise ValueError(f"text: expected characters, found the lone surrogate {found}") from None
        if continuation:
            add_bos = bool(add_bos)
        ids = [self.bos_id] if (self.add_bos if add_bos is None else add_bos) else []
        finder = self._found_where_allowed if allow_special else self._found_in_text
        for number, part in enumerate(finder.cut(text)):
            if isinstance(part, int):
                ids.append(part)
            elif number == 0 and not continuation:
                ids += self._model.encode(part)
            elif part:
                # SentencePiece adds a dummy prefix to all it encodes: have it before a barrier, cut both off.
                ids += self._model.encode(_BARRIER + part)[self._barrier_length :]
        if self.add_eos:
            ids.append(self.eos_id)
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Turn token ids into text.

        Parameters
        ----------
        ids : iterable of int
        skip_special : bool
            Whether special ids are left out or written as their texts, such as "</s>".

        Returns
        -------
        str
            Bytes that are not UTF-8 become U+FFFD each. Ids without a piece and without a text, as an
            embedding of a round size has, are left out.

        Raises
        ------
        ValueError
            For a negative id.
        """
        stream = self.stream(skip_special=skip_special)
        return "".join(map(stream.push, ids)) + stream.flush()

    def stream(self, *, continuation: bool = False, skip_special: bool = True) -> "TextStream":
        """Begin decoding token by token.

        Parameters
        ----------
        continuation : bool
            The ids follow others: the space they may begin with is part of the text, not the dummy prefix.
        skip_special : bool
            As for :meth:`decode`.
        """
        return TextStream(self, continuation, skip_special)

    def id_to_piece(self, token: int) -> str:
        """Return the piece of an id as the model spells it, with U+2581 for a space and <0x0A> for a byte.

        Of an added token this is its text, and "" of an id that has none. A negative id is a ValueError.
        """
        if token < 0:
            raise ValueError(f"token id: expected at least 0, found {token}")
        if token in self.added:
            return self.added[token].text
        return self._pieces[token] if token < self.vocab_size else ""

    def score(self, token: int) -> float:
        """Return how early the model joins letters to this piece: the highest first. Of other ids, 0."""
        return float(self._model.get_score(token)) if 0 <= token < self.vocab_size else 0.0

    def is_special(self, token: int) -> bool:
        """Whether an id stands for no text: begin, end, unknown, another control token, or padding."""
        padding = self.id_to_piece(token) == "" and token not in self.added
        return padding or token in self._special

    def is_byte(self, token: int) -> bool:
        """Whether an id stands for one byte of UTF-8, which its piece spells in hexadecimal."""
        self.id_to_piece(token)  # refuses what is no id
        return token in self._bytes

    def _refuse_other_conventions(self, control: set[int]) -> None:
        kinds = {"<unk>": self.unk_id, "<s>": self.bos_id, "</s>": self.eos_id}
        wrong = [f"no piece {p}" for p, i in kinds.items() if i not in control or self._pieces[i] != p]
        if {self._pieces[i] for i in self._bytes} != {f"<0x{byte:02X}>" for byte in range(256)}:
            wrong.append("no piece for each byte")
        if self._model.Normalize("  \ufb01 ") != f"{_SPACE * 3}\ufb01{_SPACE}":
            wrong.append("text is changed beyond one space before it")
        pieces = [self._pieces[i] for i in self._model.encode("  \ufb01 ") if i not in self._bytes]
        # A model of words spells unknown ones in bytes, spaces included.
        if "".join(pieces).count(_SPACE) != 4:
            wrong.append("spaces have no pieces, so that they do not come back")
        if wrong:
            raise CheckpointError(f"not a Llama tokenizer: {', '.join(wrong)}")


class TextStream:
    """Decodes token by token and never emits half a character. Made by :meth:`Tokenizer.stream`.

    What :meth:`push` and at last :meth:`flush` return, put together, is what :meth:`Tokenizer.decode` returns
    for the same ids.

    Examples
    --------
    >>> import minidecilm
    >>> tokenizer = minidecilm.load("demo").tokenizer
    >>> stream = tokenizer.stream()
    >>> "".join(map(stream.push, tokenizer.encode("a sunny day"))) + stream.flush()
    'a sunny day'
    """

    def __init__(self, tokenizer: Tokenizer, continuation: bool, skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._at_start = not continuation
        self._skip_special = skip_special
        self._decoder = _Utf8Decoder("minidecilm.replace_each_byte")

    def push(self, token: int) -> str:
        """Add one id and return the text that is now certain, often empty inside a character."""
        piece, special = self._tokenizer.id_to_piece(token), self._tokenizer.is_special(token)
        if special or token in self._tokenizer.added:
            shown = "" if special and self._skip_special else piece
            self._at_start &= not shown
            return self.flush() + shown  # no character goes on across such a token
        if self._at_start:
            piece = piece.removeprefix(_SPACE)
            self._at_start = False
        is_byte = self._tokenizer.is_byte(token)
        return self._decoder.decode(
            bytes.fromhex(piece[3:5]) if is_byte else piece.replace(_SPACE, " ").encode()
        )

    def flush(self) -> str:
        """Return what is held back, now that nothing follows: U+FFFD for each byte of half a character."""
        return self._decoder.decode(b"", final=True)
