"""One run: prepare the models, then let one group of contestants after the other load, race and end."""

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import minidecilm
from benchmarks.common import cpu_flags, describe
from benchmarks.peers.contestants import ATTENTION_REFERENCE, ENTRIES, EXACT, GROUPS, REFERENCE
from benchmarks.peers.goals import GOALS
from benchmarks.peers.runner import Worker, race
from benchmarks.peers.scenarios import ATTENDING, PREFILL, SCENARIOS, THREADS
from minidecilm.weights.quantize import quantize_checkpoint

PACKED = ("int8", "int4")
TINY = {"hidden_size": 512, "num_attention_heads": 8, "head_dim": 64, "vocab_size": 1024}


def play(work: Path, kv_heads: list[int], groups: list[str], rounds: int, tiny: bool) -> dict[str, Any]:
    """Make a whole run; return what is stored of it."""
    config = network(kv_heads, tiny)
    models = prepare_models(config, work, tiny)
    outputs, logs = models / "outputs", work / "logs"
    for folder in (outputs, logs):
        folder.mkdir(exist_ok=True)
    races: dict[str, dict[str, Any]] = {}
    contestants: dict[str, Any] = {}
    start = time.monotonic()
    for name, group in GROUPS.items():
        if name not in groups:
            continue
        attentions = group.scenarios is ATTENDING
        names = [*group.entries, *(EXACT if tiny and name == "bfloat16" else ())]
        guest = min(group.guests, key=partial(prefill_seconds, races), default=None)
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(one, models, logs)) for one in names]
            contestants |= {worker.name: worker.description for worker in workers}
            guests = [] if guest is None else [stack.enter_context(Worker(guest, models, logs))]
            races[name] = {}
            for scenario in group.scenarios:
                print(f"{time.monotonic() - start:4.0f} s: {name}: {scenario}", flush=True)
                races[name][scenario] = {
                    **SCENARIOS[scenario].needs(config),
                    **race(
                        scenario,
                        workers + guests * (scenario == PREFILL),
                        group.arithmetic,
                        ATTENTION_REFERENCE if attentions else REFERENCE,
                        rounds,
                        outputs,
                    ),
                }
    print(f"{time.monotonic() - start:4.0f} s in all", flush=True)
    packages = ("numpy", "numba", "ml_dtypes", "torch", "transformers", "llama_cpp_python", "gguf")
    flags = cpu_flags()
    return {
        "what": "one network in several engines, in alternation: seconds a call, median of each round",
        **describe(*packages),
        "threads": THREADS,
        "network": {**config.to_dict(), "parameters": config.num_parameters, "weights": "random"},
        "rounds": rounds,
        "goals": [
            goal.judge(
                races[goal.group][goal.scenario], contestants[goal.ours].get("streamed_bytes", 0), flags
            )
            for goal in GOALS
            if goal.group in races
        ],
        "contestants": contestants,
        "groups": races,
    }


def prefill_seconds(races: dict[str, dict[str, Any]], name: str) -> float:
    """How long a contestant of an earlier group took to read the prompt; no end where it was not asked."""
    found = [group[PREFILL]["contestants"] for group in races.values() if PREFILL in group]
    return min((entries[name]["seconds"]["median"] for entries in found if name in entries), default=inf)


def network(kv_heads: list[int], tiny: bool) -> minidecilm.Config:
    """DeciLM-6b with other layers, and without dynamic NTK: llama.cpp has none, no text here is so long."""
    full = minidecilm.preset("decilm-6b")
    intermediate = 1024 if tiny else full.layers[0].intermediate_size
    layers = tuple(minidecilm.LayerConfig(heads, intermediate) for heads in kv_heads)
    return replace(full, layers=layers, rope_factor=None, **(TINY if tiny else {}))


def models_folder(config: minidecilm.Config, work: Path) -> Path:
    """Where all forms of a network's checkpoint lie."""
    heads = "-".join(map(str, config.num_key_value_heads_per_layer))
    return work / "models" / f"{config.hidden_size}x{heads}"


def prepare_models(config: minidecilm.Config, work: Path, tiny: bool) -> Path:
    """Write the checkpoint in all forms that are not there; return the folder of all."""
    from benchmarks.peers.gguf_writer import ensure_gguf  # needs what is installed in the environment

    models = models_folder(config, work)
    models.mkdir(parents=True, exist_ok=True)
    if not (models / "checkpoint").exists():
        minidecilm.write_random_checkpoint(config, models / "checkpoint")
    for weights in PACKED:
        if not (models / weights).exists():
            quantize_checkpoint(models / "checkpoint", models / weights, weights)
    for name, entry in ENTRIES.items():
        if entry.module == "llamacpp" and (tiny or name not in EXACT):
            ensure_gguf(models, entry.options["storage"])
    return models
