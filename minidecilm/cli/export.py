"""`minidecilm export`: a model for transformers, vLLM or llama.cpp in a new folder."""

import argparse
from pathlib import Path

from minidecilm import costs
from minidecilm.catalog import find_folder
from minidecilm.cli.options import add_ignored_keys, say
from minidecilm.config import Config
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.export import FORMATS, ROPES, export_checkpoint
from minidecilm.weights.gguf_file import FILE_NAME, STORED, TYPES

SUMMARY = "write a model for transformers, vLLM or llama.cpp into a new folder"
EXAMPLE = "minidecilm export DeciLM-6b decilm-6b-llama --to llama"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("source", help="demo, a checkpoint folder, or a hub id")
    parser.add_argument("folder", type=Path, help="to be created")
    parser.add_argument(
        "--to",
        default="llama",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)} (default: llama): KV heads repeated, per_layer_config, or {FILE_NAME}",
    )
    parser.add_argument(
        "--rope",
        default="plain",
        help=f"{', '.join(ROPES)} (default: plain): leave dynamic NTK out, or keep it in config.json",
    )
    parser.add_argument(
        "--type", default=STORED, help=f"of matrices in a GGUF file: {', '.join(TYPES)} (default: {STORED})"
    )
    parser.add_argument(
        "--adapter",
        help="a LoRA adapter of the model, as PEFT saves: write it alone, so that it fits the llama form",
    )
    add_ignored_keys(parser)


def run(options: argparse.Namespace) -> int:
    """Write the folder; return the exit code."""
    source = find_folder(options.source)
    ignored = options.ignore_config_key
    export_checkpoint(
        source,
        options.folder,
        options.to,
        rope=options.rope,
        gguf_type=options.type,
        adapter=None if options.adapter is None else find_folder(options.adapter),
        ignore_config_keys=ignored,
    )
    if options.adapter is not None:
        say(f"{options.folder}: the adapter, for what minidecilm export {options.source} --to llama writes")
        return 0
    before = open_checkpoint(source, ignore_config_keys=ignored)
    if options.to == "gguf":
        file = options.folder / FILE_NAME
        say(f"{file}: {file.stat().st_size:,} bytes, KV heads as they are")
    else:
        after = open_checkpoint(options.folder)
        say(f"{options.folder}: {after.nbytes:,} bytes of weights; {bill(before.config, after.config)}")
    if before.config.rope_factor is not None:
        say(rotary_note(options.to, options.rope, before.config.max_position_embeddings))
    return 0


def bill(before: Config, after: Config) -> str:
    """Say what the form costs: KV-cache bytes of a token, and weights.

    Examples
    --------
    >>> from minidecilm import preset
    >>> bill(preset("decilm-6b"), preset("decilm-6b").with_equal_kv_heads())
    'KV cache 25,600 -> 65,536 bytes a token in bfloat16, weights +1.4 %'
    """
    cache = [costs.kv_cache_bytes(config, dtype="bfloat16") for config in (before, after)]
    more = 100 * (after.num_parameters / before.num_parameters - 1)
    return f"KV cache {cache[0]:,} -> {cache[1]:,} bytes a token in bfloat16, weights +{more:.1f} %"


def rotary_note(to: str, rope: str, context: int) -> str:
    """Say where the exported model may differ from its source, which has dynamic NTK."""
    left_out = "llama.cpp has no dynamic NTK" if to == "gguf" else "dynamic NTK is left out"
    if rope == "plain":
        return f"{left_out}: the same up to {context:,} tokens, not beyond"
    return (
        f"dynamic NTK is kept: beyond {context:,} tokens the result of transformers depends on how a text is "
        "fed; vLLM has one base for all lengths, until its pull request 41277 a grown one for short texts"
    )
