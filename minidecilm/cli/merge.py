"""`minidecilm merge`: a model and its adapter as one model in a new folder."""

import argparse
from pathlib import Path

from minidecilm.catalog import find_folder
from minidecilm.cli.options import add_ignored_keys, say
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.merge import merge_checkpoint

SUMMARY = "write a model with a LoRA adapter merged into a new folder"
EXAMPLE = "minidecilm merge DeciLM-6b my-adapter decilm-6b-mine"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("source", help="demo, a checkpoint folder of float weights, or a hub id")
    parser.add_argument("adapter", help="its LoRA adapter: a folder as PEFT saves, or a hub id")
    parser.add_argument("folder", type=Path, help="to be created")
    add_ignored_keys(parser)


def run(options: argparse.Namespace) -> int:
    """Write the folder; return the exit code."""
    merge_checkpoint(
        find_folder(options.source),
        find_folder(options.adapter),
        options.folder,
        ignore_config_keys=options.ignore_config_key,
    )
    say(f"{options.folder}: {open_checkpoint(options.folder).nbytes:,} bytes of weights")
    return 0
