"""Every option of every command reaches what it names, and changes nothing else; a new one needs a case here.

A case runs a command without an option and with it, and compares what was opened, asked for, drawn and
written. What computes is replaced by recorders.
"""

import argparse
import inspect
import json
import shlex
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import pytest

import minidecilm
from minidecilm import bench, costs, plots
from minidecilm.catalog import find_model
from minidecilm.cli import compare as compare_command
from minidecilm.cli.main import build_parser
from minidecilm.costs.summary import comparison, facts
from minidecilm.experiments.compare import Difference
from minidecilm.model import DeciLM
from minidecilm.weights import adapted
from minidecilm.weights.checkpoint import open_checkpoint
from tests import checks
from tests.adapters import low_rank, write_adapter
from tests.configs import SMALL
from tests.unit.test_devices import DESKTOP

GOLDEN = shlex.quote(str(checks.GOLDEN))
PEFT = checks.GOLDEN.with_name("adapters")
DRAWN = ("kv_cache_by_batch", "largest_batch", "throughput", "roofline", "attention_maps")
APART = Difference(3, "v", 0.01)
FILES = {
    "tiny.json": SMALL.to_dict(),
    "one.json": replace(SMALL, layers=SMALL.layers[:1]).to_dict(),
    "desktop.json": DESKTOP,
    "odd.json": SMALL.to_dict() | {"odd": 1},
}
ADAPTERS = ("mine", "yours", "golden")  # the first two are of the demo model


class Case(NamedTuple):
    """What a command is given without an option and with it, and what then differs; a function judges."""

    option: str
    without: str
    given: str
    differs: dict[str, Any]


def added(without: str, option: str, differs: dict[str, Any]) -> Case:
    return Case(option.split()[0], without, f"{without} {option}", differs)


def opening(without: str, *networks: str, pair: bool = False) -> list[Case]:
    """How networks are opened; of a pair of values, only the second is another."""
    return [
        added(
            without,
            f"--{option} {default},{value}" if pair else f"--{option} {value}",
            {f"{network}.{name}": value for network in networks for name in changes.split()},
        )
        for option, default, value, changes in (
            ("backend", "numpy", "numba", "backend"),
            ("weights", "stored", "float64", "weights"),
            ("dtype", "float32", "float64", "dtype kv_cache"),
            ("rope", "reference", "exact", "rope_policy"),
            ("kv-cache", "compute", "bfloat16", "kv_cache"),
        )
    ]


def adapter(without: str, *networks: str, pair: bool = False, **more: str) -> Case:
    differs: dict[str, Any] = more | {f"{network}.adapted": 1 for network in networks}
    read = {"adapters": ["mine"] * max(1, len(networks))}
    return added(without, f"--adapter {',' * pair}mine", differs | read)


def titles(*expected):
    return lambda configs: tuple(configs) == expected


def ids_of(text):
    return lambda ids: np.array_equal(ids, [minidecilm.load("demo").tokenizer.encode(text)])


def attention_of_layer(layer):
    def is_it(found):
        lm, seen = minidecilm.load("demo"), minidecilm.Recorder(["attention_weights"])
        lm.model([lm.tokenizer.encode("One day")], observer=seen)
        return np.array_equal(found, seen.values[layer, "attention_weights"][0])

    return is_it


ignoring, does = "--ignore-config-key odd", {"code": 0}
golden = {"network.layers": 6, "network.vocabulary": 512}
demo = {"network.layers": 8, "network.vocabulary": 2048}
DEMO_WRITTEN = {
    "written.layers": 8,
    "written.vocabulary": 2048,
    "written.kv_heads": (4, 2, 2, 1, 1, 1, 4, 4),
    "inside": ["config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"],
}
text, out, random = "'One day'", "--out p.svg", "--config tiny.json --random"
CASES = {
    "generate": [
        Case("prompt", text, "Once", {"stream.prompt": "Once"}),
        added(text, f"--model {GOLDEN}", golden),
        *opening(text, "network"),
        adapter(text, "network"),
        added(f"{text} --model odd", ignoring, does | golden),
        added(text, "--template decilm-6b-instruct", {"stream.template": "decilm-6b-instruct"}),
        added(text, "--echo", {"stdout": "One day and on\n"}),
        added(text, "--max-new-tokens 7", {"stream.max_new_tokens": 7}),
        added(text, "--max-length 70", {"stream.max_length": 70}),
        added(text, "--temperature 0.3", {"stream.temperature": 0.3}),
        added(text, "--top-k 40", {"stream.top_k": 40}),
        added(text, "--top-p 0.5", {"stream.top_p": 0.5}),
        added(text, "--min-p 0.2", {"stream.min_p": 0.2}),
        added(text, "--repetition-penalty 1.3", {"stream.repetition_penalty": 1.3}),
        added(text, "--seed 11", {"stream.seed": 11}),
        added(text, "--stop , --stop 'The end'", {"stream.stop": [",", "The end"]}),
        added(text, "--trace t.json", {"stream.trace": [], "files": ["t.json"]}),
    ],
    "info": [
        Case("model", "decilm-6b", "demo", {"stdout": lambda found: found.startswith("demo\n")}),
        added(
            "decilm-6b --json",
            "--compare llama-2-7b",
            {
                "stdout": lambda found: (
                    json.loads(found)["comparison"]
                    == comparison(find_model("decilm-6b"), find_model("llama-2-7b"))
                )
            },
        ),
        added(
            "demo",
            "--json",
            {"stdout": lambda found: json.loads(found) == facts(find_model("demo"))},
        ),
        *(added(model, ignoring, does) for model in ("odd.json", "demo --compare odd")),
    ],
    "plot": [
        Case(
            "name",
            f"throughput {out}",
            f"roofline {out}",
            {
                **{f"throughput.{name}": None for name in ("configs", "device", "batch_sizes", "context")},
                "roofline.configs": titles("DeciLM-6b"),
                "roofline.device": costs.device("a10"),
                "roofline.context": 1024,
            },
        ),
        Case(
            "models",
            f"kv-cache-batch {out}",
            f"kv-cache-batch llama-2-7b tiny.json {out}",
            {"kv_cache_by_batch.configs": titles("Llama 2 7B", "tiny.json")},
        ),
        added(
            f"kv-cache-batch llama-2-7b {out}",
            "--config tiny.json --config one.json",
            {"kv_cache_by_batch.configs": titles("Llama 2 7B", "tiny.json", "one.json")},
        ),
        Case(
            "--out",
            f"kv-cache-batch {out}",
            "kv-cache-batch --out q.png",
            {"saved": ["q.png"], "stdout": "wrote q.png\n"},
        ),
        added(
            f"kv-cache-batch {out}",
            "--csv n.csv",
            {"saved": ["n.csv", "p.svg"], "stdout": "wrote p.svg and n.csv\n"},
        ),
        added(f"kv-cache-batch {out}", "--dark", {"background": plots.DARK["figure.facecolor"]}),
        *(
            added(f"{name} {out}", "--context 99", {f"{drawn}.context": 99})
            for name, drawn in zip(
                ("kv-cache-batch", "largest-batch", "throughput", "roofline"), DRAWN[:4], strict=True
            )
        ),
        *(
            added(f"{name} {out}", "--weights int4", {f"{drawn}.weights": "int4"})
            for name, drawn in zip(("largest-batch", "throughput", "roofline"), DRAWN[1:4], strict=True)
        ),
        *(
            case
            for name in ("throughput", "roofline")
            for case in (
                added(f"{name} {out}", "--device h100", {f"{name}.device": costs.device("h100")}),
                added(
                    f"{name} {out}",
                    "--devices desktop.json --device desktop",
                    {f"{name}.device": lambda device: device.title == "A desktop"},
                ),
            )
        ),
        added(f"kv-cache-batch odd.json {out}", ignoring, does),
        added(f"activations {out}", "--prompt 'One day'", {"read": ids_of("One day")}),
        added(
            f"attention --prompt {text} {out}",
            "--layer 1",
            {
                "title": "demo: attention in layer 1",
                "attention_maps.kv_heads": 2,
                "attention_maps.weights": attention_of_layer(1),
            },
        ),
    ],
    "quantize": [
        Case("source", f"{GOLDEN} new", "demo new", DEMO_WRITTEN),
        Case("folder", f"{GOLDEN} new", f"{GOLDEN} other", {"files": ["other"]}),
        added(f"{GOLDEN} new", "--weights int8", {"written.weights": "int8"}),
        added(f"{GOLDEN} new", "--group 128", {"written.group": 128}),
        adapter("demo new"),
        added("odd new", ignoring, does | {"files": ["new"]}),
    ],
    "merge": [
        Case(
            "source",
            f"{GOLDEN} golden new",
            "demo mine new",
            DEMO_WRITTEN | {"adapters": ["mine"]},
        ),
        Case("adapter", "demo mine new", "demo yours new", {"adapters": ["yours"]}),
        Case("folder", "demo mine new", "demo mine other", {"files": ["other"]}),
        added("odd golden new", ignoring, does | {"files": ["new"]}),
    ],
    "export": [
        Case(
            "source",
            f"{GOLDEN} new",
            "demo new",
            DEMO_WRITTEN | {"written.kv_heads": (4,) * 8},
        ),
        Case("folder", f"{GOLDEN} new", f"{GOLDEN} other", {"files": ["other"]}),
        added(f"{GOLDEN} new", "--to per-layer", {"written.kv_heads": (4, 2, 1, 1, 2, 4)}),
        added(f"{GOLDEN} new", "--rope dynamic", {"written.factor": 2.0}),
        added(
            f"{GOLDEN} new --to gguf",
            "--type Q4_0",
            {"types": lambda types: types["Q4_0"] > types["Q8_0"] == 1},
        ),
        added(
            f"{shlex.quote(str(PEFT / 'base'))} new",
            f"--adapter {shlex.quote(str(PEFT / 'plain'))}",
            {
                "inside": lambda names: {"adapter_config.json", "adapter_model.safetensors"} <= set(names),
                **dict.fromkeys(("written.layers", "written.vocabulary", "written.kv_heads")),
            },
        ),
        added("odd new", ignoring, does | {"files": ["new"]}),
    ],
    "compare": [
        Case("model", f"{GOLDEN} demo", "demo demo", {**demo, "ids": lambda ids: ids.max() >= 512}),
        Case("other", "demo", f"demo {GOLDEN}", {name.replace("k", "k 2"): golden[name] for name in golden}),
        *opening("demo", "network", "network 2"),
        *opening("demo", "network 2", pair=True),
        adapter("demo", "network", "network 2"),
        adapter("demo", "network 2", pair=True),
        added("odd", ignoring, {"compared": [0, 1]}),
        added(f"{GOLDEN} odd", ignoring, {"compared": [0, 1]}),
        added("demo", "--prompt Once", {"ids": ids_of("Once")}),
        added("demo", "--tokens 7", {"ids": lambda ids: ids.shape == (1, 7)}),
        added(
            "demo",
            "--tolerance 0.5",
            {"code": 0, "stdout": lambda found: found.startswith("the same within 0.5")},
        ),
        added("demo", "--json", {"stdout": lambda found: json.loads(found)["stages"] == [asdict(APART)]}),
    ],
    "bench": [
        Case("model", "", GOLDEN, {**golden, "stdout": f"{checks.GOLDEN}\n"}),
        Case(
            "--config",
            random,
            "--config one.json --random",
            {"network.layers": 1, "stdout": "one.json with random weights\n"},
        ),
        Case(
            "--random",
            "--config tiny.json",
            random,
            {"code": 0, "network.layers": 3, "stdout": "tiny.json with random weights\n"},
        ),
        added(
            random,
            "--layers 2",
            {"network.layers": 2, "stdout": "first 2 layers of tiny.json with random weights\n"},
        ),
        *opening("", "network"),
        adapter("", "network", stdout="demo with mine\n"),
        *opening(random, "network"),
        added("odd", ignoring, does | golden),
        added("--config odd.json --random", ignoring, does),
        added("", "--prompt-tokens 7", {"plan.prompt_tokens": 7}),
        added("", "--new-tokens 5", {"plan.new_tokens": 5}),
        added("", "--batch 3,2", {"plan.batch_sizes": (3, 2)}),
        added("", "--rounds 9", {"plan.rounds": 9}),
        added("", "--json", {"stdout": lambda found: json.loads(found)["speed"] == 1}),
    ],
}


def commands():
    """Every command's own parser, by name."""
    [choices] = [a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return choices


@pytest.mark.parametrize("command", commands())
def test_every_option_has_a_case(command):
    options = {
        action.option_strings[-1] if action.option_strings else action.dest
        for action in commands()[command]._actions
        if not isinstance(action, argparse._HelpAction)
    }
    assert {case.option for case in CASES[command]} == options


@pytest.fixture
def record(monkeypatch, tmp_path, run_command):
    """Run a command; return exit code and output, and what was opened, asked for, drawn and written."""
    from matplotlib.colors import to_hex

    found: dict[str, Any] = {}
    networks: list[DeciLM] = []
    opens, computes, reads = DeciLM.__init__, DeciLM.__call__, adapted.read_adapter

    def open_network(self, *arguments, **options):
        opens(self, *arguments, **options)
        networks.append(self)

    def compute(self, input_ids, *arguments, **options):
        found["read"] = np.array(input_ids)
        return computes(self, input_ids, *arguments, **options)

    def read_adapter(folder, config):
        found.setdefault("adapters", []).append(Path(folder).name)
        return reads(folder, config)

    def stream(self, prompt, *, totals, **options):
        found.update({f"stream.{name}": value for name, value in {"prompt": prompt, **options}.items()})
        return iter([" and on"])

    def compare(first, second, ids, observers):
        found.update({"compared": [networks.index(first), networks.index(second)], "ids": np.array(ids)})
        return [APART]

    def measure(model, plan):
        found.update({"measured": networks.index(model), **{f"plan.{k}": v for k, v in asdict(plan).items()}})

    def drawing(name):
        signature = inspect.signature(getattr(plots, name))

        def draw(*arguments, **options):
            given = signature.bind(*arguments, **options).arguments
            given = {key: value for key, value in given.items() if key not in ("ax", "axes")}
            found.update({f"{name}.{key}": value for key, value in given.items()})

        return draw

    def save_figure(figure, path):
        found.update(background=to_hex(figure.get_facecolor()), title=figure.get_suptitle())
        found.setdefault("saved", []).append(str(path))

    monkeypatch.setattr(DeciLM, "__init__", open_network)
    monkeypatch.setattr(DeciLM, "__call__", compute)
    monkeypatch.setattr(adapted, "read_adapter", read_adapter)
    monkeypatch.setattr(minidecilm.LanguageModel, "stream", stream)
    monkeypatch.setattr(compare_command, "compare", compare)
    monkeypatch.setattr("minidecilm.cli.bench.find_fault", lambda *arguments: None)
    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "probe", lambda *arguments: None)
    monkeypatch.setattr(bench, "report", lambda *arguments: {"speed": 1})
    monkeypatch.setattr("minidecilm.cli.bench.report_text", lambda facts, title: title)
    for name in DRAWN:
        monkeypatch.setattr(plots, name, drawing(name))
    monkeypatch.setattr(plots, "save_figure", save_figure)
    monkeypatch.setattr(
        plots, "save_numbers", lambda figure, path: found.setdefault("saved", []).append(str(path))
    )

    def record(command: str, arguments: str) -> dict[str, Any]:
        found.clear()
        networks.clear()
        folder = tmp_path / f"run {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        for name, values in FILES.items():
            (folder / name).write_text(json.dumps(values))
        (folder / "odd").mkdir()  # a checkpoint with a key that is not known
        for file in checks.GOLDEN.iterdir():
            (folder / "odd" / file.name).symlink_to(file.resolve())
        (folder / "odd" / "config.json").unlink()
        known = json.loads((checks.GOLDEN / "config.json").read_text())
        (folder / "odd" / "config.json").write_text(json.dumps(known | {"odd": 1}))
        for name in ADAPTERS:
            config = open_checkpoint(
                checks.GOLDEN if name == "golden" else minidecilm.catalog.DEMO_FOLDER
            ).config
            write_adapter(folder / name, low_rank(config, r"layers\.0\..*q_proj$"))
        found["code"], found["stdout"], _ = run_command(command, *shlex.split(arguments))
        for number, model in enumerate(networks, 1):
            facts = {name: str(getattr(model, name)) for name in ("dtype", "rope_policy", "kv_cache")}
            facts |= {"backend": model.backend.name, "layers": len(model.config.layers)}
            facts |= {"vocabulary": model.config.vocab_size}
            weights = model.weights.values()
            facts |= {"adapted": sum(isinstance(weight, adapted.AdaptedWeight) for weight in weights)}
            facts |= {"weights": str(model.weights["model.layers.0.mlp.up_proj.weight"].dtype)}
            found.update({f"network{'' if number == 1 else f' {number}'}.{k}": v for k, v in facts.items()})
        new = sorted(path for path in folder.iterdir() if path.name not in (*FILES, *ADAPTERS, "odd"))
        found["files"] = [path.name for path in new]
        found["inside"] = sorted(file.name for path in new if path.is_dir() for file in path.iterdir())
        for file in (path / "model.gguf" for path in new if (path / "model.gguf").exists()):
            found["types"] = Counter(tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors)
        for checkpoint in (open_checkpoint(path) for path in new if (path / "config.json").exists()):
            config = checkpoint.config
            written = {"layers": len(config.layers), "vocabulary": config.vocab_size}
            written |= {"kv_heads": config.num_key_value_heads_per_layer, "factor": config.rope_factor}
            written |= asdict(checkpoint.scheme) if checkpoint.scheme else {}
            found.update({f"written.{name}": value for name, value in written.items()})
        return dict(found)

    return record


def same(one, two):
    """Equal, arrays included."""
    arrays = isinstance(one, np.ndarray) or isinstance(two, np.ndarray)
    return np.array_equal(one, two) if arrays else one == two


WITHOUT: dict[tuple[str, str], dict[str, Any]] = {}  # many cases begin with the same


@pytest.mark.parametrize(
    ("command", "case"),
    [pytest.param(name, case, id=f"{name}/{case.option}") for name in CASES for case in CASES[name]],
)
def test_an_option_reaches_what_it_names(command, case, record):
    key = command, case.without
    before = WITHOUT[key] = WITHOUT[key] if key in WITHOUT else record(*key)
    after = record(command, case.given)
    assert after["code"] != 2
    for name, expected in case.differs.items():
        assert not same(before.get(name), after.get(name)), f"{name} is as it was"
        fits = expected(after[name]) if callable(expected) else same(after.get(name), expected)
        assert fits, f"{name}: {after.get(name)}"
    if before["code"] != 2:  # else nothing was done without it
        changed = {name for name in before | after if not same(before.get(name), after.get(name))}
        assert changed == set(case.differs)
