"""The same network in transformers: eager, with SDPA; needs PyTorch for CUDA."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gpu.parts import ROUNDED, TRANSFORMERS, Result, check
from benchmarks.gpu.setup import OURS, Setup, spread


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
    config = setup.sizes.configs[OURS]
    network = empty_llama(config).to_empty(device="cuda").to(torch.bfloat16)
    network.model.rotary_emb = type(network.model.rotary_emb)(network.config).to("cuda")  # holds no weights
    for parameter in network.parameters():
        parameter.normal_(std=0.02)
    rows = []
    for context in setup.sizes.contexts:
        model = setup.model(OURS, "bfloat16", ROUNDED)
        rounds = setup.sizes.steps
        ours = setup.stepping(model, setup.filled_cache(model, 1, context - rounds - 2, rounds + 2))
        theirs = _stepping(torch, library, network, config, context - rounds - 2)
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(rounds + 2):
            for name, step in (("ours", ours), ("theirs", theirs)):
                setup.wait()
                start = time.perf_counter()
                step()
                setup.wait()
                if number >= 2:  # the first ones compile and record
                    seconds[name].append(time.perf_counter() - start)
        ratio = median(b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
        rows.append(
            {"context": context, "ours": spread(seconds["ours"]), "theirs": spread(seconds["theirs"])}
            | check(ratio, TRANSFORMERS)
        )
    del network
    torch.cuda.empty_cache()
    return {"torch": torch.__version__, "transformers": library.__version__, "rows": rows}


def _stepping(torch: Any, library: Any, network: Any, config: Any, context: int) -> Callable[[], Any]:
    """Return what feeds one token to a cache that holds `context` random ones."""
    cache = library.DynamicCache(config=network.config)
    for layer, heads in enumerate(config.num_key_value_heads_per_layer):
        keys, values = torch.randn(2, 1, heads, context, config.head_dim, dtype=torch.bfloat16, device="cuda")
        cache.update(keys, values, layer)
    ids = torch.from_numpy(np.random.default_rng(1).integers(config.vocab_size, size=(1, 1))).to("cuda")
    return lambda: network(ids, past_key_values=cache, logits_to_keep=1).logits
