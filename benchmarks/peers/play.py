"""One run: prepare the models, let every contestant load, and time all of them."""

import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import minidecilm
from benchmarks.common import describe, spread
from benchmarks.peers.contestants import ATTENTIONS, EXACT, MODELS, Entry
from benchmarks.peers.gguf_writer import ensure_gguf
from benchmarks.peers.goals import GOALS, Goal
from benchmarks.peers.runner import Worker, race
from benchmarks.peers.scenarios import ATTENDING, FEEDING, THREADS
from minidecilm.weights.quantize import quantize_checkpoint

CPU_FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
PACKED = ("int8", "int4")
TINY = {"hidden_size": 512, "num_attention_heads": 8, "head_dim": 64, "vocab_size": 1024}


def play(work: Path, kv_heads: list[int], rounds: int, tiny: bool) -> dict[str, Any]:
    """Make a whole run; return what is stored of it."""
    config = network(kv_heads, tiny)
    entries = MODELS | EXACT if tiny else MODELS
    models = prepare_models(config, entries, work)
    outputs, logs = work / "outputs", work / "logs"
    for folder in (outputs, logs):
        folder.mkdir(exist_ok=True)
    races, descriptions = {}, {}
    start = time.monotonic()
    for names, scenarios, reference in (
        (entries, FEEDING, "minidecilm NumPy f32"),
        (ATTENTIONS, ATTENDING, "minidecilm NumPy attention"),
    ):
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(name, models, logs)) for name in names]
            for scenario in scenarios:
                print(f"{time.monotonic() - start:4.0f} s: {scenario}", flush=True)
                races[scenario] = race(scenario, workers, reference, rounds, outputs)
            descriptions |= {worker.name: worker.description for worker in workers}
    packages = ("numpy", "numba", "ml_dtypes", "torch", "transformers", "llama_cpp_python", "gguf")
    return {
        "what": "one network in several engines, in alternation: seconds a call, median of each round",
        **describe(*packages),
        "cpu_flags": cpu_flags(),
        "threads": THREADS,
        "network": {**config.to_dict(), "parameters": config.num_parameters, "weights": "random"},
        "rounds": rounds,
        "goals": [judge(goal, races[goal.scenario], descriptions[goal.ours]) for goal in GOALS],
        "contestants": descriptions,
        "scenarios": races,
    }


def judge(goal: Goal, race_result: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """Lay what was reached beside a goal."""
    ratio = spread(goal.ratios(race_result, description.get("streamed_bytes")))
    return {**asdict(goal), "ratio": ratio, "reached": ratio["median"] >= goal.at_least}


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


def prepare_models(config: minidecilm.Config, entries: dict[str, Entry], work: Path) -> Path:
    """Write the checkpoint in all forms that are not there; return the folder of all."""
    models = models_folder(config, work)
    models.mkdir(parents=True, exist_ok=True)
    if not (models / "checkpoint").exists():
        minidecilm.write_random_checkpoint(config, models / "checkpoint")
    for weights in PACKED:
        if not (models / weights).exists():
            quantize_checkpoint(models / "checkpoint", models / weights, weights)
    for entry in entries.values():
        if entry.module == "llamacpp":
            ensure_gguf(models, entry.options["storage"])
    return models


def cpu_flags() -> list[str]:
    """Those of CPU_FLAGS that this CPU has."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return [flag for flag in CPU_FLAGS if flag in found]
