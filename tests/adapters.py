"""Adapters made for tests: a small model whose layers differ in shape, and folders as PEFT writes them."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minidecilm.config import Config, LayerConfig
from minidecilm.ops import Array
from minidecilm.weights.checkpoint_writer import write_checkpoint
from minidecilm.weights.safetensors_file import TensorSource

#: KV heads 4, 2, 1, 4: the shapes of lora_B of keys and values are those of one layer alone.
MODEL = Config(
    vocab_size=40,
    hidden_size=24,
    num_attention_heads=4,
    head_dim=6,
    layers=(LayerConfig(4, 36), LayerConfig(2, 36), LayerConfig(1, 28), LayerConfig(4, 36)),
    max_position_embeddings=64,
    rope_factor=2.0,
    torch_dtype="float32",
)
PREFIX = "base_model.model."
PLAIN = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": "all-linear", "bias": "none"}


def write_model(folder: Path, config: Config = MODEL, dtype: Any = np.float32) -> Path:
    """Write a checkpoint whose weights are large enough that every one of them counts."""
    generator = np.random.default_rng(5)
    sources = [
        TensorSource.from_array(name, (generator.normal(size=shape) * 0.25 + (len(shape) == 1)).astype(dtype))
        for name, shape in config.parameter_shapes().items()
    ]
    write_checkpoint(config, folder, sources)
    return folder


def low_rank(
    config: Config = MODEL,
    modules: str = r"_proj$",
    *,
    rank: int = 3,
    ranks: Mapping[str, int] | None = None,
    dora: bool = False,
    seed: int = 0,
) -> dict[str, Array]:
    """Make A and B of the matrices whose module fits; `ranks` are by the end of its name."""
    generator = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    head = {"lm_head.weight": (config.vocab_size, config.hidden_size)}
    for name, shape in (config.parameter_shapes() | head).items():
        module = name.removesuffix(".weight")
        if re.search(modules, module):
            r = next((r for end, r in (ranks or {}).items() if module.endswith(end)), rank)
            tensors[f"{PREFIX}{module}.lora_A.weight"] = generator.normal(size=(r, shape[1])) * 0.3
            tensors[f"{PREFIX}{module}.lora_B.weight"] = generator.normal(size=(shape[0], r)) * 0.3
            if dora:
                tensors[f"{PREFIX}{module}.lora_magnitude_vector"] = generator.uniform(0.5, 2, shape[0])
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def write_adapter(folder: Path, tensors: Mapping[str, Array], **values: Any) -> Path:
    """Write a folder as PEFT does; `values` change its configuration, and None removes a key."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {key: value for key, value in (PLAIN | values).items() if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(written))
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    return folder


def merged_by_hand(
    weights: Mapping[str, Array], tensors: Mapping[str, Array], values: Mapping[str, Any]
) -> dict[str, Array]:
    """Merge with NumPy in float64, from the definitions alone."""
    merged = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    for key, array in tensors.items():
        name = key.removeprefix(PREFIX).replace(".base_layer", "")
        if ".lora_" not in name:
            merged[name] = array.astype(np.float64)
    for key, array in tensors.items():
        if key.endswith(".lora_A.weight"):
            module = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            A, B = array.astype(np.float64), tensors[f"{PREFIX}{module}.lora_B.weight"].astype(np.float64)
            alpha = next(
                (alpha for end, alpha in values.get("alpha_pattern", {}).items() if module.endswith(end)),
                values["lora_alpha"],
            )
            scale = alpha / (math.sqrt(len(A)) if values.get("use_rslora") else len(A))
            merged[f"{module}.weight"] = merged[f"{module}.weight"] + scale * B @ A
            if values.get("use_dora"):
                magnitude = tensors[f"{PREFIX}{module}.lora_magnitude_vector"].astype(np.float64)
                rows = merged[f"{module}.weight"]
                merged[f"{module}.weight"] = magnitude[:, None] * rows / np.linalg.norm(rows, axis=1)[:, None]
    return merged
