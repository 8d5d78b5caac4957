"""Records of devices: every number has its source, and a file of one's own is read or refused."""

import copy
import json
import os
from urllib.parse import urlsplit

import pytest

from minidecilm import costs
from minidecilm.costs import devices
from minidecilm.errors import CheckpointError, ConfigError

DESKTOP = {
    "sources": {"bench": {"title": "minidecilm bench", "date": "2026-11-24"}},
    "devices": {
        "Desktop": {
            "title": "A desktop",
            "memory_bytes": {"value": 32_000_000_000, "source": "bench"},
            "bytes_per_second": {"value": 50e9, "source": "bench"},
            "flops_per_second": {"float32": {"value": 600_000_000_000, "source": "bench"}},
        }
    },
}


@pytest.fixture
def write(tmp_path):
    def to_file(values):
        path = tmp_path / "devices.json"
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        return path

    return to_file


@pytest.mark.parametrize("name", costs.DEVICE_NAMES)
def test_every_number_has_a_source(name):
    device = costs.device(name)
    rates = {f"flops_per_second.{dtype}" for dtype in device.flops_per_second}
    assert set(device.sources) == {"memory_bytes", "bytes_per_second", *rates}
    for source in device.sources.values():
        assert source.title
        if source.url is None:
            assert source.title.startswith(("Measured by this project", "MemTotal"))
        else:
            assert urlsplit(source.url).netloc
    assert min(device.memory_bytes, device.bytes_per_second, *device.flops_per_second.values()) > 0


def test_datasheet_figures_are_dense():
    """What the A10's datasheet says without sparsity; int8 is twice as fast as bfloat16, not four times."""
    a10 = costs.device("A10")
    assert (a10.memory_bytes, a10.bytes_per_second) == (24e9, 600e9)
    assert (a10.flops_per_second["float32"], a10.flops_per_second["bfloat16"]) == (31.2e12, 125e12)
    for name in ("a10", "a100-40gb", "a100-80gb", "h100", "h200"):
        rates = costs.device(name).flops_per_second
        assert rates["int8"] / rates["bfloat16"] == pytest.approx(2, rel=1e-3)


def test_the_fastest_arithmetic_loses_nothing():
    emerald = costs.device("cpu-emerald-rapids")
    rates = emerald.flops_per_second
    assert emerald.fastest_flops_per_second("float32") == rates["float32"]
    # bfloat16 products take twice as long there as those of values widened to float32
    assert emerald.fastest_flops_per_second("bfloat16") == rates["float32"] > rates["bfloat16"]
    assert emerald.fastest_flops_per_second("int4") == rates["int8"]
    with pytest.raises(ValueError, match="cpu-emerald-rapids: no arithmetic for 'float64'"):
        emerald.fastest_flops_per_second("float64")


def test_a_file_of_ones_own(write):
    path = write(DESKTOP)
    desktop = costs.device("desktop", path)
    assert desktop == costs.read_devices(path)["desktop"]
    assert (desktop.memory_bytes, desktop.bytes_per_second) == (32_000_000_000, 50e9)
    assert desktop.flops_per_second == {"float32": 600e9}
    assert desktop.sources["flops_per_second.float32"] == costs.Source("minidecilm bench", "2026-11-24")


def test_the_example_of_the_documentation_is_read(write):
    example = devices.__doc__[devices.__doc__.index("    {") : devices.__doc__.rindex("}") + 1]
    assert costs.device("desktop", write(example)).memory_bytes == 32_000_000_000


def test_unknown_names_are_refused_with_the_choice(write):
    with pytest.raises(ConfigError, match="no device 'a11': choose from a10, a100-40gb"):
        costs.device("a11")
    with pytest.raises(ConfigError, match=r"devices\.json: no device 'a10': choose from desktop"):
        costs.device("a10", write(DESKTOP))


DELETE = object()
WRONG = [
    ("sources", DELETE, "missing key 'sources'"),
    ("sources", {}, "sources: expected an object that is not empty"),
    ("comment", "mine", "unknown key 'comment'"),
    ("devices", [], "devices: expected an object"),
    ("devices.Desktop", None, "devices.desktop: expected an object, found None"),
    ("devices.Desktop.title", 3, "devices.desktop.title: expected a text, found 3"),
    ("devices.Desktop.memory", {}, "devices.desktop: unknown key 'memory'"),
    ("devices.Desktop.memory_bytes", 32, "devices.desktop.memory_bytes: expected an object, found 32"),
    ("devices.Desktop.memory_bytes.value", 3.2e10, "memory_bytes.value: expected an integer"),
    ("devices.Desktop.memory_bytes.source", DELETE, "memory_bytes: missing key 'source'"),
    ("devices.Desktop.memory_bytes.source", "rumour", "expected a key of sources, found 'rumour'"),
    ("devices.Desktop.bytes_per_second.value", 0, "bytes_per_second.value: expected a number above 0"),
    ("devices.Desktop.bytes_per_second.value", True, "expected a number above 0, found True"),
    ("devices.Desktop.bytes_per_second.value", "50 GB/s", "expected a number above 0"),
    ("devices.Desktop.bytes_per_second.value", 10**400, "expected a number above 0"),
    ("devices.Desktop.flops_per_second", {}, "flops_per_second: expected an object that is not empty"),
    ("devices.Desktop.flops_per_second.fp32", {}, "expected float64 or float32 or .*, found 'fp32'"),
    ("sources.bench.date", "yesterday", "sources.bench.date: expected YYYY-MM-DD, found 'yesterday'"),
    ("sources.bench.date", DELETE, "sources.bench: missing key 'date'"),
    ("sources.bench.title", "", "sources.bench.title: expected a text"),
    ("sources.bench.url", "file:///etc/passwd", "sources.bench.url: expected https://"),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_what_is_wrong_is_named_with_its_place(write, place, value, message):
    values = copy.deepcopy(DESKTOP)
    *parents, key = place.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    if value is DELETE:
        del inner[key]
    else:
        inner[key] = value
    with pytest.raises(ConfigError, match=message) as caught:
        costs.read_devices(write(values))
    assert str(caught.value).startswith(str(write(values)))
    assert len(str(caught.value).splitlines()) == 1


def test_json_is_strict_and_bounded(write):
    with pytest.raises(ConfigError, match="stands twice"):
        costs.read_devices(write('{"sources": {}, "sources": {}}'))
    with pytest.raises(ConfigError, match="NaN is not a JSON number"):
        costs.read_devices(write('{"sources": NaN}'))
    with pytest.raises(ConfigError, match="larger than 1,048,576 bytes"):
        costs.read_devices(write(" " * (1 << 20) + "{}"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="expected a file"):
        costs.read_devices(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        costs.read_devices(tmp_path / "none.json")
