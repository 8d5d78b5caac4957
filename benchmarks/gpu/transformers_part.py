"""The same network in transformers: eager, with SDPA; needs PyTorch for CUDA."""

import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import spread
from benchmarks.gpu.parts import ROUNDED, TRANSFORMERS, Result, check
from benchmarks.gpu.setup import OURS, Setup

_DEVICE = "cuda"
_WARM_UP = 2  # steps that compile and record


def transformers(setup: Setup, results: Result) -> Result:
    """One text in bfloat16: steps of both in alternation, beside each other."""
    try:
        import torch
        import transformers as library

        from benchmarks.peers.pytorch import empty_llama
    except ImportError as problem:
        return {"skipped": str(problem)}
    if not torch.cuda.is_available():
        return {"skipped": f"PyTorch {torch.__version__} finds no CUDA device"}
    rows = _race(torch, library, empty_llama(setup.sizes.configs[OURS]), setup)
    gc.collect()
    torch.cuda.empty_cache()
    return {"torch": torch.__version__, "transformers": library.__version__, "rows": rows}


def _race(torch: Any, library: Any, network: Any, setup: Setup) -> list[Result]:
    """Give the network random weights, and lay its steps beside ours."""
    setup.cupy.get_default_memory_pool().free_all_blocks()
    network.to_empty(device=_DEVICE).to(torch.bfloat16)
    network.model.rotary_emb = type(network.model.rotary_emb)(network.config).to(_DEVICE)  # holds no weights
    for parameter in network.parameters():
        parameter.normal_(std=0.02)
    rows = []
    for context in setup.sizes.contexts:
        model = setup.model(OURS, "bfloat16", ROUNDED)
        calls = setup.sizes.steps + _WARM_UP
        ours = setup.stepping(model, setup.filled_cache(model, 1, context - calls, calls))
        theirs = _stepping(torch, library, network, model.config, context - calls)
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(calls):
            for name, step in (("ours", ours), ("theirs", theirs)):
                setup.wait()
                start = time.perf_counter()
                step()
                setup.wait()
                if number >= _WARM_UP:
                    seconds[name].append(time.perf_counter() - start)
        ratio = median(b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
        rows.append(
            {"context": context, "ours": spread(seconds["ours"]), "theirs": spread(seconds["theirs"])}
            | check(ratio, TRANSFORMERS)
        )
    return rows


def _stepping(torch: Any, library: Any, network: Any, config: Any, context: int) -> Callable[[], Any]:
    """Return what feeds one token to a cache that holds `context` random ones."""
    cache = library.DynamicCache(config=network.config)
    for layer, heads in enumerate(config.num_key_value_heads_per_layer):
        keys, values = torch.randn(
            2, 1, heads, context, config.head_dim, dtype=torch.bfloat16, device=_DEVICE
        )
        cache.update(keys, values, layer)
    ids = torch.from_numpy(np.random.default_rng(1).integers(config.vocab_size, size=(1, 1))).to(_DEVICE)
    return lambda: network(ids, past_key_values=cache, logits_to_keep=1).logits
