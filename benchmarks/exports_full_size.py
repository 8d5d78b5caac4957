"""How much memory it takes to merge and export a model of DeciLM-6b's size.

Its weights are random: 11.4 GB, written unless the folder has them. The folder's parent takes as much again.

    python -m benchmarks.exports_full_size --folder /tmp/decilm-6b-random
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import minidecilm
from benchmarks.common import RESULTS, describe, table, write_result
from minidecilm import Config, write_random_checkpoint

PAGE = """\
# Merging and exporting the size of DeciLM-6b

Random weights in the published layout, {read} of them. Each line is a process of its own; its memory is what
the peak lies above what the process held before the call, pages of mapped files included. The adapter has
rank {rank}, on all seven matrices of every layer: {adapter}, which are mapped once and in memory once.

{jobs}
"""

JOBS = {
    "merge": "merge_checkpoint(source, adapter, target)",
    "export --to llama": "export_checkpoint(source, target)",
    "export --to gguf": "export_checkpoint(source, target, 'gguf')",
    "export --to gguf --type Q4_0": "export_checkpoint(source, target, 'gguf', gguf_type='Q4_0')",
}
RANK = 16  # of the adapter that is merged

JOB = """
import json, sys
from pathlib import Path
from minidecilm import export_checkpoint
from minidecilm.bench.machine import process_memory
from minidecilm.weights.merge import merge_checkpoint
source, adapter, target = sys.argv[1:]
small = str(Path(target).with_name("small"))
export_checkpoint("{demo}", small, "gguf")  # imports and first calls
held = process_memory()
{job}
print(process_memory()["peak"] - held["anonymous"] - held["mapped"])
"""


def measure(source: Path) -> dict[str, Any]:
    """Merge and export a model of DeciLM-6b's size in fresh processes, and return what each took."""
    config = minidecilm.preset("decilm-6b")
    if not source.exists():
        write_random_checkpoint(config, source, progress=True)
    found = {}
    with tempfile.TemporaryDirectory(dir=source.parent) as temporary:
        folder = Path(temporary)
        _write_adapter(config, folder / "adapter")
        adapter_bytes = (folder / "adapter" / "adapter_model.safetensors").stat().st_size
        for name, job in JOBS.items():
            code = JOB.format(demo=minidecilm.catalog.DEMO_FOLDER, job=job)
            command = [sys.executable, "-c", code, source, folder / "adapter", folder / "target"]
            memory = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            written = sum(file.stat().st_size for file in (folder / "target").iterdir())
            found[name] = {"bytes": written, "memory": memory}
            for done in ("target", "small"):
                shutil.rmtree(folder / done)
    read = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    sizes = {"read": read, "rank": RANK, "adapter_bytes": adapter_bytes}
    return {"machine": describe("gguf"), **sizes, "jobs": found}


def _write_adapter(config: Config, folder: Path) -> None:
    """Random numbers for all matrices of every layer, as PEFT saves them."""
    generator, tensors = np.random.default_rng(0), {}
    for name, shape in config.parameter_shapes().items():
        if name.endswith("_proj.weight"):
            part = f"base_model.model.{name.removesuffix('weight')}"
            tensors[f"{part}lora_A.weight"] = generator.normal(0, 0.01, (RANK, shape[1])).astype(np.float32)
            tensors[f"{part}lora_B.weight"] = generator.normal(0, 0.01, (shape[0], RANK)).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def page(result: dict[str, Any]) -> str:
    """Fill in the page."""
    rows = [
        [f"`{name}`", f"{job['bytes'] / 1e9:.1f}", f"{job['memory'] / 1e6:.0f}"]
        for name, job in result["jobs"].items()
    ]
    return PAGE.format(
        read=f"{result['read'] / 1e9:.1f} GB",
        rank=result["rank"],
        adapter=f"{result['adapter_bytes'] / 1e6:.0f} MB",
        jobs=table(["command", "GB written", "memory (MB)"], rows),
    )


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the checkpoint is, or is to be written"
    )
    write_result(RESULTS / "exports_full_size.json", measure(parser.parse_args().folder))


if __name__ == "__main__":
    main()
