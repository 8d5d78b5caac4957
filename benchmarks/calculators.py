"""What two well-known calculators answer for the KV cache of DeciLM-6b, beside the true bytes.

Both are installed, and run, in a virtual environment of their own:

    python -m benchmarks.calculators --work /tmp/calculators
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, table, write_result
from minidecilm import costs, preset

CONTEXT = 4096
REQUIREMENTS = ("hf-mem==0.5.6", "llm-analysis==0.2.2")
LINKS = {
    "hf-mem": "https://github.com/alvarobartt/hf-mem",
    "llm-analysis": "https://github.com/cli99/llm-analysis",
}

# Run by the calculators' own Python, which lacks minidecilm: folder of config.json, context -> bytes.
ASK = """
import json, sys
from importlib.metadata import version
from pathlib import Path
folder, context = Path(sys.argv[1]), int(sys.argv[2])
config = json.loads((folder / "config.json").read_text())

from hf_mem.safetensors.kv_cache import compute_safetensors_kv_cache_size
hf_mem = compute_safetensors_kv_cache_size(config, "BF16", context)

from llm_analysis.analysis import LLMAnalysis
from llm_analysis.config import get_gpu_config_by_name, get_model_config_from_hf
model = get_model_config_from_hf(str(folder))
analysis = LLMAnalysis(model, get_gpu_config_by_name("a100-sxm-40gb"))
per_layer = analysis.get_memory_kv_cache_per_layer(1, context, kv_cache_dtype_bytes=2)

answers = {"hf-mem": hf_mem, "llm-analysis": int(per_layer * model.num_layers)}
print(json.dumps({name: {"version": version(name), "bytes": answers[name]} for name in answers}))
"""

PAGE = """\
# KV-cache calculators and DeciLM-6b

Made by `python -m benchmarks.calculators`, which installs and runs them: bytes of the bfloat16 cache of one
row of {context:,} tokens, for the `config.json` of DeciLM-6b. It gives `num_key_value_heads_per_layer` and no
`num_key_value_heads`; `model_type` is "llama", as in re-saved copies, because llm-analysis reads the file
with transformers, which knows no other name for it.

{answers}
Both read one number of KV heads for all layers. Finding none, they take that of the query heads, so they
answer for multi-head attention.
"""


def published_config() -> dict[str, Any]:
    """Keys of the published config.json, and a name that transformers knows."""
    absent = ("head_dim", "rope_theta")
    written = preset("decilm-6b").to_dict()
    return {key: value for key, value in written.items() if key not in absent} | {"model_type": "llama"}


def ask(work: Path) -> dict[str, dict[str, Any]]:
    """Install the calculators unless they are there; return their answers."""
    python = work / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    (work / "config.json").write_text(json.dumps(published_config(), indent=2))
    command = [python, "-c", ASK, str(work), str(CONTEXT)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def page(result: dict[str, Any]) -> str:
    """Fill in the page."""
    true = result["true_bytes"]
    rows = [
        [f"[{name}]({LINKS[name]}) {found['version']}", f"{found['bytes']:,}", f"{found['bytes'] / true:.2f}"]
        for name, found in result["calculators"].items()
    ]
    rows.append(["`minidecilm.costs.kv_cache_bytes`", f"{true:,}", "1.00"])
    return PAGE.format(context=CONTEXT, answers=table(["", "bytes", "times the true size"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calculators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for their environment")
    work = parser.parse_args().work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    result = {
        "what": f"bytes of DeciLM-6b's bfloat16 KV cache, one row of {CONTEXT} tokens",
        "true_bytes": costs.kv_cache_bytes(preset("decilm-6b"), 1, CONTEXT),
        "calculators": ask(work),
    }
    write_result(RESULTS / "calculators.json", result)
    (RESULTS / "calculators.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
