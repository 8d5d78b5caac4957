"""Store what transformers computes on checkpoints that `minidecilm export` wrote.

Its Llama casts to float32 inside RMSNorm, the rotary table and the softmax, whatever it is loaded in; here
these casts are lifted to float64, so that what is left is the network.

Run from the repository root with transformers, torch and peft installed:
    python tests/golden/make_export.py
"""

import hashlib
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from transformers.models.llama import modeling_llama

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from minidecilm import Config, LayerConfig, export_checkpoint, write_random_checkpoint  # noqa: E402
from minidecilm.catalog import DEMO_FOLDER  # noqa: E402
from tests.adapters import low_rank, write_adapter  # noqa: E402

FOLDER = Path(__file__).parent / "export"
PROMPT = [1, 452, 463, 261, 406]  # "Once upon a time" in the demo model's pieces
NEW_TOKENS = 60

# No size is a multiple of another where it need not be, and a head's width is not E / H.
RANDOM = {
    "four": Config(37, 20, 4, 6, tuple(LayerConfig(k, 29) for k in (4, 2, 1, 4)), 48, rope_factor=2.0),
    "twelve": Config(
        41,
        36,
        12,
        4,
        tuple(LayerConfig(k, 35) for k in (1, 3, 12, 2, 6)),
        48,
        1e-6,
        5e5,
        tie_word_embeddings=True,
    ),
}


def source(name, folder):
    """Return the checkpoint of that name, made in `folder` if it is a random one."""
    if name in RANDOM:
        write_random_checkpoint(RANDOM[name], folder / name)
        return folder / name
    return {"demo": DEMO_FOLDER, "deci_tiny": ROOT / "tests" / "golden" / "deci_tiny"}[name]


def in_float64():
    """Make transformers' Llama without its casts to float32."""
    text = Path(modeling_llama.__file__).read_text(encoding="utf-8")
    for old, new in (
        ("torch.float32", "torch.float64"),
        (".float()", ".double()"),
        ("=torch.float)", "=torch.double)"),
    ):
        assert old in text
        text = text.replace(old, new)
    spec = importlib.util.spec_from_loader("transformers.models.llama.modeling_llama64", loader=None)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = modeling_llama.__file__  # transformers' decorators look for the source
    sys.modules[spec.name] = module
    exec(compile(text, spec.name, "exec"), module.__dict__)
    return module.LlamaForCausalLM


def main():
    FOLDER.mkdir(exist_ok=True)
    Llama = in_float64()
    arrays, files = {}, {}
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        for name in ("demo", "deci_tiny", *RANDOM):
            checkpoint, exported = source(name, Path(temporary)), Path(temporary) / f"{name}-llama"
            export_checkpoint(checkpoint, exported)
            files[name] = {
                "config": json.loads((exported / "config.json").read_text()),
                "sha256": hashlib.sha256((exported / "model.safetensors").read_bytes()).hexdigest(),
            }
            llama = Llama.from_pretrained(exported, dtype=torch.float64, attn_implementation="eager").eval()
            llama.model.rotary_emb.double()
            config = llama.config
            M, V = config.max_position_embeddings, config.vocab_size
            ids = np.random.default_rng(0).integers(3, V, (2, M))
            kept = np.unique(np.linspace(0, M - 1, 5 if V > 500 else 12).astype(int))
            arrays[f"{name}.input_ids"], arrays[f"{name}.positions"] = ids, kept
            arrays[f"{name}.logits"] = llama(torch.tensor(ids)).logits.numpy()[:, kept]
            prompt = PROMPT if name == "demo" else ids[0, :9].tolist()
            new = min(NEW_TOKENS, M - len(prompt))
            found = llama.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=int),
                do_sample=False,
                max_new_tokens=new,
                min_new_tokens=new,
                pad_token_id=0,
            )
            arrays[f"{name}.greedy"] = found.numpy()[0]
            if name in RANDOM:
                for dora in (False, True):
                    adapter = write_adapter(
                        Path(temporary) / f"{name}-adapter-{dora}",
                        low_rank(RANDOM[name], dora=dora),
                        use_dora=dora,
                        target_modules=r".*_proj",
                    )
                    fitting = Path(temporary) / f"{name}-fitting-{dora}"
                    export_checkpoint(checkpoint, fitting, adapter=adapter)
                    base = Llama.from_pretrained(exported, dtype=torch.float64, attn_implementation="eager")
                    base.model.rotary_emb.double()
                    adapted = peft.PeftModel.from_pretrained(base, fitting, autocast_adapter_dtype=False)
                    adapted = adapted.double().eval()
                    key = f"{name}.{'dora' if dora else 'lora'}"
                    arrays[key] = adapted(torch.tensor(ids)).logits.numpy()[:, kept]
            export_checkpoint(checkpoint, Path(temporary) / f"{name}-layers", "per-layer")
            read = transformers.AutoConfig.from_pretrained(Path(temporary) / f"{name}-layers")
            files[name]["per_layer_config"] = json.loads(read.to_json_string(use_diff=False))[
                "per_layer_config"
            ]
            files[name]["kv_heads"] = [layer.num_key_value_heads for layer in read.per_layer_config]
    np.savez_compressed(FOLDER / "golden.npz", **arrays)
    versions = {module.__name__: module.__version__ for module in (transformers, torch, peft)}
    text = json.dumps({"versions": versions, "files": files}, indent=1)
    (FOLDER / "golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
