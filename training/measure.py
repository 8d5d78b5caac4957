"""Measures an exported model: held-out loss, samples, what they share with the training text, and slips.

Run ``python -m training.measure --work DIR --model minidecilm/demo`` to write ``training/metrics.json``.
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from statistics import mean, median

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import minidecilm
from training.export import load_exported
from training.model import DeciLM, Shape
from training.slips import slips
from training.stories import HELD_OUT_START, plots, stories
from training.train import EOS, PADDING, encode, pad, token_losses

TEMPERATURE, TOP_P = 0.7, 0.95
PROMPT = "Once upon a time"
OTHER_PROMPTS = ("The little dragon", "One day", "Lily and Tom", "In a small village")
BUCKET = 64
METRICS = Path(__file__).parent / "metrics.json"


def held_out_losses(
    model: DeciLM, tokenizer: sentencepiece.SentencePieceProcessor, count: int
) -> list[list[float]]:
    """Return the loss of every token of ``count`` held-out stories, each on its own from position 0."""
    found = []
    for start in range(0, count, 20):
        texts = stories(HELD_OUT_START + start, min(20, count - start))
        tokens = pad([encode(tokenizer, text)[: model.shape.context + 1] for text in texts])
        with torch.no_grad():
            losses = token_losses(model, tokens)
        found += [row[kept].tolist() for row, kept in zip(losses, tokens[:, 1:] != PADDING, strict=True)]
    return found


def sample(language_model: minidecilm.LanguageModel, prompt: str, seeds: range) -> list[tuple[str, bool]]:
    """Continue a prompt once for each seed; return each text and whether it ended within the context.

    This is the package's own sampling: the text of a seed is the one that ``minidecilm generate`` writes.
    """
    tokenizer, context = language_model.tokenizer, language_model.config.max_position_embeddings
    ids = tokenizer.encode(prompt)
    written = minidecilm.generate_tokens(
        language_model.model,
        [ids] * len(seeds),
        max_new_tokens=context - len(ids),
        temperature=TEMPERATURE,
        top_p=TOP_P,
        seed=list(seeds),
    )
    return [(tokenizer.decode([*ids, *row]), bool(row[-1] == EOS)) for row in written]


def longest_overlaps(texts: list[str], corpus_size: int) -> list[int]:
    """Return the longest run of words that each text shares with any of the first training stories."""
    numbers: dict[str, int] = {}

    def encode(text: str) -> list[int]:
        return [numbers.setdefault(word, len(numbers) + 1) for word in text.split()]

    corpus_ids: list[int] = []
    for text in tqdm(stories(0, corpus_size), total=corpus_size, desc="training text", unit="story"):
        corpus_ids += [*encode(text), 0]
    corpus = np.array(corpus_ids, dtype=np.uint64)
    words = [np.array(encode(text), dtype=np.uint64) for text in texts]
    # Runs of n words are compared by a hash modulo 2**64 that grows by one word as n does.
    factor = np.uint64(0x9E3779B97F4A7C15)
    hashes, word_hashes = np.zeros_like(corpus), [np.zeros_like(ids) for ids in words]
    longest = [0] * len(texts)
    for n in range(1, max(map(len, words)) + 1):
        hashes = _grow(hashes, corpus, n, factor)
        word_hashes = [_grow(runs, ids, n, factor) for runs, ids in zip(word_hashes, words, strict=True)]
        wanted = np.unique(
            np.concatenate([h for h, best in zip(word_hashes, longest, strict=True) if best == n - 1])
        )
        shared = _present(wanted, hashes)
        longest = [
            n if best == n - 1 and np.isin(runs, shared).any() else best
            for runs, best in zip(word_hashes, longest, strict=True)
        ]
        if max(longest) < n:
            break
    return longest


def _grow(
    hashes: NDArray[np.uint64], ids: NDArray[np.uint64], n: int, factor: np.uint64
) -> NDArray[np.uint64]:
    """Turn the hashes of all runs of n - 1 words into those of n words."""
    count = max(len(ids) - n + 1, 0)
    return hashes[:count] * factor + ids[n - 1 :]


def _present(wanted: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return those of the sorted ``wanted`` that are among ``hashes``."""
    places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    return np.unique(hashes[wanted[places] == hashes])


def repeated_share(text: str, n: int = 5) -> float:
    """Return the share of runs of ``n`` words that occurred before in the same text."""
    words = text.split()
    runs = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return 1 - len(runs) / max(runs.total(), 1)


def describe(texts: list[str], overlaps: list[int]) -> dict[str, object]:
    """Sum up what texts share with the training text, how often they repeat themselves, and their slips."""
    found = [slips(text) for text in texts]
    return {
        "texts": len(texts),
        "mean_words": mean(len(text.split()) for text in texts),
        "overlap_median": median(overlaps),
        "overlap_longest": max(overlaps),
        "overlap_share": {str(n): mean(overlap >= n for overlap in overlaps) for n in (15, 25, 50)},
        "whole_stories_from_training": sum(
            overlap == len(text.split()) for overlap, text in zip(overlaps, texts, strict=True)
        ),
        "repeated_5_grams": mean(map(repeated_share, texts)),
        "slips": {name: mean(slip[name] for slip in found) for name in found[0]},
    }


def measure(work: Path, folder: Path, samples: int = 100, held_out: int = 500) -> dict[str, object]:
    """Measure the model in ``folder``, made by the run in ``work``, and write ``training/metrics.json``."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model, language_model = load_exported(folder), minidecilm.load(folder, backend="numpy")
    trained = DeciLM(Shape()).eval()
    saved = torch.load(work / "checkpoint.pt", map_location="cpu", weights_only=True)
    trained.load_state_dict(saved["model"])
    run = json.loads((work / "train.json").read_text(encoding="utf-8"))

    losses = held_out_losses(model, tokenizer, held_out)
    tokens = [loss for row in losses for loss in row]
    before = [loss for row in held_out_losses(trained, tokenizer, held_out) for loss in row]
    buckets = {
        f"{start}-{start + BUCKET - 1}": math.exp(
            mean(x for row in losses for x in row[start : start + BUCKET])
        )
        for start in range(0, model.shape.context, BUCKET)
    }
    written = sample(language_model, PROMPT, range(samples))
    texts = [text for text, _ in written]
    others = list(stories(HELD_OUT_START, samples))
    overlaps = longest_overlaps(texts + others, run["next_story"])
    record: dict[str, object] = {
        "plots": len(plots()),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "weight_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        "run": run,
        "held_out": {
            "stories": held_out,
            "tokens": len(tokens),
            "loss": mean(tokens),
            "loss_float32": mean(before),
            "perplexity": math.exp(mean(tokens)),
            "perplexity_by_position": buckets,
        },
        "sampling": {"prompt": PROMPT, "temperature": TEMPERATURE, "top_p": TOP_P},
        "ended": mean(ended for _, ended in written),
        "samples": describe(texts, overlaps[:samples]),
        "story_writer": describe(others, overlaps[samples:]),
        "texts": texts[:5],
        "other_texts": {prompt: sample(language_model, prompt, range(1))[0][0] for prompt in OTHER_PROMPTS},
    }
    METRICS.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="Measure the exported model.")
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--model", type=Path, required=True, help="folder of the exported model")
    parser.add_argument("--samples", type=int, default=100, help="texts to sample (default: %(default)s)")
    arguments = parser.parse_args()
    measure(arguments.work, arguments.model, arguments.samples)


if __name__ == "__main__":
    main()
