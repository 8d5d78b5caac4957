"""What a figure was measured on: stored beside every result."""

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minidecilm.bench.machine import cpu_model
from minidecilm.files import replacing

RESULTS = Path(__file__).parent / "results"


def describe(*packages: str) -> dict[str, Any]:
    """CPU, system and versions."""
    return {
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def process_memory() -> dict[str, int]:
    """Bytes of this process from Linux' accounts: mapped file pages count as total, not as anonymous."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kinds = {"total": "VmRSS", "peak_total": "VmHWM", "anonymous": "RssAnon"}
    return {kind: int(lines[key].split()[0]) * 1024 for kind, key in kinds.items()}


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Store a result under today's date; what was there stays until all of it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dated = {"date": datetime.now(UTC).date().isoformat(), **result}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dated, indent=2) + "\n", encoding="utf-8")
