"""Store adapters that PEFT saved, and the logits that it computes with each, in float64.

Run from the repository root with torch, transformers and peft installed:
    PYTHONHASHSEED=0 python tests/golden/make_adapters.py
"""

import json
import shutil
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import peft
import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

FOLDER = Path(__file__).parent / "adapters"
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "plain": {"r": 3, "lora_alpha": 5, "target_modules": LINEAR},
    "rslora": {
        "r": 4,
        "lora_alpha": 2,
        "use_rslora": True,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
    },
    "patterns": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": LINEAR,
        "rank_pattern": {"k_proj": 3, r"layers\.1\.mlp\..*": 1},
        "alpha_pattern": {"model.layers.0.self_attn.k_proj": 7, "up_proj": 1, r".*\.up_proj": 90},
    },
    "dora": {"r": 2, "lora_alpha": 6, "use_dora": True, "target_modules": LINEAR},
    "saved": {
        "r": 2,
        "lora_alpha": 3,
        "target_modules": ["k_proj", "lm_head"],
        "modules_to_save": ["embed_tokens", "norm"],
    },
    "head": {"r": 2, "target_modules": ["o_proj"], "modules_to_save": ["lm_head"]},
}
TIED = "head"  # its model's head is the embedding, and gets weights of its own by it


def shaken(model):
    """Give every trainable weight values that change the logits: PEFT begins with B = 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight += noise * (0.5 * weight.abs() if "magnitude" in name else 0.2)


def fresh(config, weights):
    model = LlamaForCausalLM(config)
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model


def in_float64(model, ids):
    """Logits with every cast to float32 inside transformers lifted to float64."""
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, LlamaRotaryEmbedding):
            D = 2 * len(module.inv_freq)
            module.inv_freq = 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    with (
        torch.no_grad(),
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(torch, "float", torch.float64),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        return model(ids).logits.numpy()


def make_base(name, tied):
    """Write a small model; return its config and weights."""
    torch.manual_seed(1)
    sizes = {
        "vocab_size": 48,
        "hidden_size": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
    }
    config = LlamaConfig(**sizes, initializer_range=0.2, attn_implementation="eager")
    weights = LlamaForCausalLM(config).float().state_dict()
    if tied:
        del weights["lm_head.weight"]
    (FOLDER / name).mkdir(parents=True)
    save_file(
        {key: value.clone() for key, value in weights.items()},
        FOLDER / name / "model.safetensors",
        {"format": "pt"},
    )
    written = {"architectures": ["LlamaForCausalLM"], **sizes, "torch_dtype": "float32"}
    (FOLDER / name / "config.json").write_text(json.dumps(written, indent=2) + "\n")
    return config, weights


def main():
    warnings.simplefilter("ignore")
    shutil.rmtree(FOLDER, ignore_errors=True)
    bases = {name: make_base(name, tied) for name, tied in (("base", False), ("tied_base", True))}
    ids = torch.randint(3, 48, (2, 12), generator=torch.Generator().manual_seed(3))
    golden = {"ids": ids.numpy()}
    for name, base in bases.items():
        golden[name] = in_float64(fresh(*base), ids)
    for name, options in ADAPTERS.items():
        base = bases["tied_base" if name == TIED else "base"]
        trained = peft.get_peft_model(fresh(*base), peft.LoraConfig(task_type="CAUSAL_LM", **options))
        shaken(trained)
        trained.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink()
        # As PEFT itself reads it: saving has sorted the patterns, of which the first that fits counts.
        golden[name] = in_float64(peft.PeftModel.from_pretrained(fresh(*base), FOLDER / name), ids)
    golden["versions"] = np.array(
        [f"{library.__name__} {library.__version__}" for library in (torch, transformers, peft)]
    )
    np.savez_compressed(FOLDER / "golden.npz", **golden)


if __name__ == "__main__":
    main()
