"""Store adapters that PEFT saved, and the logits that it computes with each, in float64.

Run from the repository root with torch, transformers and peft installed:
    python tests/golden/make_adapters.py
"""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

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


def shaken(model):
    """Give every trainable weight values that change the logits: PEFT begins with B = 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                weight += noise * (0.5 * weight.abs() if "magnitude" in name else 0.2)


def main():
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=48,
        hidden_size=16,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        num_hidden_layers=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    base = LlamaForCausalLM(config).float().state_dict()
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "base").mkdir(parents=True)
    save_file({name: weight.contiguous() for name, weight in base.items()}, FOLDER / "base/model.safetensors")
    keys = ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    keys += ("num_hidden_layers", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings")
    written = (
        {"architectures": ["LlamaForCausalLM"]}
        | {key: getattr(config, key) for key in keys}
        | {"torch_dtype": "float32"}
    )
    (FOLDER / "base/config.json").write_text(json.dumps(written, indent=2) + "\n")

    ids = torch.randint(3, 48, (2, 12), generator=torch.Generator().manual_seed(3))
    golden = {"ids": ids.numpy()}
    for name, options in {"base": None, **ADAPTERS}.items():
        model = LlamaForCausalLM(config)
        model.load_state_dict(base)
        if options:
            model = peft.get_peft_model(model.float(), peft.LoraConfig(task_type="CAUSAL_LM", **options))
            shaken(model)
            model.save_pretrained(FOLDER / name)
            (FOLDER / name / "README.md").unlink()
        with torch.no_grad():
            golden[name] = model.double().eval()(ids).logits.numpy()
    golden["versions"] = np.array(
        [f"{library.__name__} {library.__version__}" for library in (torch, transformers, peft)]
    )
    np.savez_compressed(FOLDER / "golden.npz", **golden)


if __name__ == "__main__":
    main()
