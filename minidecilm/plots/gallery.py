"""Whole figures by name, as `minidecilm plot` draws them: of any configs, and of a run of any checkpoint.

Each takes the options of the command line; see :mod:`minidecilm.cli.plot`.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping

import numpy as np

from minidecilm import costs, plots
from minidecilm.api import LanguageModel
from minidecilm.config import Config
from minidecilm.observe import Recorder, attention_entropy, first_token_share, root_mean_square
from minidecilm.ops import Array
from minidecilm.progress import ProgressBar, progress_bar

_POWERS = [2**k for k in range(20)]
_MEMORIES = {f"{size} GB": size * 10**9 for size in (24, 40, 80)}
Configs = Mapping[str, Config]


def _architecture(configs: Configs, options: Namespace) -> "plots.Figure":
    name, config = _only(configs)
    figure, ax = plots.new_figure(size=plots.architecture_size(config))
    plots.architecture(ax, name, config)
    return figure


def _kv_heads(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, axes = plots.new_figure(
        len(configs), size=(4.8, 1 + 1.9 * len(configs)), sharex=True, sharey=True, squeeze=False
    )
    most = max(max(config.num_key_value_heads_per_layer) for config in configs.values())
    for index, (ax, (name, config)) in enumerate(zip(axes.flat, configs.items(), strict=True)):
        plots.kv_heads(ax, name, config.num_key_value_heads_per_layer, index, most)
        ax.label_outer()
    return figure


def _parameters(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 2.1 + 0.4 * len(configs)))
    plots.parameters(ax, configs)
    return figure


def _kv_cache(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.4))
    longest = max(config.max_position_embeddings for config in configs.values())
    plots.kv_cache_by_context(
        ax, configs, [length for length in _POWERS if min(64, longest) <= length <= 2 * longest]
    )
    return figure


def _kv_cache_batch(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.4))
    plots.kv_cache_by_batch(ax, configs, _POWERS[:9], options.context or 4096)
    return figure


def _largest_batch(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 1.8 + 0.45 * len(configs)))
    plots.largest_batch(ax, configs, _MEMORIES, options.context or 4096, options.weights)
    return figure


def _throughput(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.8))
    device = costs.device(options.device, options.devices)
    plots.throughput(ax, configs, device, range(1, 513), options.context or 1024, weights=options.weights)
    return figure


def _roofline(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.0, 3.8))
    device = costs.device(options.device, options.devices)
    plots.roofline(ax, configs, device, context=options.context or 1024, weights=options.weights)
    return figure


def _rope_base(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.2, 3.2))
    longest = 4 * min(config.max_position_embeddings for config in configs.values())
    plots.rope_base(ax, configs, np.linspace(1, longest, 257).round().astype(int))
    return figure


def _wavelengths(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.4))
    name, config = _only(configs)
    plots.wavelengths(ax, config, [config.max_position_embeddings * times for times in (1, 2, 4)])
    ax.set_title(f"{name}: tokens in which\neach pair turns once")
    return figure


def _angles(configs: Configs, options: Namespace) -> "plots.Figure":
    figure, axes = plots.new_figure(2, 3, size=(6.0, 4.4), sharey=True)
    name, config = _only(configs)
    plots.rotary_angles(axes, config, [config.max_position_embeddings * times for times in (1, 2, 4)])
    figure.suptitle(f"{name}: angles, outlined where unseen in training", weight="bold")
    return figure


def _attention(lm: LanguageModel, ids: list[int], options: Namespace) -> "plots.Figure":
    weights, kv_heads = _attention_weights(lm, ids), lm.config.num_key_value_heads_per_layer
    layer = options.layer
    rows, columns = plots.attention_grid(len(weights[layer]), kv_heads[layer])
    size = (2 + columns, 1.2 + 1.2 * rows)
    figure, axes = plots.new_figure(rows, columns, size=size, sharex=True, sharey=True)
    plots.attention_maps(axes, weights[layer], kv_heads[layer])
    figure.suptitle(f"{_title(lm)}: attention in layer {layer}", weight="bold")
    return figure


def _attention_entropy(lm: LanguageModel, ids: list[int], options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure()
    values = [attention_entropy(weights).mean(axis=-1) for weights in _attention_weights(lm, ids)]
    plots.by_head(ax, values, lm.config.num_key_value_heads_per_layer)
    ax.set_title(f"{_title(lm)}: how widely each head looks")
    ax.set_ylabel("mean entropy of attention (bits)")
    return figure


def _attention_first_token(lm: LanguageModel, ids: list[int], options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure()
    values = [first_token_share(weights) for weights in _attention_weights(lm, ids)]
    plots.by_head(ax, values, lm.config.num_key_value_heads_per_layer)
    ax.set_title(f"{_title(lm)}: attention each\nhead gives the first token")
    ax.set_ylabel("share of attention")
    return figure


def _activations(lm: LanguageModel, ids: list[int], options: Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.2, 3.2))
    stages = {
        "added by attention": "o_proj",
        "added by feed-forward": "down_proj",
        "hidden state": "hidden_states",
    }
    seen = _record(lm, ids, list(stages.values()))
    layers = range(len(lm.config.layers))
    sizes = {
        name: [root_mean_square(seen[layer, stage]) for layer in layers] for name, stage in stages.items()
    }
    plots.activations(ax, sizes)
    ax.set_title(f"{_title(lm)}: size of activations")
    return figure


def _only(configs: Configs) -> tuple[str, Config]:
    if len(configs) > 1:
        raise ValueError(f"this plot is of one model, found {len(configs)}: {', '.join(configs)}")
    return next(iter(configs.items()))


def _title(lm: LanguageModel) -> str:
    return lm.checkpoint.folder.name


def _attention_weights(lm: LanguageModel, ids: list[int]) -> list[Array]:
    """Attention of every layer, each (H, T, T)."""
    seen = _record(lm, ids, ["attention_weights"])
    return [seen[layer, "attention_weights"][0] for layer in range(len(lm.config.layers))]


class _Watched(Recorder):
    """A recorder that moves a bar when it sees the last of its stages, once per layer."""

    def __init__(self, stages: list[str], bar: ProgressBar) -> None:
        super().__init__(stages)
        self._bar = bar

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        super().__call__(layer, stage, value)
        if stage == tuple(self.stages)[-1]:
            self._bar.update(1)


def _record(lm: LanguageModel, ids: list[int], stages: list[str]) -> dict[tuple[int | None, str], Array]:
    """Run the model on one text, and keep these stages of every layer."""
    with progress_bar(len(lm.config.layers), "reading the prompt", "layer") as bar:
        recorder = _Watched(stages, bar)
        lm.model([ids], last_only=True, observer=recorder)
    return recorder.values


#: Figures of configs by title.
#:
#: :meta hide-value:
OF_CONFIGS: dict[str, Callable[[Configs, Namespace], "plots.Figure"]] = {
    "architecture": _architecture,
    "kv-heads": _kv_heads,
    "parameters": _parameters,
    "kv-cache": _kv_cache,
    "kv-cache-batch": _kv_cache_batch,
    "largest-batch": _largest_batch,
    "throughput": _throughput,
    "roofline": _roofline,
    "rope-base": _rope_base,
    "wavelengths": _wavelengths,
    "angles": _angles,
}
#: Figures of a model that has read the ids of a text.
#:
#: :meta hide-value:
OF_A_RUN: dict[str, Callable[[LanguageModel, list[int], Namespace], "plots.Figure"]] = {
    "attention": _attention,
    "attention-entropy": _attention_entropy,
    "attention-first-token": _attention_first_token,
    "activations": _activations,
}
