"""Writes the trained weights and the tokenizer in the layout of the published DeciLM-6B checkpoint.

Run ``python -m training.export --work DIR --out minidecilm/demo``.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.model import DeciLM, Shape, load_published, published_names

SHARDS = 3
# The published shards hold 43 %, 43 % and 14 % of the bytes; the borders fall inside layers.
_SHARD_SHARE = 0.434
_LAYER_ORDER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
    "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip


def config(shape: Shape) -> dict[str, object]:
    """Return the model's configuration in the keys of the original ``config.json``."""
    return {
        "architectures": ["DeciLMForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": shape.initializer_range,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.context,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": len(shape.kv_heads),
        "num_key_value_heads_per_layer": list(shape.kv_heads),
        "pretraining_tp": 1,
        "rms_norm_eps": shape.rms_eps,
        "rope_scaling": {"type": "dynamic", "factor": shape.rope_factor},
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": shape.vocabulary,
    }


def published_order(layers: int) -> list[str]:
    """Return the names of all weights in the order of the published checkpoint."""
    inner = [f"model.layers.{n}.{part}.weight" for n in range(layers) for part in _LAYER_ORDER]
    return ["model.embed_tokens.weight", *inner, "model.norm.weight", "lm_head.weight"]


def split_shards(weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Fill one shard after the other, each up to the published share of all bytes."""
    limit = _SHARD_SHARE * sum(weight.nbytes for weight in weights.values())
    shards: list[dict[str, Tensor]] = [{}]
    for name, weight in weights.items():
        if sum(kept.nbytes for kept in shards[-1].values()) + weight.nbytes > limit:
            shards.append({})
        shards[-1][name] = weight
    if len(shards) != SHARDS:
        raise RuntimeError(f"the weights fell into {len(shards)} shards, not {SHARDS}")
    return shards


def export(model: DeciLM, work: Path, out: Path) -> None:
    """Write config, bfloat16 shards, index and tokenizer; every file appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    named = published_names(model)
    order = published_order(len(model.shape.kv_heads))
    weights = {name: named[name].to("cpu", torch.bfloat16).contiguous() for name in order}
    written: list[Path] = []

    def temporary(name: str) -> Path:
        written.append(out / f"{name}.tmp")
        return written[-1]

    weight_map: dict[str, str] = {}
    for number, shard in enumerate(split_shards(weights), start=1):
        file = f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
        weight_map |= dict.fromkeys(shard, file)
        save_file(shard, temporary(file), metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(w.nbytes for w in weights.values())}, "weight_map": weight_map}
    temporary("model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    temporary("config.json").write_text(json.dumps(config(model.shape), indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(work / name, temporary(name))
    for path in written:
        path.chmod(0o644)
        path.replace(path.with_suffix(""))


def load_exported(folder: Path) -> DeciLM:
    """Load an exported model, its bfloat16 weights widened to float32."""
    model = DeciLM(Shape())
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("model-*.safetensors")):
        weights |= load_file(path)
    load_published(model, weights)
    return model.eval()


def main() -> None:
    """Export the checkpoint of a training run."""
    parser = argparse.ArgumentParser(description="Export the trained model.")
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    arguments = parser.parse_args()
    model = DeciLM(Shape())
    saved = torch.load(arguments.work / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    export(model, arguments.work, arguments.out)


if __name__ == "__main__":
    main()
