"""Text level: load a model, generate, stream."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np

from minidecilm.backends import Backend, create_backend
from minidecilm.backends.beside import beside
from minidecilm.cache import KVCache
from minidecilm.catalog import find_folder
from minidecilm.config import Config
from minidecilm.errors import CheckpointError, Interrupted
from minidecilm.files import hub_name
from minidecilm.generation import generation_steps
from minidecilm.model import DeciLM
from minidecilm.progress import progress_bar
from minidecilm.sampling import Keywords, Options
from minidecilm.tokenizer import TextStream, Tokenizer
from minidecilm.weights.adapted import AdaptedWeight, with_adapter
from minidecilm.weights.checkpoint import Checkpoint, open_checkpoint
from minidecilm.weights.quantize import quantize_weights
from minidecilm.weights.scheme import BITS, Scheme, check_weights

Stop = str | Sequence[str] | None

#: What the instruction-tuned models were trained to read. Sources: the demo apps of the Hugging Face spaces
#: Deci/DeciLM-6b-instruct (an Alpaca prompt, without system prompt) and Deci/DeciLM-7B-instruct.
#:
#: :meta hide-value:
PROMPT_TEMPLATES = {
    "decilm-6b-instruct": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\n\n{instruction}\n\n### Response:\n"
    ),
    "decilm-7b-instruct": (
        "### System:\nYou are an AI assistant that follows instruction extremely well. "
        "Help as much as you can.\n### User:\n{instruction}\n### Assistant:\n"
    ),
}


class LanguageModel:
    """A network with its tokenizer: text in, text out. Made by :func:`load`.

    Attributes
    ----------
    config : Config
    model : DeciLM
        The network: ids in, logits out.
    tokenizer : Tokenizer or None
        None if the checkpoint folder has no tokenizer.model.
    backend : Backend
    checkpoint : Checkpoint
        The memory-mapped files.
    """

    def __init__(self, model: DeciLM, tokenizer: Tokenizer | None, checkpoint: Checkpoint) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.checkpoint = checkpoint

    @property
    def config(self) -> Config:
        """Sizes of the network."""
        return self.model.config

    @property
    def backend(self) -> Backend:
        """What computes the operations."""
        return self.model.backend

    def __repr__(self) -> str:
        model, folder = self.model, self.checkpoint.folder.absolute()
        return (
            f"<LanguageModel {hub_name(folder) or folder.name}: {self.config.num_parameters:,} parameters, "
            f"backend={self.backend.name}, dtype={model.multiplies_in}, rope={model.rope_policy}>"
        )

    @overload
    def generate(  # type: ignore[overload-overlap]  # a str is a sequence of str too
        self,
        prompt: str,
        *,
        stop: Stop = ...,
        template: str | None = ...,
        **options: Unpack[Keywords],
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: Sequence[str],
        *,
        stop: Stop = ...,
        template: str | None = ...,
        **options: Unpack[Keywords],
    ) -> list[str]: ...

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        stop: Stop = None,
        template: str | None = None,
        **options: Unpack[Keywords],
    ) -> str | list[str]:
        """Continue one text, or a batch of texts of any lengths.

        Parameters
        ----------
        prompt : str or sequence of str
        stop : str or sequence of str, optional
            Generation ends before the first of these.
        template : str, optional
            Wraps each prompt for an instruction-tuned model: a name from :data:`PROMPT_TEMPLATES`.
        **options
            Sampling, lengths, seed, trace: see :class:`minidecilm.sampling.Options`.

        Returns
        -------
        str, or list of str for a batch
            The new text only, as it follows the prompt.

        Raises
        ------
        Interrupted
            After Ctrl-C, a KeyboardInterrupt; its ``generated`` is the text, or list of texts, so far.
        ValueError
            For an empty or too long prompt, or an impossible argument.
        CheckpointError
            If the model has no tokenizer.

        Examples
        --------
        >>> import minidecilm
        >>> lm = minidecilm.load("demo")
        >>> text = lm.generate("Once upon a time", max_new_tokens=8, temperature=0)
        """
        batch = [prompt] if isinstance(prompt, str) else list(prompt)
        ids, rows = self._start(batch, stop, template, options.get("cache"))

        def result() -> str | list[str]:
            texts = [row.finish() for row in rows]
            return texts[0] if isinstance(prompt, str) else texts

        def on_token(row: int, token: int, ends: bool) -> bool:
            return ends or rows[row].push(token)

        try:
            for _ in generation_steps(self.model, ids, on_token, Options(**options)):
                pass
        except KeyboardInterrupt:
            raise Interrupted(result()) from None
        return result()

    def stream(
        self, prompt: str, *, stop: Stop = None, template: str | None = None, **options: Unpack[Keywords]
    ) -> Iterator[str]:
        """Yield the text of :meth:`generate` in pieces, as soon as each is certain.

        A piece never ends inside a character or inside what may become a stop string. After Ctrl-C, the
        ``generated`` of the Interrupted that is raised is the whole text so far.

        Examples
        --------
        >>> import minidecilm
        >>> lm = minidecilm.load("demo")
        >>> pieces = list(lm.stream("Once upon a time", max_new_tokens=8, temperature=0))
        >>> "".join(pieces) == lm.generate("Once upon a time", max_new_tokens=8, temperature=0)
        True
        """
        ids, [row] = self._start([prompt], stop, template, options.get("cache"))
        shown = 0

        def on_token(_: int, token: int, ends: bool) -> bool:
            return ends or row.push(token)

        try:
            for _ in generation_steps(self.model, ids, on_token, Options(**options), shown=True):
                if len(row.text) > shown:
                    yield row.text[shown:]
                    shown = len(row.text)
        except KeyboardInterrupt:
            raise Interrupted(row.finish()) from None
        rest = row.finish()[shown:]
        if rest:
            yield rest

    def require_tokenizer(self) -> Tokenizer:
        """Return the tokenizer, or raise a CheckpointError that says which file is missing."""
        if self.tokenizer is None:
            raise CheckpointError(
                f"{self.checkpoint.folder}: tokenizer.model is missing, so this model reads token ids only; "
                "copy the file there, or give token ids"
            )
        return self.tokenizer

    def _start(
        self, prompts: list[str], stop: Stop, template: str | None, cache: KVCache | None
    ) -> tuple[list[list[int]], list["_RowText"]]:
        """Encode the prompts and make one text collector per row."""
        tokenizer = self.require_tokenizer()
        if not prompts:
            raise ValueError("the batch of prompts is empty")
        for index, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise TypeError(f"prompt {index}: expected text, found {type(prompt).__name__}")
            if not prompt:
                raise ValueError("the prompt is empty: give at least one character to continue")
        stops = [stop] if isinstance(stop, str) else list(stop or ())
        if not all(stops):
            raise ValueError("stop: an empty string would end every text at once")
        follows = cache is not None and cache.length > 0
        texts = [apply_template(prompt, template) for prompt in prompts]
        ids = [tokenizer.encode(text, continuation=follows) for text in texts]
        return ids, [_RowText(tokenizer.stream(continuation=True), stops) for _ in prompts]


class _RowText:
    """Collects the text of one row, and holds back what may become a stop string."""

    def __init__(self, decoder: TextStream, stops: Sequence[str]) -> None:
        self._decoder = decoder
        self._stops = stops
        self._held = ""
        self._stopped = False
        self.text = ""  # certain: will not change

    def push(self, token: int) -> bool:
        """Add a token; return whether a stop string was met."""
        return self._add(self._decoder.push(token))

    def finish(self) -> str:
        """Return the whole text, now that nothing follows."""
        self._add(self._decoder.flush())
        if not self._stopped:
            self.text, self._held = self.text + self._held, ""
        return self.text

    def _add(self, new: str) -> bool:
        if self._stopped:
            return True
        self._held += new
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        self._stopped = bool(found)
        certain = min(found) if found else len(self._held) - self._undecided()
        self.text, self._held = self.text + self._held[:certain], self._held[certain:]
        return self._stopped

    def _undecided(self) -> int:
        """Length of the longest ending of the held text with which a stop string begins."""
        longest = max(map(len, self._stops), default=1) - 1
        endings = (self._held[-length:] for length in range(min(longest, len(self._held)), 0, -1))
        return next((len(end) for end in endings if any(stop.startswith(end) for stop in self._stops)), 0)


def apply_template(instruction: str, template: str | None) -> str:
    r"""Wrap an instruction in the prompt template of that name; None leaves it as it is.

    Examples
    --------
    >>> apply_template("Name a fruit.", "decilm-7b-instruct")[-39:]
    '### User:\nName a fruit.\n### Assistant:\n'
    """
    if template is None:
        return instruction
    try:
        text = PROMPT_TEMPLATES[template.lower()]
    except KeyError:
        raise ValueError(f"no template {template!r}: choose from {', '.join(PROMPT_TEMPLATES)}") from None
    return text.replace("{instruction}", instruction)


def load(
    model: str | Path = "demo",
    *,
    backend: str = "auto",
    weights: str = "stored",
    dtype: str = "float32",
    rope: str = "reference",
    kv_cache: str = "compute",
    adapter: str | Path | None = None,
    ignore_config_keys: Iterable[str] = (),
    progress: bool | None = None,
) -> LanguageModel:
    """Open a model. Weights are memory-mapped: opening takes no time and no memory, whatever the size.

    Parameters
    ----------
    model : str or Path
        "demo", the small trained model in the package; a folder in Hugging Face layout; or a hub id such as
        "Deci/DeciLM-6b" (needs the extra ``hub``).
    backend : {"auto", "numpy", "numba", "cupy"}
        "auto" takes Numba for models large enough that compiling pays, and NumPy else. "cupy" computes on an
        NVIDIA GPU (extra ``cuda12`` or ``cuda13``).
    weights : {"stored", "float64", "float32", "bfloat16", "int8", "int4"}
        Storage dtype in memory. "stored" maps the file as it is; the others convert, which reads all of it.
        int8 and int4 share a scale among 64 columns; for other groups, and to do it once, see
        :func:`minidecilm.weights.quantize.quantize_checkpoint`.
    dtype : {"float32", "float64", "bfloat16"}
        Compute and accumulate dtype; the backends say which they have. "bfloat16" rounds activations before
        they are multiplied with float weights, and accumulates in float32.
    rope : {"reference", "fixed", "exact"}
        When cached keys are rotated: see :mod:`minidecilm.rope`.
    kv_cache : {"compute", "float32", "bfloat16"}
        What keys and values are cached as; "compute" is `dtype`. bfloat16 takes half the memory of float32.
    adapter : str or Path, optional
        A LoRA adapter of this model that PEFT saved: a folder, or a hub id. Weights "stored" stay as they
        are, and a product with one that is changed takes two small ones more; any other `weights` merges the
        adapter while it converts. See :mod:`minidecilm.weights.adapters`.
    ignore_config_keys : iterable of str
        Keys of config.json and generation_config.json to pass over, as if they were not there, because you
        know that they do not change the network. A str is one key.
    progress : bool, optional
        Show a bar while weights are converted; default: where stderr is a terminal and it takes long.

    Returns
    -------
    LanguageModel

    Raises
    ------
    ConfigError, CheckpointError
        If a file is not what it should be.
    OSError
        If a file cannot be read or fetched.
    ValueError
        For an unknown backend, weights, dtype, rope or kv_cache.

    Examples
    --------
    >>> import minidecilm
    >>> lm = minidecilm.load("demo")
    >>> lm.config.num_key_value_heads_per_layer
    (4, 2, 2, 1, 1, 1, 4, 4)
    """
    check_weights(weights)
    checkpoint = open_checkpoint(find_folder(model), ignore_config_keys=ignore_config_keys)
    folder = None if adapter is None else find_folder(adapter)
    config, tensors = with_adapter(checkpoint.config, checkpoint.tensors, folder)
    chosen = create_backend(backend, checkpoint.config.num_parameters, dtype)
    tokenizer = Tokenizer.from_folder(checkpoint.folder, checkpoint.config.vocab_size)
    if tokenizer is not None and tokenizer.vocab_size > checkpoint.config.vocab_size:
        raise CheckpointError(
            f"{checkpoint.folder}: tokenizer.model has {tokenizer.vocab_size} pieces, config.json says "
            f"vocab_size = {checkpoint.config.vocab_size}: they do not belong together"
        )
    if weights not in ("stored", checkpoint.scheme and checkpoint.scheme.weights):
        tensors = _convert(checkpoint, tensors, weights, progress)
    elif adapter is not None:
        chosen = beside(chosen)
        _lay_beside(tensors, "float32" if dtype == "bfloat16" else dtype, progress)
    checkpoint.check_unchanged(mapped=True)
    network = DeciLM(config, tensors, chosen, dtype, rope, kv_cache)
    # To read where a mapped file was cut off ends the process.
    network.check_files = partial(checkpoint.check_unchanged, mapped=True)
    return LanguageModel(network, tokenizer, checkpoint)


def _convert(
    checkpoint: Checkpoint, tensors: Mapping[str, Any], weights: str, progress: bool | None
) -> dict[str, Any]:
    """Weights in the storage dtype that was asked for; those of a packed checkpoint only widen."""
    if weights in BITS:
        checkpoint.float_tensors()  # refuses those of a packed checkpoint
        return quantize_weights(tensors, Scheme(weights), progress)
    dtype = np.dtype(weights)
    converted: dict[str, Any] = {}
    with progress_bar(len(tensors), f"converting to {weights}", "tensor", progress) as bar:
        for name, tensor in tensors.items():
            converted[name] = tensor.astype(dtype)
            bar.update(1)
    return converted


def _lay_beside(tensors: Mapping[str, Any], dtype: str, progress: bool | None) -> None:
    """Make ready what an adapter adds to products; for DoRA that reads all the matrices it changes."""
    changed = [tensor for tensor in tensors.values() if isinstance(tensor, AdaptedWeight)]
    with progress_bar(len(changed), "laying the adapter beside", "matrix", progress) as bar:
        for tensor in changed:
            tensor.parts(dtype)
            bar.update(1)


def generate(
    prompt: str,
    *,
    model: str | Path | LanguageModel = "demo",
    stop: Stop = None,
    template: str | None = None,
    **options: Unpack[Keywords],
) -> str:
    """Continue a text in one line: :func:`load`, then :meth:`LanguageModel.generate`.

    Examples
    --------
    >>> import minidecilm
    >>> text = minidecilm.generate("Once upon a time", max_new_tokens=8, temperature=0)
    """
    lm = model if isinstance(model, LanguageModel) else load(model)
    return lm.generate(prompt, stop=stop, template=template, **options)


def stream(
    prompt: str,
    *,
    model: str | Path | LanguageModel = "demo",
    stop: Stop = None,
    template: str | None = None,
    **options: Unpack[Keywords],
) -> Iterator[str]:
    """Continue a text in pieces: :func:`load`, then :meth:`LanguageModel.stream`."""
    lm = model if isinstance(model, LanguageModel) else load(model)
    return lm.stream(prompt, stop=stop, template=template, **options)
