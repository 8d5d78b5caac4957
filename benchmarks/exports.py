"""Exported checkpoints in llama.cpp and transformers: logits and texts beside ours.

In an environment with torch, transformers and llama-cpp-python: ``python -m benchmarks.exports``.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import minidecilm
from benchmarks.common import RESULTS, describe, table, write_result
from minidecilm import Config, LayerConfig, export_checkpoint, write_random_checkpoint
from minidecilm.model import DeciLM
from minidecilm.weights import gguf_file

PROMPTS = ("Once upon a time", "Ben had a red ball.", "The old boat was")
NEW_TOKENS = 60
TYPES = ("F32", "BF16", "F16", "Q8_0", "Q4_0")
TEXTS = ("Once upon a time", " hello", "a  b\n\nc café 上海 1976", "<s> x </s>", "\u2581 under", "")
OUT = RESULTS / "exports.json"

PAGE = """\
# Exported models in other programs

The demo model as a GGUF file in llama.cpp, with a float32 cache and without flash attention, beside
minidecilm in float64. Equal tokens: how many of the first {new} that follow each of {prompts} prompts, each
time the likeliest. Top five apart: the largest difference of the logits of the five likeliest tokens, at any
position of these texts. Its tokenizer makes the same ids of {alike} of {texts} texts.

{demo}
A BF16 file holds the demo's weights exactly; what differs there is that llama.cpp rounds activations to the
type of the matrix. With the rows of query and key heads left in the order of this network, the five logits
are up to {without} apart.

{random}
Beyond the context: {tokens} ids in the demo model, whose context is {context} tokens. Token by token means
{prompt} of them in one call, and the rest one by one. Plain and dynamic are the two values of `--rope`;
transformers computes in float32.

{beyond}
"""

Array = np.ndarray[Any, np.dtype[Any]]

# Layers that differ in KV heads, in query heads too, and in the width of the feed-forward network.
RANDOM = {
    "KV heads 4, 2, 1, 4": Config(37, 20, 4, 6, tuple(LayerConfig(k, 29) for k in (4, 2, 1, 4)), 48),
    "KV heads 1, 3, 12, 2, 6, head tied": Config(
        41, 36, 12, 4, tuple(LayerConfig(k, 35) for k in (1, 3, 12, 2, 6)), 48, tie_word_embeddings=True
    ),
    "query heads 8, 4, 8 and widths 32, 48, 32": Config(
        64, 32, 8, 8, (LayerConfig(2, 32), LayerConfig(4, 48, 4), LayerConfig(8, 32)), 48
    ),
}


def main() -> None:
    """Export, run, compare, store."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        result = {
            "machine": describe("llama-cpp-python", "gguf", "transformers", "torch"),
            "prompts": PROMPTS,
            "new_tokens": NEW_TOKENS,
            "llama_cpp": {name: _demo_in_llama_cpp(folder, name) for name in TYPES},
            "llama_cpp_without_reordering": _without_reordering(folder),
            "llama_cpp_random": {
                name: _random(folder / f"random {n}", config)
                for n, (name, config) in enumerate(RANDOM.items())
            },
            "beyond": _beyond(folder),
        }
    write_result(OUT, result)


def _llama_cpp(file: Path, context: int) -> Any:
    """Open a GGUF file with a float32 cache and no flash attention, so that only the network is compared."""
    import llama_cpp

    return llama_cpp.Llama(
        str(file),
        n_ctx=context,
        n_threads=2,
        logits_all=True,
        type_k=0,
        type_v=0,
        flash_attn=False,
        verbose=False,
    )


def _logits(engine: Any, ids: Array) -> Array:
    engine.reset()
    engine.eval(ids.tolist())
    return np.array(engine.scores[: len(ids)], np.float64)


def _top_five_apart(theirs: Array, ours: Array) -> float:
    """Largest difference of the five likeliest tokens' logits at any position: (T, V) each."""
    top = np.argsort(ours, axis=-1)[:, -5:]
    return float(np.abs(np.take_along_axis(theirs - ours, top, axis=-1)).max())


def _demo_in_llama_cpp(folder: Path, gguf_type: str) -> dict[str, Any]:
    """Greedy text of each prompt, and logits along our text."""
    target = folder / f"demo {gguf_type}"
    export_checkpoint(minidecilm.catalog.DEMO_FOLDER, target, "gguf", gguf_type=gguf_type)
    lm = minidecilm.load("demo", dtype="float64", backend="numpy")
    engine = _llama_cpp(target / gguf_file.FILE_NAME, lm.config.max_position_embeddings)
    same_ids = [
        engine.tokenize(text.encode(), add_bos=True, special=False) == lm.tokenizer.encode(text)
        for text in TEXTS
    ]
    equal, apart = [], []
    for prompt in PROMPTS:
        ids = np.array(lm.tokenizer.encode(prompt))
        ours = minidecilm.generate_tokens(lm.model, ids[None], max_new_tokens=NEW_TOKENS, temperature=0)[0]
        ours = np.array(ours[:NEW_TOKENS])
        found = [int(_logits(engine, ids)[-1].argmax())]
        while len(found) < len(ours):
            engine.eval(found[-1:])
            found.append(int(engine.scores[engine.n_tokens - 1].argmax()))
        equal.append(int(np.argmin(np.append(found == ours, False))))
        whole = np.concatenate([ids, ours])
        apart.append(_top_five_apart(_logits(engine, whole), lm.model(whole[None])[0]))
    file = target / gguf_file.FILE_NAME
    return {
        "bytes": file.stat().st_size,
        "texts_tokenized_alike": sum(same_ids),
        "texts_tokenized": len(TEXTS),
        "equal_tokens": equal,
        "top_five_apart": max(apart),
    }


def _without_reordering(folder: Path) -> float:
    """The same F32 file with rows of query and key heads left as they are: how far its logits are off."""
    (folder / "plain rows").mkdir()
    with mock.patch.object(gguf_file, "neighbouring_rows", lambda rows, head_dim: np.arange(rows)):
        return float(_demo_in_llama_cpp(folder / "plain rows", "F32")["top_five_apart"])


def _random(folder: Path, config: Config) -> float:
    """Largest difference of any logit up to the context length."""
    folder.mkdir()
    write_random_checkpoint(config, folder / "source")
    export_checkpoint(folder / "source", folder / "new", "gguf", gguf_type="F32")
    ids = np.random.default_rng(0).integers(3, config.vocab_size, config.max_position_embeddings)
    theirs = _logits(_llama_cpp(folder / "new" / gguf_file.FILE_NAME, len(ids)), ids)
    ours = minidecilm.load(folder / "source", dtype="float64", backend="numpy").model(ids[None])[0]
    return float(np.abs(theirs - ours).max())


def _beyond(folder: Path) -> dict[str, Any]:
    """Run the demo model past its context: feeding order in transformers, no dynamic NTK in llama.cpp."""
    import torch
    from transformers import AutoModelForCausalLM

    lm = minidecilm.load("demo", dtype="float64", backend="numpy")
    M = lm.config.max_position_embeddings
    total, prompt = M + M // 4, M - M // 4
    ids = np.random.default_rng(0).integers(3, lm.config.vocab_size, total)
    found = {}
    for rope in ("plain", "dynamic"):
        export_checkpoint(minidecilm.catalog.DEMO_FOLDER, folder / rope, "llama", rope=rope)
        llama = AutoModelForCausalLM.from_pretrained(folder / rope, dtype=torch.float32).eval()
        with torch.no_grad():
            whole = llama(torch.tensor(ids[None])).logits[0].double().numpy()
            state = llama(torch.tensor(ids[None, :prompt]), use_cache=True)
            steps = [state.logits[0]]
            for token in ids[prompt:]:
                state = llama(torch.tensor([[token]]), past_key_values=state.past_key_values)
                steps.append(state.logits[0])
        found[rope] = whole, torch.cat(steps).double().numpy()
    static = DeciLM(replace(lm.config, rope_factor=None), lm.model.weights, lm.backend, dtype="float64")
    cache = lm.model.new_cache(1, total)
    ours_steps = [lm.model(ids[None, :prompt], cache)[0]]
    ours_steps += [lm.model(ids[None, [at]], cache)[0] for at in range(prompt, total)]
    ours, ours_fed, ours_static = lm.model(ids[None])[0], np.concatenate(ours_steps), static(ids[None])[0]
    engine = _llama_cpp(folder / "demo F32" / gguf_file.FILE_NAME, total)
    theirs = _logits(engine, ids)

    def apart(one: Array, other: Array) -> float:
        return float(np.abs(one - other).max())

    (plain, _), (whole, fed) = found["plain"], found["dynamic"]
    return {
        "context": M,
        "tokens": total,
        "prompt": prompt,
        "plain: transformers and ours, up to the context": apart(plain[:M], lm.model(ids[None, :M])[0]),
        "dynamic: transformers and ours, in one call": apart(whole, ours),
        "dynamic: transformers and ours, token by token": apart(fed, ours_fed),
        "dynamic: transformers in one call and token by token": apart(whole, fed),
        "llama.cpp and ours without dynamic NTK": apart(theirs, ours_static),
        "llama.cpp and ours with it": apart(theirs, ours),
        "plain: transformers and ours without it": apart(plain, ours_static),
    }


def page(result: dict[str, Any]) -> str:
    """Fill in the page."""
    new = result["new_tokens"]
    rows = [
        [
            name,
            f"{found['bytes']:,}",
            ", ".join(map(str, found["equal_tokens"])),
            f"{found['top_five_apart']:.2g}",
        ]
        for name, found in result["llama_cpp"].items()
    ]
    tokenized = result["llama_cpp"]["F32"]
    random = [[name, f"{apart:.2g}"] for name, apart in result["llama_cpp_random"].items()]
    beyond = result["beyond"]
    sizes = ("context", "tokens", "prompt")
    apart = [[name, f"{value:.2g}"] for name, value in beyond.items() if name not in sizes]
    return PAGE.format(
        prompts=len(result["prompts"]),
        new=new,
        alike=tokenized["texts_tokenized_alike"],
        texts=tokenized["texts_tokenized"],
        demo=table(["type of the matrices", "bytes", "equal tokens", "top five apart"], rows),
        without=f"{result['llama_cpp_without_reordering']:.2g}",
        random=table(["random model, F32", "logits apart"], random),
        beyond=table(["logits", "apart"], apart),
        **{name: beyond[name] for name in sizes},
    )


if __name__ == "__main__":
    main()
