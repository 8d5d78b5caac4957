"""The machine as the operating system describes it: processor, memory, and what this process takes of it."""

import os
import platform
import sys
from pathlib import Path

_STATUS, _MEMINFO, _CPUINFO = (Path("/proc", name) for name in ("self/status", "meminfo", "cpuinfo"))
_CACHES, _GROUP = Path("/sys/devices/system/cpu/cpu0/cache"), Path("/sys/fs/cgroup")


def cpu_model() -> str:
    """Name of the processor, or of its architecture where the system tells no more."""
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_level_cache_bytes() -> int | None:
    """Size of the largest cache of the first core; None where the system does not tell."""
    sizes = [_read_text(file) for file in _CACHES.glob("index*/size")]
    return max((int(size[:-1]) * 1024 for size in sizes if size.endswith("K")), default=None)


def available_memory_bytes() -> int | None:
    """Bytes that can still be allocated without swapping, as Linux estimates them; None elsewhere.

    The limit of a container counts too.
    """
    system = _kilobytes(_MEMINFO).get("MemAvailable")
    if system is None:
        return None
    limit, used = _read_text(_GROUP / "memory.max"), _read_text(_GROUP / "memory.current")
    if not (limit.isdigit() and used.isdigit()):
        return system
    statistics = dict(line.split() for line in _read_text(_GROUP / "memory.stat").splitlines())
    dropped_on_demand = int(statistics.get("inactive_file", 0))  # pages of files not read lately
    return min(system, int(limit) - int(used) + dropped_on_demand)


def process_memory() -> dict[str, int]:
    """Bytes of this process in memory: ``peak``, the most it ever held at once.

    On Linux also what it holds now: ``anonymous``, its own, and ``mapped``, pages of files such as
    memory-mapped weights, which the system can drop at any time.
    """
    status = _kilobytes(_STATUS)
    if "VmHWM" in status:
        return {"peak": status["VmHWM"], "anonymous": status["RssAnon"], "mapped": status["RssFile"]}
    if sys.platform == "win32":
        return {}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # what getrusage counts in differs between systems
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def _kilobytes(path: Path) -> dict[str, int]:
    """Read the lines ``name: number kB`` of a file, as bytes."""
    lines = (line.partition(":") for line in _read_text(path).splitlines())
    return {name: int(value.split()[0]) * 1024 for name, _, value in lines if value.endswith(" kB")}


def _read_text(path: Path) -> str:
    """Read a file of the system; nothing if it does not exist here."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
