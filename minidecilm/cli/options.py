"""What several commands share: how a model is opened, keys to pass over, tables, the one line on stderr."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from minidecilm import backends, rope
from minidecilm.cache import KV_CACHES
from minidecilm.weights.scheme import WEIGHTS

INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C

# name of an argument of load() -> (default, values)
LOAD_OPTIONS = {
    "backend": ("auto", backends.BACKENDS),
    "weights": ("stored", WEIGHTS),
    "dtype": ("float32", ("float32", "float64", "bfloat16")),
    "rope": ("reference", rope.POLICIES),
    "kv_cache": ("compute", KV_CACHES),
}


def add_load_options(parser: argparse.ArgumentParser, pair: bool = False) -> None:
    """Add how a model is opened; `pair` says that each may hold two values, for two runs."""
    for name, (default, values) in LOAD_OPTIONS.items():
        note = "; two values, with a comma between, for the two runs" if pair else ""
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=default,
            metavar=name.upper(),
            help=f"{', '.join(values)} (default: {default}){note}",
        )
    add_adapter(parser, "; two, with a comma between, for the two runs: ,FOLDER" if pair else "")
    add_ignored_keys(parser)


def add_adapter(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add an adapter of the model."""
    parser.add_argument(
        "--adapter", metavar="FOLDER", help=f"a LoRA adapter of the model, as PEFT saves{note}"
    )


def add_ignored_keys(parser: argparse.ArgumentParser) -> None:
    """Add the keys of a config to pass over."""
    parser.add_argument(
        "--ignore-config-key",
        action="append",
        default=[],
        metavar="KEY",
        help="pass over this key of config.json, which you know to change nothing; may be repeated",
    )


def load_options(options: argparse.Namespace) -> dict[str, Any]:
    """Give what :func:`add_load_options` added as arguments of :func:`minidecilm.load`."""
    return {name: getattr(options, name) for name in (*LOAD_OPTIONS, "adapter")}


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Make columns of cells, the first aligned to the left and the others to the right.

    Examples
    --------
    >>> print(aligned([("", "bytes"), ("keys", "64")]))
          bytes
    keys     64
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligns = ["<"] + [">"] * (len(widths) - 1)
    return "\n".join(
        "  ".join(f"{cell:{align}{w}}" for cell, align, w in zip(row, aligns, widths, strict=True))
        for row in rows
    )


def say(message: str) -> None:
    """Print one line on stderr, unless that is closed."""
    with suppress(OSError):  # nobody can be told
        if sys.stderr is not None:
            print(" ".join(message.split()), file=sys.stderr)
