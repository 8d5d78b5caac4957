"""`minidecilm quantize`: a model with int8 or int4 weights in a new folder."""

import argparse
from pathlib import Path

from minidecilm.catalog import find_folder
from minidecilm.cli.options import add_adapter, add_ignored_keys, say
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.packed import GROUPS
from minidecilm.weights.quantize import quantize_checkpoint
from minidecilm.weights.scheme import BITS

SUMMARY = "write a model with int8 or int4 weights into a new folder"
EXAMPLE = "minidecilm quantize DeciLM-6b-instruct decilm-6b-int4 --weights int4 --group 64"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("source", help="demo, a checkpoint folder, or a hub id")
    parser.add_argument("folder", type=Path, help="to be created")
    parser.add_argument("--weights", default="int4", help=f"{', '.join(BITS)} (default: int4)")
    parser.add_argument(
        "--group",
        type=int,
        default=64,
        metavar="N",
        help=f"columns that share a scale: {', '.join(map(str, GROUPS))} (default: 64)",
    )
    add_adapter(parser)
    add_ignored_keys(parser)


def run(options: argparse.Namespace) -> int:
    """Write the folder; return the exit code."""
    quantize_checkpoint(
        find_folder(options.source),
        options.folder,
        options.weights,
        options.group,
        adapter=None if options.adapter is None else find_folder(options.adapter),
        ignore_config_keys=options.ignore_config_key,
    )
    written = open_checkpoint(options.folder)
    bits = 8 * written.nbytes / written.config.num_parameters
    say(f"{options.folder}: {written.nbytes:,} bytes of weights, {bits:.2f} bits each")
    return 0
