"""Published models by short name: DeciLM and the models it is compared with."""

from dataclasses import replace

from minidecilm.config import Config, LayerConfig
from minidecilm.errors import ConfigError


def _layers(heads: list[int], intermediate_size: int) -> tuple[LayerConfig, ...]:
    return tuple(LayerConfig(k, intermediate_size) for k in heads)


_DECILM_6B = Config(
    vocab_size=32000,
    hidden_size=4096,
    num_attention_heads=32,
    head_dim=128,
    layers=_layers([4] + [2] * 9 + [1] * 20 + [4] * 2, 11008),
    max_position_embeddings=4096,
    rope_factor=2.0,
)

# Sources: the config.json of Deci/DeciLM-6b, Deci/DeciLM-7B, Deci/DeciCoder-6B, meta-llama/Llama-2-7b-hf,
# mistralai/Mistral-7B-v0.2 (v0.1 has a sliding window) and meta-llama/Meta-Llama-3-8B on huggingface.co.
_PRESETS: dict[str, tuple[str, Config]] = {
    "decilm-6b": ("DeciLM-6b", _DECILM_6B),
    "decilm-7b": (
        "DeciLM-7B",
        replace(
            _DECILM_6B,
            layers=_layers([4] * 5 + [2] * 5 + [4] + [2] * 9 + [1] * 11 + [4], 14336),
            max_position_embeddings=8192,
        ),
    ),
    "decicoder-6b": (
        "DeciCoder-6B",
        replace(
            _DECILM_6B,
            vocab_size=51200,
            layers=_layers([4] + [2] * 3 + [1] * 11 + [2] + [1] * 15 + [4], 11008),
            max_position_embeddings=2048,
            bos_token_id=50256,
            eos_token_ids=(50256,),
            torch_dtype="float32",
        ),
    ),
    "llama-2-7b": (
        "Llama 2 7B",
        replace(_DECILM_6B, layers=_layers([32] * 32, 11008), rope_factor=None, torch_dtype="float16"),
    ),
    "mistral-7b": (
        "Mistral 7B",
        replace(
            _DECILM_6B,
            layers=_layers([8] * 32, 14336),
            max_position_embeddings=32768,
            rope_theta=1e6,
            rope_factor=None,
        ),
    ),
    "llama-3-8b": (
        "Llama 3 8B",
        replace(
            _DECILM_6B,
            vocab_size=128256,
            layers=_layers([8] * 32, 14336),
            max_position_embeddings=8192,
            rope_theta=500000.0,
            rope_factor=None,
            bos_token_id=128000,
            eos_token_ids=(128001,),
        ),
    ),
}
#: Names that :func:`preset` knows.
PRESET_NAMES = tuple(_PRESETS)
#: How figures call them.
TITLES = {name: title for name, (title, _) in _PRESETS.items()}


def preset(name: str) -> Config:
    """Return the config of a published model by its short name, in any case.

    Raises
    ------
    ConfigError
        If there is no preset of that name; the message lists them.

    Examples
    --------
    >>> preset("DeciLM-7B").num_parameters
    7043551232
    """
    try:
        return _PRESETS[name.lower()][1]
    except KeyError:
        raise ConfigError(f"no preset {name!r}: choose from {', '.join(PRESET_NAMES)}") from None
