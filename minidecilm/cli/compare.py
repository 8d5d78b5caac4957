"""`minidecilm compare`: the first stage at which two runs differ."""

import argparse
import json
from typing import Any

import numpy as np

from minidecilm.api import LanguageModel, load
from minidecilm.cli.options import add_load_options, load_options, say
from minidecilm.experiments.compare import compare, first_difference, largest_difference
from minidecilm.generation import check_length, length_limit
from minidecilm.observe import FaultFinder

SUMMARY = "find the first stage at which two runs differ"
EXAMPLE = "minidecilm compare demo --dtype float32,float64"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("model", help="demo, a checkpoint folder, or a hub id")
    parser.add_argument("other", nargs="?", help="second model (default: the same)")
    add_load_options(parser, pair=True)
    parser.add_argument("--prompt", help="text to run on (default: pseudo-random token ids)")
    parser.add_argument("--tokens", type=int, default=32, metavar="N", help="how many such ids (default: 32)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        metavar="X",
        help="largest relative difference (default: 1e-3)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print where the runs part; return the exit code, 1 if they do."""
    settings = _pair_of_settings(options)
    names = options.model, options.model if options.other is None else options.other
    a, b = (
        load(name, ignore_config_keys=options.ignore_config_key, **setting)
        for name, setting in zip(names, settings, strict=True)
    )
    if not options.tolerance >= 0:
        raise ValueError(f"--tolerance: expected a number of at least 0, found {options.tolerance}")
    ids = _ids(a, options)
    finders = FaultFinder(), FaultFinder()
    differences = compare(a.model, b.model, ids, finders)
    for name, finder in zip(("first", "second"), finders, strict=True):
        if finder.fault:  # NaN differs from NaN; norms that vanish in both runs are the same
            say(f"the {name} run: {finder.fault}")
    first = first_difference(differences, options.tolerance)
    worst = largest_difference(differences)
    if options.json:
        result = {
            "runs": settings,
            "tolerance": options.tolerance if np.isfinite(options.tolerance) else None,
            "first_difference": None if first is None else first.to_dict(),
            "stages": [difference.to_dict() for difference in differences],
        }
        print(json.dumps(result, indent=1))
    elif first is None:
        print(
            f"the same within {options.tolerance:g} at all {len(differences)} stages; "
            f"most, {worst.error:.2g}, at {worst.where}"
        )
    else:
        print(
            f"first difference: {first.where}, {first.error:.2g} of its largest value "
            f"(tolerance {options.tolerance:g}); "
            f"most, {worst.error:.2g}, at {worst.where}"
        )
    return 0 if first is None else 1


def _pair_of_settings(options: argparse.Namespace) -> list[dict[str, Any]]:
    """How each of the two runs is opened: an option of one value holds for both."""
    settings: list[dict[str, Any]] = [{}, {}]
    for name, given in load_options(options).items():
        values = (given or "").split(",")
        if len(values) > 2:
            option = name.replace("_", "-")
            raise ValueError(f"--{option}: expected one value or two, found {len(values)}")
        for setting, value in zip(settings, values * (3 - len(values)), strict=True):
            setting[name] = value or None if name == "adapter" else value
    return settings


def _ids(lm: LanguageModel, options: argparse.Namespace) -> list[list[int]]:
    """Token ids of the prompt, or pseudo-random ones."""
    if options.prompt is None:
        limit = length_limit(lm.config)[0]
        if not 1 <= options.tokens <= limit:
            raise ValueError(f"--tokens: expected 1 to {limit}, found {options.tokens}")
        ids: list[list[int]] = (
            np.random.default_rng(0).integers(lm.config.vocab_size, size=(1, options.tokens)).tolist()
        )
        return ids
    if options.prompt == "":
        raise ValueError("--prompt: the prompt is empty")
    ids = [lm.require_tokenizer().encode(options.prompt)]
    check_length(lm.config, len(ids[0]), 1, None)
    return ids
