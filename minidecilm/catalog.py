"""What a name means: demo, a preset, a config.json, a folder or a hub id."""

import os
from collections.abc import Iterable
from pathlib import Path

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.costs.summary import Model
from minidecilm.errors import CheckpointError
from minidecilm.files import hub_name, resolved
from minidecilm.presets import PRESET_NAMES, TITLES, preset
from minidecilm.weights.checkpoint import open_checkpoint

DEMO_FOLDER = Path(__file__).parent / "demo"


def has_no_weights(name: str | Path) -> bool:
    """Tell whether a name is a preset's, and no folder of that name lies here.

    Examples
    --------
    >>> has_no_weights("DeciLM-6b"), has_no_weights("demo")
    (True, False)
    """
    return str(name).lower() in PRESET_NAMES and not Path(name).exists()


def find_folder(model: str | Path) -> Path:
    """Return the folder of "demo", of a path, or of a hub id such as "Deci/DeciLM-6b", which is fetched.

    A path that leads nowhere comes back as it is.

    Raises
    ------
    ValueError
        For an empty name, or a preset's.
    OSError
        If the hub cannot be reached, or does not have it.

    Examples
    --------
    >>> find_folder("demo") == DEMO_FOLDER
    True
    """
    if model == "demo":
        return DEMO_FOLDER
    if not str(model):
        raise ValueError("model: the name is empty")
    if has_no_weights(model):
        raise CheckpointError(f"{model} is a preset without weights: give a checkpoint folder, or demo")
    folder = Path(os.path.expanduser(model))
    parts = str(model).split("/")
    if folder.exists() or len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~"):
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise OSError(
            f"no folder {model}; to fetch it from the Hugging Face hub: pip install '.[hub]' in a clone"
        ) from None
    try:
        return Path(
            snapshot_download(
                str(model),
                allow_patterns=["*.safetensors", "*.json", "tokenizer.model", "LICENSE*", "Notice"],
            )
        )
    except Exception as problem:  # the hub client's own errors have no common base
        first_line = str(problem).strip().splitlines()[:1]
        raise OSError(
            f"{model}: no such folder, and the Hugging Face hub gave: {' '.join(first_line)}"
        ) from problem


def find_config(name: str, *, ignore_config_keys: Iterable[str] = ()) -> Config | None:
    """Return the config of a preset, or the one in a config.json; None if the name is of neither.

    A preset's name wins over a file or folder that is called so, which is ./NAME.

    Examples
    --------
    >>> find_config("llama-2-7b").num_parameters
    6738415616
    """
    if name.lower() in PRESET_NAMES:
        return preset(name)
    return Config.from_file(name, ignore_config_keys=ignore_config_keys) if Path(name).is_file() else None


def find_model(name: str, *, ignore_config_keys: Iterable[str] = ()) -> Model:
    """Find a preset, a config.json, the demo model or a checkpoint folder, here and not on the hub.

    `ignore_config_keys` are as for :func:`minidecilm.load`. A name of none, or of no model of this package,
    is a ValueError; what cannot be read, an OSError.

    Examples
    --------
    >>> find_model("llama-2-7b").weight_bytes
    13476831232
    """
    if not name:
        raise ValueError("model: the name is empty")
    path = DEMO_FOLDER if name == "demo" else Path(name)
    config = find_config(name, ignore_config_keys=ignore_config_keys)
    if config is not None:
        nbytes, storage, group = costs.weight_bytes(config), [config.torch_dtype], None
    elif path.exists():
        checkpoint = open_checkpoint(path, ignore_config_keys=ignore_config_keys)
        config, nbytes, storage = checkpoint.config, checkpoint.nbytes, sorted(checkpoint.dtypes)
        group = checkpoint.scheme.group if checkpoint.scheme else None
    else:
        raise ValueError(
            f"no preset, config.json or folder {name!r}; the presets are {', '.join(PRESET_NAMES)}; "
            "the model that comes with the package is demo"
        )
    if name.lower() in TITLES:
        return Model(name, config, nbytes, storage, group, TITLES[name.lower()])
    hub, found = hub_name(path if path.is_dir() else path.parent), resolved(path)
    title = hub or (found.parent.name if found.name == "config.json" else found.name)
    return Model(hub or name, config, nbytes, storage, group, title)
