"""Which weights of a model are packed, and how: the ``quantization_config`` of config.json.

Every matrix that is multiplied is packed. On purpose not the rest: the embedding is looked up, one row a
token, so packing it would save no bandwidth; norm weights are few. The output head takes 8 bits in either
scheme: its error goes straight into the logits, and it is 2 % of the weights. A tied head is the embedding,
and stays as that is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minidecilm.errors import ConfigError
from minidecilm.files import brief
from minidecilm.weights.packed import BFLOAT16, CODE_DTYPES, GROUPS, packed_shapes
from minidecilm.weights.safetensors_file import DTYPES

BITS = {"int8": 8, "int4": 4}
#: What weights can be loaded as; "stored" is as the files have them.
WEIGHTS = ("stored", "float64", "float32", "bfloat16", *BITS)
HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"

_METHOD = "minidecilm"
_LAYOUT = "panel16"  # of packed.py; another layout will get another name
_FLOATS = tuple(DTYPES[name] for name in ("F64", "F32", "F16", "BF16"))


class StoredAs(NamedTuple):
    """A tensor in a file: its shape, and the dtypes it may have there."""

    shape: tuple[int, ...]
    dtypes: tuple[np.dtype[Any], ...]


@dataclass(frozen=True)
class Scheme:
    """How the weights of a model are packed; any other value is a ConfigError.

    Attributes
    ----------
    weights : {"int8", "int4"}
        Codes of the matrices.
    group : {32, 64, 128}
        Columns that share a scale.

    Examples
    --------
    >>> scheme = Scheme("int4", 64)
    >>> scheme.bits("model.layers.0.mlp.up_proj.weight", (11008, 4096)), scheme.bits("lm_head.weight", (9, 8))
    (4, 8)
    >>> scheme.bits("model.norm.weight", (4096,)) is None
    True
    """

    weights: str
    group: int = 64

    def __post_init__(self) -> None:
        _check("weights", self.weights, *BITS)
        _check("group", self.group, *GROUPS)

    def bits(self, name: str, shape: tuple[int, ...]) -> int | None:
        """Bits of a tensor's codes; None if it stays as stored."""
        if len(shape) != 2 or name == EMBEDDING:
            return None
        return 8 if name == HEAD else BITS[self.weights]

    def to_dict(self, tied: bool) -> dict[str, Any]:
        """Return the ``quantization_config`` of a model whose head is, or is not, its embedding."""
        return {
            "quant_method": _METHOD,
            "layout": _LAYOUT,
            "weights": self.weights,
            "group": self.group,
            "head": "stored" if tied else "int8",
        }

    @classmethod
    def from_dict(cls, values: Any, tied: bool) -> "Scheme":
        """Read what :meth:`to_dict` writes; a ConfigError names a missing, unknown or wrong key."""
        try:
            return cls._from_dict(values, tied)
        except ConfigError as problem:
            raise ConfigError(
                f"quantization_config: {problem}; quantise the original model with this version, or, "
                "where the weights are floats all the same, pass the key over (ignore_config_keys)"
            ) from None

    @classmethod
    def _from_dict(cls, values: Any, tied: bool) -> "Scheme":
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected an object, found {brief(values)}")
        # First, because it says why none of the other keys is known.
        _check("quant_method", values.get("quant_method"), _METHOD)
        expected = cls("int8").to_dict(tied)
        for key in (*expected, *values):
            if key not in values or key not in expected:
                raise ConfigError(f"{'missing' if key in expected else 'unknown'} key {brief(key)}")
        _check("layout", values["layout"], _LAYOUT)
        _check("head", values["head"], expected["head"])
        return cls(values["weights"], values["group"])


def tensors_in_files(shapes: Mapping[str, tuple[int, ...]], scheme: Scheme | None) -> dict[str, StoredAs]:
    """Return what the files of a checkpoint hold, given the shapes of the model's weights.

    Examples
    --------
    >>> head = {"lm_head.weight": (20, 100)}
    >>> {name: shape for name, (shape, _) in tensors_in_files(head, Scheme("int4")).items()}
    {'lm_head.weight.codes': (2, 26, 16, 4), 'lm_head.weight.scales': (2, 2, 16)}
    """
    stored: dict[str, StoredAs] = {}
    for name, shape in shapes.items():
        bits = scheme.bits(name, shape) if scheme else None
        if scheme is None or bits is None:
            stored[name] = StoredAs(shape, _FLOATS)
        else:
            codes, scales = packed_shapes(shape, bits, scheme.group)
            stored[f"{name}.codes"] = StoredAs(codes, (CODE_DTYPES[bits],))
            stored[f"{name}.scales"] = StoredAs(scales, (BFLOAT16,))
    return stored


def check_weights(weights: str, known: Sequence[str] = WEIGHTS) -> None:
    """Refuse a storage of weights that is not known, with a ValueError that lists those that are."""
    if weights not in known:
        raise ValueError(f"weights {weights!r}: choose from {', '.join(known)}")


def _check(key: str, value: Any, *allowed: Any) -> None:
    # type(), because JSON holds true and 64.0, which are equal to integers
    if not any(type(value) is type(known) and value == known for known in allowed):
        raise ConfigError(f"{key}: expected {' or '.join(map(repr, allowed))}, found {brief(value)}")
