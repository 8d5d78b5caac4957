"""`minidecilm info`: what there is to say of a model, and of two side by side."""

import argparse
import json
from typing import Any

from minidecilm.catalog import find_model
from minidecilm.cli.options import add_ignored_keys, aligned
from minidecilm.costs import summary
from minidecilm.presets import PRESET_NAMES

SUMMARY = "sizes, per-layer heads, bytes and dtypes of a model"
EXAMPLE = "minidecilm info decilm-6b --compare llama-2-7b"

_LABELS = {
    "parameters": "parameters",
    "weight_bytes": "weights, bytes",
    "kv_cache_bytes_per_token": "bfloat16 KV cache per token, bytes",
    "kv_cache_bytes_at_4096": "that of a row of 4,096 tokens, bytes",
    "kv_cache_bytes_at_64x4096": "that of 64 such rows, bytes",
    **{f"largest_batch_{size}_gb": f"largest batch of such rows in {size} GB" for size in summary.GIGABYTES},
    "flops_per_decoded_token": "operations for the 4,096th token",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("model", help=f"{', '.join(PRESET_NAMES)}, demo, a config.json or a folder (./NAME)")
    add_ignored_keys(parser)
    parser.add_argument(
        "--compare", metavar="OTHER", help="set it beside another: weights, caches, largest batch, arithmetic"
    )
    parser.add_argument(
        "--json", action="store_true", help='print JSON; with --compare also "compared_with" and "comparison"'
    )


def run(options: argparse.Namespace) -> int:
    """Print what is known; return the exit code."""
    ignored = options.ignore_config_key
    model = find_model(options.model, ignore_config_keys=ignored)
    facts = summary.facts(model)
    if options.compare is None:
        print(json.dumps(facts, indent=2) if options.json else facts_text(facts))
        return 0
    other = find_model(options.compare, ignore_config_keys=ignored)
    compared = summary.comparison(model, other)
    if options.json:
        print(json.dumps({**facts, "compared_with": other.name, "comparison": compared}, indent=2))
    else:
        print(comparison_text(compared, model.name, other.name))
    return 0


def facts_text(found: dict[str, Any]) -> str:
    """Lay :func:`minidecilm.costs.summary.facts` out for a person."""
    rotary, dtypes = found["rope"], found["dtypes"]
    group = f", a scale per {found['group']} columns" if found["group"] else ""
    scaling = f"dynamic NTK x{rotary['factor']:g} beyond it" if rotary["factor"] else "no scaling"
    lines = [
        f"{found['model']}\n"
        f"  parameters        {found['parameters']:,}\n"
        f"  weights           {found['weight_bytes']:,} bytes, {found['bits_per_weight']:.2f} bits each, "
        f"storage {'/'.join(dtypes['storage'])}{group}\n"
        f"  computed in       {dtypes['compute']}, accumulated in {dtypes['accumulate']}\n"
        f"  KV cache          {found['kv_cache_bytes_per_token']:,} bytes per token in bfloat16\n"
        f"  context           {found['max_position_embeddings']:,} tokens, {scaling}\n"
        f"  rotary base       {rotary['theta']:g}, head_dim {found['head_dim']}\n"
        f"  hidden, vocabulary {found['hidden_size']:,}, {found['vocab_size']:,}\n"
        f"\n  layer  KV heads  queries per KV head  feed-forward   parameters  KV bytes per token"
    ]
    lines += [
        f"  {row['layer']:5d}  {row['kv_heads']:8d}  {row['queries_per_kv_head']:19d}  "
        f"{row['intermediate_size']:12,}  {row['parameters']:11,}  {row['kv_cache_bytes_per_token']:18,}"
        for row in found["layers"]
    ]
    return "\n".join(lines)


def comparison_text(compared: dict[str, dict[str, Any]], model: str, other: str) -> str:
    """Lay :func:`minidecilm.costs.summary.comparison` out for a person, under the names of the models."""
    rows = [("", model, other, f"{other} / {model}")]
    for key, label in _LABELS.items():
        found = compared[key]
        rows.append((label, f"{found['model']:,}", f"{found['other']:,}", _times(found["ratio"])))
    return aligned(rows)


def _times(ratio: float | None) -> str:
    """Three digits or more, without an exponent for what is large."""
    if ratio is None:
        return "-"
    return f"{ratio:,.2f}" if ratio >= 1 else f"{ratio:.3g}"
