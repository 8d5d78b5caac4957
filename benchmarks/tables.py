"""Tables in Markdown from the stored results of benchmarks.peers and benchmarks.gpu: peers.md and gpu.md.

python -m benchmarks.tables
"""

import argparse
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import RESULTS, brief, table
from benchmarks.gpu.page import page as gpu_page
from benchmarks.peers.scenarios import ATTENDING, FEEDING

ONE_TEXT = "decode, batch 1"

PAGE = """\
# minidecilm beside PyTorch and llama.cpp

Made by `python -m benchmarks.tables` from `peers.json`, which `python -m benchmarks.peers` measured.

{setting}

## Goals

How many times as fast as a peer, the fastest where several bear the name; or which part of the read
bandwidth. The goals were set beforehand, for a CPU with AVX-512 VNNI; the CPU above is the one that measured.

{goals}
## Tokens per second

{speed}
## Weights read while decoding one text

The read bandwidth is {bandwidth} GB/s, the best of some passes in each round.

{weights}
## Attention, milliseconds a call

32 query heads, 4 KV heads, head_dim 128. PyTorch's `scaled_dot_product_attention` is called in three ways:
`gqa` with `enable_gqa`, `repeat` with repeated keys and values, `fold` with the query heads of a KV head as
so many queries of one head.

{attention}
## Differences between results

Root mean square of the difference from NumPy in float32, as a part of that of the values: logits after the
last token of a scenario, or all of an attention's output. Weights are random; 8- and 4-bit ones are rounded
without looking at any text.

{errors}"""


def page(results: dict[str, Any]) -> str:
    """Fill in the page."""
    goals = [goal_row(goal) for goal in results["goals"]]
    return PAGE.format(
        setting=setting(results),
        goals=table(["goal", "wanted", "median", "least to greatest", "reached"], goals),
        speed=grid(results, FEEDING, tokens_per_second),
        bandwidth=brief(
            results["scenarios"][ONE_TEXT]["limits"]["read_bytes_per_second"], lambda rate: rate / 1e9
        ),
        weights=table(["", "MB a token", "GB/s", "of the read bandwidth"], weight_rows(results)),
        attention=grid(results, ATTENDING, milliseconds),
        errors=grid(results, FEEDING, error) + "\n" + grid(results, ATTENDING, error),
    )


def setting(results: dict[str, Any]) -> str:
    """Say what was measured, on what."""
    network = results["network"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    heads = ", ".join(map(str, network["num_key_value_heads_per_layer"]))
    shares = [race["foreign_share"] for race in results["scenarios"].values()]
    paragraphs = (
        f"{results['cpu']} ({', '.join(results['cpu_flags'])}), {results['threads']} threads. {versions}.",
        f"The network is as wide as DeciLM-6b (hidden size {network['hidden_size']}, feed-forward "
        f"{network['intermediate_size']}, {network['num_attention_heads']} heads, vocabulary "
        f"{network['vocab_size']}) with {network['num_hidden_layers']} layers of {heads} KV heads: "
        f"{network['parameters']:,} random weights, the same for all. PyTorch is transformers' Llama with "
        "SDPA. llama.cpp was compiled for this CPU; its Q8_0 and Q4_0 files hold every matrix in that type, "
        "embedding and head included, where minidecilm's int4 keeps 8 bits for the head. Keys and values are "
        "float32 in minidecilm, float16 in llama.cpp, of the weights' type in PyTorch.",
        f"Medians of {results['rounds']} rounds in which all contestants took turns, and least to greatest. "
        "While one was at work, everything else on the machine, the waiting ones included, took "
        f"{median(share['median'] for share in shares):.1%} of the cores' time (median; at most "
        f"{max(share['max'] for share in shares):.1%} in a round).",
    )
    return "\n\n".join(textwrap.fill(paragraph, 110) for paragraph in paragraphs)


def goal_name(goal: dict[str, Any]) -> str:
    """Say what is laid beside what."""
    return f"{goal['scenario']}: {goal['ours']} / {goal['peer'] or 'read bandwidth'}"


def goal_row(goal: dict[str, Any]) -> list[str]:
    """One goal beside what was reached."""
    ratio = goal["ratio"]
    return [
        goal_name(goal),
        f"{goal['at_least']:g}",
        f"{ratio['median']:.2f}",
        f"{ratio['min']:.2f} to {ratio['max']:.2f}",
        "yes" if goal["reached"] else "no",
    ]


def weight_rows(results: dict[str, Any]) -> Iterator[list[str]]:
    """How near each model comes to reading its weights as fast as the memory delivers them."""
    race = results["scenarios"][ONE_TEXT]
    limit = race["limits"]["read_bytes_per_second"]["median"]
    for name in race["contestants"]:
        streamed = results["contestants"][name]["streamed_bytes"]
        rate = streamed / race["contestants"][name]["seconds"]["median"]
        yield [name, f"{streamed / 1e6:.0f}", f"{rate / 1e9:.1f}", f"{rate / limit:.0%}"]


def tokens_per_second(race: dict[str, Any], name: str) -> str:
    """Speed of a model in one scenario."""
    return brief(race["contestants"][name]["seconds"], lambda seconds: race["tokens_per_call"] / seconds)


def milliseconds(race: dict[str, Any], name: str) -> str:
    """Duration of a call."""
    return brief(race["contestants"][name]["seconds"], lambda seconds: seconds * 1e3)


def error(race: dict[str, Any], name: str) -> str:
    """Difference from NumPy."""
    return f"{race['contestants'][name]['relative_error']:.1e}"


def grid(
    results: dict[str, Any],
    scenarios: Iterable[str],
    cell: Callable[[dict[str, Any], str], str],
) -> str:
    """Make a table with a row per contestant and a column per scenario."""
    races = [results["scenarios"][name] for name in scenarios]
    names = races[0]["contestants"]
    return table(["", *scenarios], ([name, *(cell(race, name) for race in races)] for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, default=RESULTS / "peers.json", help="what benchmarks.peers wrote"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "peers.md", help="Markdown file to write")
    parser.add_argument("--gpu", type=Path, default=RESULTS / "gpu.json", help="what benchmarks.gpu wrote")
    arguments = parser.parse_args()
    arguments.output.write_text(page(json.loads(arguments.source.read_text())), encoding="utf-8")
    measured = json.loads(arguments.gpu.read_text()) if arguments.gpu.exists() else None
    arguments.gpu.with_suffix(".md").write_text(gpu_page(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
