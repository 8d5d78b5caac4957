"""What lies in a folder, or in a file of weights, that is not a checkpoint: what it is, and what to do."""

import re
from collections.abc import Container
from pathlib import Path

from minidecilm.errors import CheckpointError
from minidecilm.files import brief, read_object

ADAPTER_CONFIG = "adapter_config.json"
MAX_ADAPTER_BYTES = 1 << 20
_PICKLE = "pickle can run code and is never read: where you trust it, convert with safetensors.torch"
_SHARDS = "shards need their model.safetensors.index.json: download it too"

# The first that fits a file of the folder says what the folder is.
_OTHER_WEIGHTS = {
    r"model\.safetensors\.index\..+\.json": (
        "the index of a variant of the weights: rename it to model.safetensors.index.json"
    ),
    r".*-\d+-of-\d+\.safetensors": _SHARDS,
    r"consolidated.*\.safetensors": (
        "weights under Mistral's own names: give the folder with model.safetensors, in Hugging Face layout"
    ),
    r"adapter_model\.safetensors": (
        "an adapter without its adapter_config.json: get that too, and give both as the adapter of its model"
    ),
    r"model\..+\.safetensors": "a variant of the weights: rename it to model.safetensors",
    r".*\.safetensors": "if it holds the whole model, rename it to model.safetensors",
    r"pytorch_model.*\.bin": _PICKLE,
    r"consolidated.*\.pth": (
        "Meta's own layout, in pickle, which is never read: where you trust it, convert it with "
        "convert_llama_weights_to_hf.py of transformers"
    ),
    r".*\.gguf": "GGUF is not read: give the safetensors folder it was made from",
    r".*\.(bin|pt|pth|ckpt)": _PICKLE,
    r".*\.(h5|msgpack)": "weights of TensorFlow or Flax are not read: save the model as safetensors",
}

# prefix of tensor names -> what puts it there, and the model inside
_WRAPPERS = {
    "base_model.model.": ("peft", "merge_and_unload() gives it"),
    "_orig_mod.": ("torch.compile", "model._orig_mod"),
    "_fsdp_wrapped_module.": ("FSDP", "gather it with StateDictType.FULL_STATE_DICT"),
    "module.": ("DataParallel or DistributedDataParallel", "model.module"),
}
_MAX_NAME = 300


def refuse_folder(folder: Path) -> CheckpointError:
    """Say what a folder without model.safetensors and without an index is."""
    if (folder / ADAPTER_CONFIG).is_file():
        values = read_object(folder / ADAPTER_CONFIG, MAX_ADAPTER_BYTES, CheckpointError)
        kind, base = values.get("peft_type"), values.get("base_model_name_or_path")
        kind = kind if isinstance(kind, str) and kind.isalnum() and len(kind) < 20 else "LORA"
        return CheckpointError(
            f"{folder}: expected a model, found a {kind.replace('LORA', 'LoRA')} adapter of "
            f"{brief(base) if base else 'a model it does not name'} ({ADAPTER_CONFIG}); "
            "give that model, and this folder as the adapter: --adapter, or adapter= of minidecilm.load"
        )
    names = sorted(path.name for path in folder.iterdir())
    expected = f"{folder}: expected model.safetensors or its index"
    for pattern, advice in _OTHER_WEIGHTS.items():
        found = next((name for name in names if re.fullmatch(pattern, name)), None)
        if found:
            return CheckpointError(f"{expected}, found {brief(found)}; {advice}")
    for pattern in ("*/model*.safetensors", "snapshots/*/model*.safetensors"):
        inside = next((path.parent.relative_to(folder) for path in sorted(folder.glob(pattern))), None)
        if inside:
            return CheckpointError(f"{expected}, found none, but weights in {inside}; give {folder / inside}")
    return CheckpointError(
        f"{folder}: expected model.safetensors or model.safetensors.index.json, found neither; "
        "give the folder that holds the weights"
    )


def unknown_name(name: str, expected: Container[str]) -> str | None:
    """Say why a tensor's name is not among those expected, where its prefix tells, and what to do."""
    if f"model.{name}" in expected:
        return (
            "a name that lacks 'model.', as when the inner model is saved, which has no output head; "
            "save the whole model, or rename the tensors"
        )
    if len(name) > _MAX_NAME:
        return None
    if ".lora_" in name or ".base_layer." in name:
        return "a part of an adapter; give its folder as the adapter of its model"
    ends = [match.end() for match in re.finditer(r"\.", name)]
    prefix = next((name[:end] for end in ends if name[end:] in expected), None)
    if prefix is None:
        return None
    writer = next((said for wrapper, said in _WRAPPERS.items() if wrapper in prefix), None)
    source = f"which {writer[0]} puts before every name" if writer else "so it is part of another model"
    inside = f" ({writer[1]})" if writer else ""
    return (
        f"that of {name[len(prefix) :]} under the prefix {brief(prefix)}, {source}; "
        f"save the model inside{inside}, or rename the tensors"
    )
