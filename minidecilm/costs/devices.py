"""Limits of machines: memory, bytes and operations per second, each with where the number comes from.

A file of devices is a JSON object with two keys. ``sources`` names documents and measurements; ``devices``
holds records whose every number names one of them::

    {
      "sources": {
        "bench": {"title": "minidecilm bench on my desktop", "date": "2026-11-24"}
      },
      "devices": {
        "desktop": {
          "title": "My desktop, 8 threads",
          "memory_bytes": {"value": 32000000000, "source": "bench"},
          "bytes_per_second": {"value": 50e9, "source": "bench"},
          "flops_per_second": {"float32": {"value": 600e9, "source": "bench"}}
        }
      }
    }

A source has a title and the date of the measurement, or on which the page was read; where there is one, the
``url`` of that page, and as ``quotes`` the url of the maker's document whose figures the page gives. In
makers' figures a GB is taken as 10^9 bytes, and arithmetic is that of dense matrices, a multiplication and an
addition being two operations.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidecilm.errors import ConfigError
from minidecilm.files import brief, read_object, require_file

MAX_DEVICES_BYTES = 1 << 20

# Arithmetic that multiplies weights, or keys and values, of a storage dtype: never of narrower floats than
# these. Codes are multiplied as integers, or widened first.
_ARITHMETIC = {
    "float64": ("float64",),
    "float32": ("float32", "float64"),
    "bfloat16": ("bfloat16", "float32"),
    "float16": ("float16", "float32"),
    "int8": ("int8", "bfloat16", "float16", "float32"),
    "int4": ("int8", "bfloat16", "float16", "float32"),
}
_ARITHMETICS = ("float64", "float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class Source:
    """Where a number comes from.

    Attributes
    ----------
    title : str
    date : str
        YYYY-MM-DD: of the measurement, or on which the page was read.
    url : str or None
        The page; None for a measurement that is not published.
    quotes : str or None
        The maker's document whose figures the page gives.
    """

    title: str
    date: str
    url: str | None = None
    quotes: str | None = None


@dataclass(frozen=True)
class Device:
    """What a machine allows at most.

    Attributes
    ----------
    name, title : str
        Short, and for people.
    memory_bytes : int
    bytes_per_second : float
        Read from memory.
    flops_per_second : mapping of str to float
        Additions and multiplications, by dtype: "float64", "float32", "bfloat16", "float16", "int8".
    sources : mapping of str to Source
        Of ``memory_bytes``, ``bytes_per_second``, and ``flops_per_second.DTYPE``.

    Examples
    --------
    >>> a10 = device("a10")
    >>> a10.memory_bytes, a10.bytes_per_second, a10.flops_per_second["bfloat16"]
    (24000000000, 600000000000.0, 125000000000000.0)
    >>> a10.sources["bytes_per_second"].date
    '2026-11-24'
    """

    name: str
    title: str
    memory_bytes: int
    bytes_per_second: float
    flops_per_second: Mapping[str, float]
    sources: Mapping[str, Source]

    def fastest_flops_per_second(self, storage: str) -> float:
        """Rate of the fastest arithmetic that loses nothing of what is stored so.

        Float values are multiplied in their own dtype or a wider one; codes as int8, or as any float.

        Raises
        ------
        ValueError
            If the device has no such arithmetic.

        Examples
        --------
        >>> device("a10").fastest_flops_per_second("float32")
        31200000000000.0
        """
        allowed = _ARITHMETIC.get(storage, ())
        rates = [rate for dtype, rate in self.flops_per_second.items() if dtype in allowed]
        if not rates:
            known = ", ".join(self.flops_per_second)
            raise ValueError(f"{self.name}: no arithmetic for {storage!r}; its record has {known}")
        return max(rates)


def device(name: str, path: str | Path | None = None) -> Device:
    """Return a device by its name, in any case.

    Parameters
    ----------
    name : str
        One of ``DEVICE_NAMES``, or a name in the file.
    path : str or Path, optional
        A file of your own, laid out as the head of this module shows; by default the package's.

    Raises
    ------
    ConfigError
        If there is no such device, or as :func:`read_devices`.
    CheckpointError, OSError
        If `path` is no file, or cannot be read.

    Examples
    --------
    >>> device("H100").title
    'NVIDIA H100 SXM, 80 GB'
    """
    devices = _BUNDLED if path is None else read_devices(path)
    if name.lower() not in devices:
        where = "" if path is None else f"{path}: "
        raise ConfigError(f"{where}no device {brief(name)}: choose from {', '.join(devices)}")
    return devices[name.lower()]


def read_devices(path: str | Path) -> dict[str, Device]:
    """Read a file of devices; its layout is shown at the head of this module.

    Raises
    ------
    ConfigError
        For anything missing, unknown, or of the wrong kind; the message says where.
    CheckpointError, OSError
        If `path` is no file, or cannot be read.
    """
    require_file(Path(path))
    values = read_object(Path(path), MAX_DEVICES_BYTES, ConfigError)
    try:
        _check_keys("", values, ("sources", "devices"))
        sources = {
            key: _read_source(f"sources.{key}", value)
            for key, value in _object("sources", values["sources"]).items()
        }
        return {
            name.lower(): _read_device(name.lower(), record, sources)
            for name, record in _object("devices", values["devices"]).items()
        }
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from None


def _read_source(where: str, values: Any) -> Source:
    _check_keys(where, values, ("title", "date"), ("url", "quotes"))
    for key, value in values.items():
        text = _text(f"{where}.{key}", value)
        if key in ("url", "quotes") and not text.startswith(("https://", "http://")):
            raise ConfigError(f"{where}.{key}: expected https://..., found {brief(text)}")
    try:
        datetime.date.fromisoformat(values["date"])
    except ValueError:
        raise ConfigError(f"{where}.date: expected YYYY-MM-DD, found {brief(values['date'])}") from None
    return Source(**values)


def _read_device(name: str, record: Any, sources: Mapping[str, Source]) -> Device:
    where = f"devices.{name}"
    _check_keys(where, record, ("title", "memory_bytes", "bytes_per_second", "flops_per_second"))
    title = _text(f"{where}.title", record["title"])
    rates = _object(f"{where}.flops_per_second", record["flops_per_second"])
    for dtype in rates:
        if dtype not in _ARITHMETICS:
            known = " or ".join(_ARITHMETICS)
            raise ConfigError(f"{where}.flops_per_second: expected {known}, found {brief(dtype)}")
    numbers = {key: record[key] for key in ("memory_bytes", "bytes_per_second")}
    numbers |= {f"flops_per_second.{dtype}": number for dtype, number in rates.items()}
    read = {key: _read_number(f"{where}.{key}", number, sources) for key, number in numbers.items()}
    (memory, _), (bandwidth, _), *flops = read.values()
    if not isinstance(memory, int):
        raise ConfigError(f"{where}.memory_bytes.value: expected an integer, found {brief(memory)}")
    flops_per_second = {dtype: float(rate) for dtype, (rate, _) in zip(rates, flops, strict=True)}
    origins = {key: source for key, (_, source) in read.items()}
    return Device(name, title, memory, float(bandwidth), flops_per_second, origins)


def _read_number(where: str, number: Any, sources: Mapping[str, Source]) -> tuple[int | float, Source]:
    _check_keys(where, number, ("value", "source"))
    value, source = number["value"], number["source"]
    if type(value) not in (int, float) or not 0 < value < 1e30:
        raise ConfigError(f"{where}.value: expected a number above 0, found {brief(value)}")
    if not isinstance(source, str) or source not in sources:
        raise ConfigError(f"{where}.source: expected a key of sources, found {brief(source)}")
    return value, sources[source]


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: expected a text, found {brief(value)}")
    return value


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{where}: expected an object that is not empty, found {brief(value)}")
    return value


def _check_keys(where: str, value: Any, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    where = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}expected an object, found {brief(value)}")
    for key in (*needed, *value):
        if key not in value or key not in (*needed, *optional):
            raise ConfigError(f"{where}{'missing' if key in needed else 'unknown'} key {brief(key)}")


_BUNDLED = read_devices(Path(__file__).with_name("devices.json"))

#: Devices that the package knows.
DEVICE_NAMES = tuple(_BUNDLED)
