"""Tables in Markdown from stored results: peers.md of every CPU measured, race.md and cpus.md of all, gpu.md.

python -m benchmarks.tables
"""

import argparse
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import KINDS, RESULTS, brief, cpu_folders, cpu_kind, cpu_title, read_result, table
from benchmarks.gpu.page import page as gpu_page
from benchmarks.peers.contestants import COMPILED
from benchmarks.peers.goals import least_seconds
from benchmarks.peers.scenarios import ONE
from minidecilm import Config, costs, preset

PAGE = """\
# minidecilm beside PyTorch and llama.cpp: {cpu}

Made by `python -m benchmarks.tables` from `peers.json`, which `python -m benchmarks.peers` measured.

{setting}

## Goals

How many times as fast as a peer; the fastest where several bear the name. Or which part of a limit of the
machine, measured in the same rounds: of the read bandwidth, by the weights that are read for a token; or of
the longer of two times, to read the weights and the cache once and to do the arithmetic.

{goals}
## Tokens per second

{speed}
## Share of the longer limit

What the machine needs at least, for reading or for arithmetic, over what was taken.

{shares}
## Weights read while decoding one text

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

NETWORK = ("parameters", "weights")  # of the description of a network: what is no key of config.json


def page(results: dict[str, Any]) -> str:
    """Fill in the page."""
    return PAGE.format(
        cpu=cpu_title(results),
        setting=setting(results),
        goals=goals_table(results),
        speed=speed(results),
        shares=table(["", *results["groups"]["float32"]], share_rows(results)),
        weights=table(["", "MB a token", "GB/s", "of the read bandwidth"], weight_rows(results)),
        attention=grid(results, "attention", milliseconds),
        errors="\n".join(grid(results, group, error) for group in results["groups"]),
    )


def kinds_measured() -> str:
    """List the kinds of CPU, and which of each was measured."""
    found = [read_result(folder, "peers") for folder in cpu_folders()]
    rows = [
        [
            kind,
            ", ".join(one["cpu"] for one in found if cpu_kind(one) == kind) or "not measured on such a CPU",
        ]
        for _, _, kind in KINDS
    ]
    return table(["instructions", "measured on"], rows).replace("---:", "---")


def setting(results: dict[str, Any]) -> str:
    """Say what was measured, on what."""
    network = results["network"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    heads = ", ".join(map(str, network["num_key_value_heads_per_layer"]))
    shares = [race["foreign_share"] for group in results["groups"].values() for race in group.values()]
    raced = config(network)
    paragraphs = (
        f"{results['cpu']} ({', '.join(results['cpu_flags'])}), {results['threads']} threads. {versions}.",
        f"The network is as wide as DeciLM-6b (hidden size {network['hidden_size']}, feed-forward "
        f"{network['intermediate_size']}, {network['num_attention_heads']} heads, vocabulary "
        f"{network['vocab_size']}) with {network['num_hidden_layers']} layers of {heads} KV heads: "
        f"{network['parameters']:,} random weights, the same for all. PyTorch is transformers' Llama with "
        "SDPA. llama.cpp was compiled for this CPU; its own quantiser made its Q8_0, Q4_0 and Q4_K_M files, "
        "with its defaults. Of a prompt it takes only the last token through the feed-forward network of the "
        f"last layer, which saves it {saved_share(raced):.0%} of the arithmetic here and "
        f"{saved_share(preset('decilm-6b')):.0%} in 32 layers.",
        "Each stands beside its like in accuracy. float32: minidecilm f32 multiplies bfloat16 weights in "
        "float32, the two others hold float32 weights. bfloat16: activations are rounded to bfloat16 too. "
        "int8 and int4: activations are rounded to 8 bits. In 4 bits all keep the head "
        "in more: minidecilm in 8, llama.cpp in 6 (Q6_K); Q4_K_M holds some other matrices in Q6_K too. The "
        f"head is {head_share(raced):.0%} of the bytes that minidecilm's int4 reads here for a token, and "
        f"{head_share(preset('decilm-6b')):.0%} in DeciLM-6b with its 32 layers. Keys and values are float16 "
        "in llama.cpp, bfloat16 in minidecilm bf16 and PyTorch bf16, float32 in the others.",
        f"Medians of {results['rounds']} rounds in which the contestants of a group took turns, and least to "
        "greatest. A group was loaded, raced and ended before the next. A contestant that took four times as "
        "long as the fastest in the first round was not asked again. While one was at work, everything else "
        "on the machine, the waiting ones included, took "
        f"{median(share['median'] for share in shares):.1%} of the cores' time (median; at most "
        f"{max(share['max'] for share in shares):.1%} in a round).",
    )
    return "\n\n".join(textwrap.fill(paragraph, 110) for paragraph in paragraphs)


def config(network: dict[str, Any]) -> Config:
    """Read the network that was raced."""
    return Config.from_dict({key: value for key, value in network.items() if key not in NETWORK})


def head_share(config: Config) -> float:
    """Part of the int4 weights' bytes that the head is, which has 8 bits."""
    times = costs.operation_times(config, costs.device("cpu-epyc"), weights="int4")
    nbytes = {time.operation: time.nbytes for time in times if time.operation != "attention"}
    return nbytes["head"] / sum(nbytes.values())


def saved_share(config: Config) -> float:
    """Part of a long prompt's arithmetic that the feed-forward network of the last layer is."""
    layer = 3 * config.hidden_size * config.layers[-1].intermediate_size
    return layer / (costs.streamed_parameters(config) - config.vocab_size * config.hidden_size)


def goals_table(results: dict[str, Any]) -> str:
    """All goals beside what was reached."""
    titles = ["goal", "wanted", "median", "least to greatest", "reached"]
    return table(titles, map(goal_row, results["goals"]))


def goal_name(goal: dict[str, Any]) -> str:
    """Say what is laid beside what."""
    return f"{goal['scenario']}: {goal['ours']} / {goal['beside']}"


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


def networks(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the groups that feed a network, and their races."""
    return ((name, races) for name, races in results["groups"].items() if name != "attention")


def speed(results: dict[str, Any]) -> str:
    """Tokens per second, a table for each group."""
    return "\n".join(grid(results, name, tokens_per_second) for name, _ in networks(results))


def race() -> str:
    """Tokens per second on every CPU that was measured."""
    found = [read_result(folder, "peers") for folder in cpu_folders()]
    return "\n".join(f"### {cpu_title(result)}\n\n{speed(result)}" for result in found)


def share_rows(results: dict[str, Any]) -> Iterator[list[str]]:
    """How near minidecilm's compiled models come to the machine's limit."""
    for _, races in networks(results):
        [ours] = races[ONE]["contestants"].keys() & COMPILED.values()
        streamed = results["contestants"][ours]["streamed_bytes"]
        yield [ours, *(f"{share_of_limit(race, ours, streamed):.0%}" for race in races.values())]


def share_of_limit(race: dict[str, Any], name: str, streamed_bytes: int) -> float:
    """Least time that the machine allows, over the time that was taken."""
    rates = [race["limits"][rate]["median"] for rate in ("bytes_per_second", "operations_per_second")]
    return max(least_seconds(race, streamed_bytes, *rates)) / race["contestants"][name]["seconds"]["median"]


def weight_rows(results: dict[str, Any]) -> Iterator[list[str]]:
    """How near each model comes to reading its weights as fast as the memory delivers them."""
    for _, races in networks(results):
        limit = races[ONE]["limits"]["bytes_per_second"]["median"]
        for name, entry in races[ONE]["contestants"].items():
            streamed = results["contestants"][name]["streamed_bytes"]
            rate = streamed / entry["seconds"]["median"]
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


def grid(results: dict[str, Any], group: str, cell: Callable[[dict[str, Any], str], str]) -> str:
    """Make a table of a group, with a row per contestant and a column per scenario."""
    races = results["groups"][group]
    names = dict.fromkeys(name for race in races.values() for name in race["contestants"])
    rows = (
        [name, *(cell(race, name) if name in race["contestants"] else "" for race in races.values())]
        for name in names
    )
    return table([group, *races], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", type=Path, default=RESULTS / "gpu.json", help="what benchmarks.gpu wrote")
    arguments = parser.parse_args()
    for folder in cpu_folders():
        (folder / "peers.md").write_text(page(read_result(folder, "peers")), encoding="utf-8")
    (RESULTS / "race.md").write_text(race(), encoding="utf-8")
    (RESULTS / "cpus.md").write_text(kinds_measured(), encoding="utf-8")
    measured = json.loads(arguments.gpu.read_text()) if arguments.gpu.exists() else None
    arguments.gpu.with_suffix(".md").write_text(gpu_page(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
