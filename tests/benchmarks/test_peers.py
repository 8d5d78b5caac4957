"""The race beside PyTorch and llama.cpp, where neither is installed: its rules, and the pages made of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import common, first_use, limits, tables
from benchmarks.common import RESULTS, cpu_folders, cpu_slug, cpu_title, read_result, spread
from benchmarks.peers import peaks, runner
from benchmarks.peers.contestants import ATTENTION_REFERENCE, COMPILED, ENTRIES, GROUPS, REFERENCE
from benchmarks.peers.goals import BANDWIDTH, BEST_PEER, GOALS, LIMIT, Goal
from benchmarks.peers.play import prefill_seconds
from benchmarks.peers.scenarios import ATTENDING, FEEDING, PREFILL, SCENARIOS, Feeding
from minidecilm import costs
from minidecilm.backends import create_backend
from tests.configs import SMALL

every_cpu = pytest.mark.parametrize("folder", cpu_folders(), ids=lambda folder: folder.name)


def race(seconds, operations=0, cache_bytes=0, read=(100.0, 200.0), compute=(10.0, 10.0)):
    return {
        "operations": operations,
        "cache_bytes": cache_bytes,
        "contestants": {name: {"seconds": spread(times)} for name, times in seconds.items()},
        "limits": {"bytes_per_second": spread(read), "operations_per_second": spread(compute)},
    }


TIMES = {
    "minidecilm int4": [2.0, 1.0],
    "llama.cpp Q4_0": [3.0, 3.0],
    "llama.cpp Q4_K_M": [8.0, 2.0],
    "PyTorch f32": [2.5],  # far behind the others, were it not
}


def judged(beside, *, flags=(), streamed=100, with_vnni=None, **options):
    goal = Goal("int4", PREFILL, "minidecilm int4", beside, 1.5, with_vnni)
    return goal.judge(race(TIMES, **options), streamed, flags)


def test_goals_beside_peers():
    """The fastest by its median is laid beside, round by round."""
    assert judged("llama.cpp Q4_K_M")["ratio"]["rounds"] == [4, 2]
    assert judged("llama.cpp")["ratio"]["rounds"] == [1.5, 3]
    assert judged(BEST_PEER)["ratio"]["rounds"] == [1.25]  # it was asked once
    assert judged("llama.cpp")["reached"]
    assert not judged(BEST_PEER)["reached"]


def test_goals_beside_limits():
    assert judged(BANDWIDTH, cache_bytes=100)["ratio"]["rounds"] == [0.5, 0.5]  # weights only
    assert judged(LIMIT, cache_bytes=100)["ratio"]["rounds"] == [1.0, 1.0]
    assert judged(LIMIT, operations=15)["ratio"]["rounds"] == [0.75, 1.5]
    assert judged(LIMIT, operations=15, streamed=0)["ratio"]["median"] == 1.125


@pytest.mark.parametrize(
    ("flags", "wanted"), [((), 1.5), (("avx2",), 1.5), (("avx_vnni",), 2.5), (("avx2", "avx512_vnni"), 2.5)]
)
def test_more_is_wanted_with_vnni(flags, wanted):
    goal = judged("llama.cpp", flags=flags, with_vnni=2.5)
    assert (goal["at_least"], goal["ratio"]["max"]) == (wanted, 3.0)
    assert goal["reached"] == (wanted == 1.5)  # by the median
    assert judged("llama.cpp", flags=flags)["at_least"] == 1.5


def test_every_goal_can_be_judged():
    for goal in GOALS:
        group = GROUPS[goal.group]
        assert goal.scenario in group.scenarios
        assert goal.ours in group.entries
        peers = [*group.entries, *(group.guests if goal.scenario == PREFILL else ())]
        if goal.beside not in (BANDWIDTH, LIMIT, BEST_PEER):
            assert any(name.startswith(goal.beside) for name in peers), goal


def test_groups_hold_what_they_are_compared_with():
    assert REFERENCE in next(iter(GROUPS.values())).entries  # in the first of all
    assert ATTENTION_REFERENCE in GROUPS["attention"].entries
    assert {group.arithmetic for group in GROUPS.values()} == set(peaks.PEAKS)
    for name, group in GROUPS.items():
        assert (name in COMPILED) == (group.scenarios is FEEDING)
        assert name not in COMPILED or COMPILED[name] in group.entries
        assert set(group.guests) <= set(ENTRIES)


def test_needs_of_a_call():
    feeding = Feeding(batch=3, past=8, tokens=1, steps=5)
    needs = feeding.needs(SMALL)
    assert needs["operations"] == costs.forward_flops(SMALL, 3, 1, 10)
    assert needs["cache_bytes"] == costs.kv_cache_bytes(SMALL, 3, 11, "float32")
    attention = ATTENDING["attention, 512 tokens, causal"].needs(SMALL)
    assert attention["operations"] == 4 * 32 * 128 * (512 * 513 // 2)
    assert ATTENDING["attention, 1 token on 4096"].needs(SMALL)["operations"] == 4 * 32 * 128 * 4096


class Runner(SimpleNamespace):
    """Stands in for a process: it answers what it was given, and notes how often it was asked."""

    def ask(self, scenario, output=None):
        self.asked += 1
        if output is not None:
            np.save(output, np.full(4, self.result, np.float32))
        return self.seconds

    def cpu_seconds(self):
        return 0.0


def test_a_race(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_SETTLE_SECONDS", 0)
    monkeypatch.setattr(runner, "_QUIET_SHARE", np.inf)  # other tests disturb it
    monkeypatch.setattr(peaks, "bytes_per_second", lambda: 5.0)
    monkeypatch.setattr(peaks, "operations_per_second", {"int8": 7.0}.get)
    names = {"even": (1.0, 2.0), "slow": (3.9, 3.0), "far behind": (4.1, 2.0)}
    workers = [Runner(name=name, seconds=s, result=r, asked=0) for name, (s, r) in names.items()]
    found = runner.race(PREFILL, workers, "int8", "even", 3, tmp_path)
    assert [worker.asked for worker in workers] == [4, 4, 2]
    assert found["contestants"]["far behind"]["seconds"]["rounds"] == [4.1]
    assert found["contestants"]["slow"]["seconds"]["median"] == 3.9
    assert found["contestants"]["slow"]["relative_error"] == 0.5
    assert found["limits"]["operations_per_second"]["rounds"] == [7.0] * 3
    assert found["tokens_per_call"] == SCENARIOS[PREFILL].tokens_per_call
    # What results are compared with may be left from an earlier race.
    [late] = runner.race(PREFILL, workers[2:], "int8", "slow", 1, tmp_path)["contestants"].values()
    assert late["relative_error"] == pytest.approx(1 / 3)


def test_the_faster_guest_is_known_from_earlier_groups():
    races = {"float32": {PREFILL: race({"PyTorch f32": [2.0]})}, "bfloat16": {PREFILL: race(TIMES)}}
    assert prefill_seconds(races, "PyTorch f32") == 2.0
    assert prefill_seconds(races, "PyTorch bf16") == np.inf  # not raced


@pytest.mark.parametrize(
    ("name", "flags", "slug"),
    [
        ("AMD EPYC", "avx2 fma f16c", "amd-epyc-avx2"),
        ("INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.10GHz", "avx2 avx512f avx512_vnni", None),
        ("AMD Ryzen 9 7950X 16-Core Processor", "avx2 avx512f avx512_vnni avx512_bf16", None),
        ("Neoverse-N1", "", "neoverse-n1-aarch64"),
    ],
)
def test_folders_of_cpus(name, flags, slug, monkeypatch):
    monkeypatch.setattr(common.platform, "machine", lambda: "aarch64")
    expected = (
        slug
        or {
            "I": "intel-xeon-platinum-8581c-avx512-vnni",
            "A": "amd-ryzen-9-7950x-avx512-bf16",
        }[name[0]]
    )
    assert cpu_slug(name, flags.split()) == expected


def test_what_was_measured_lies_in_the_folder_of_its_cpu():
    assert cpu_folders(), "no CPU was measured"
    for file in RESULTS.glob("*/*.json"):
        result = json.loads(file.read_text())
        if "cpu_flags" in result:
            assert file.parent.name == cpu_slug(result["cpu"], result["cpu_flags"])


def test_the_clock_counts_every_product():
    clock, w = limits.Clock(), np.ones((5, 4), np.float32)
    backend = clock.watch(create_backend("numpy"))
    for rows in (1, 1, 3):
        assert (backend.linear(np.ones((2, rows, 4), np.float32), w) == 4).all()
    assert clock.products == {(80, 2 * 2 * 4 * 5): 2, (80, 2 * 6 * 4 * 5): 1}
    assert clock.seconds["linear"] > 0
    assert clock.seconds["attention"] == 0


@every_cpu
def test_pages_are_made_of_what_was_measured(folder):
    peers = read_result(folder, "peers")
    found = {
        "peers": tables.page(peers),
        "limits": limits.page(read_result(folder, "limits"), peers),
    }
    if timed := read_result(folder, "first_use"):
        found["first_use"] = first_use.page(timed)
    for name, page in found.items():
        assert cpu_title(peers) in page
        assert (folder / f"{name}.md").read_text(encoding="utf-8") == page


@every_cpu
def test_a_page_says_how_near_the_limit_was(folder):
    """By hand, from the figures that are stored."""
    peers = read_result(folder, "peers")
    race = peers["groups"]["int8"]["decode, batch 8"]
    limits = {name: rates["median"] for name, rates in race["limits"].items()}
    nbytes = peers["contestants"]["minidecilm int8"]["streamed_bytes"] + race["cache_bytes"]
    least = max(nbytes / limits["bytes_per_second"], race["operations"] / limits["operations_per_second"])
    share = least / race["contestants"]["minidecilm int8"]["seconds"]["median"]
    [row] = [row for row in tables.share_rows(peers) if row[0] == "minidecilm int8"]
    assert row[2] == f"{share:.0%}"


def test_tables_of_all_cpus_are_up_to_date():
    for name, text in {"race": tables.race(), "cpus": tables.kinds_measured()}.items():
        assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == text


def test_kinds_of_cpu_that_were_not_measured_are_named(monkeypatch):
    flags = ["avx2", "avx512f", "avx512_vnni"]
    monkeypatch.setattr(tables, "cpu_folders", lambda: ["one"])
    monkeypatch.setattr(tables, "read_result", lambda *_: {"cpu": "Some CPU", "cpu_flags": flags})
    rows = [line.strip("| ").split(" | ") for line in tables.kinds_measured().splitlines()[2:]]
    assert [kind for kind, where in rows if where == "Some CPU"] == ["AVX-512 with VNNI"]
    others = [where for _, where in rows if where != "Some CPU"]
    assert set(others) == {"not measured on such a CPU"}
    assert len(others) == len(common.KINDS) - 1


def test_the_head_weighs_less_in_more_layers():
    """8 bits of its 64 x 80 weights beside half as many of the others, scales left out."""
    few, more = (tables.head_share(config) for config in (SMALL, tables.preset("decilm-6b")))
    assert more < few
    assert more == pytest.approx(1 / (1 + 4.25 / 8.25 * (5_455_600_000 / 131_072_000)), rel=0.1)


def test_first_use_beside_its_goals():
    def seconds(first, later):
        return {"first": spread([first]), "later": spread([later])}

    result = {"seconds": {"int8": seconds(19.0, 0.9), "int4": seconds(19.0, 1.1), "a": seconds(21.0, 0.5)}}
    assert [row[-1] for row in first_use.rows(result)] == ["yes", "no", "no"]
