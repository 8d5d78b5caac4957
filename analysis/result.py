"""Measured numbers as JSON files, each with what it was measured on."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minidecilm.bench.machine import cpu_model
from minidecilm.files import replacing

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write NAME.json, whole or not at all, with the CPU and versions added under "machine"."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"cpu": cpu_model(), "python": platform.python_version(), "numpy": version("numpy")}
    path = folder / f"{name}.json"
    with replacing(path) as file:
        file.write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n", encoding="utf-8")
    return path
