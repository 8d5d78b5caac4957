"""Trains the demo model on stories written as it goes, so that no story is seen twice.

Each row of a batch is one whole story from position 0 on, with the beginning of another one in the places
left over. Run ``python -m training.train --work DIR --minutes 60``; a run that was stopped goes on where it
was.
"""

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.model import DeciLM, Shape
from training.stories import HELD_OUT_START, story

BOS, EOS = 1, 2
CHECK_EVERY = 250  # steps between held-out losses
SAVE_EVERY = 60.0  # seconds between checkpoints


@dataclass
class Options:
    """How to train. The learning rate falls with the share of ``minutes`` or, if given, of ``steps`` done."""

    minutes: float = 60.0
    steps: int = 0
    rows: int = 8
    peak: float = 3e-3
    last: float = 3e-5
    warmup: int = 200
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    compile: bool = False


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    next_story: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


class Stories:
    """Rows of tokens made of stories, numbered from ``start`` on.

    Parameters
    ----------
    tokenizer : sentencepiece.SentencePieceProcessor
        The demo model's tokenizer.
    start : int
        Number of the first story.
    """

    def __init__(self, tokenizer: sentencepiece.SentencePieceProcessor, start: int) -> None:
        self.tokenizer = tokenizer
        self.next = start

    def _story(self) -> list[int]:
        self.next += 1
        return [BOS, *self.tokenizer.encode(story(self.next - 1)), EOS]

    def batch(self, rows: int, length: int) -> Tensor:
        """Return (rows, length) tokens."""
        tokens = np.empty((rows, length), dtype=np.int64)
        for row in tokens:
            filled: list[int] = []
            while len(filled) < length:
                filled += self._story()
            row[:] = filled[:length]
        return torch.from_numpy(tokens)


def token_losses(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Return the loss of each token after the first, (rows, length - 1)."""
    logits, targets = model(tokens[:, :-1]).float(), tokens[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def share_done(options: Options, progress: Progress) -> float:
    """Return the share of its steps, or else of its time, that a run has taken."""
    if options.steps:
        return progress.step / options.steps
    return progress.seconds / (60 * options.minutes)


def learning_rate(options: Options, progress: Progress) -> float:
    """Warm up, then follow a cosine down to the last rate."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(share_done(options, progress), 1.0)))
    return min(1.0, (progress.step + 1) / options.warmup) * (
        options.last + (options.peak - options.last) * cosine
    )


def make_optimizer(model: DeciLM, options: Options) -> torch.optim.AdamW:
    """Return AdamW; weight decay acts on matrices only."""
    groups = [
        {"params": [w for w in model.parameters() if w.ndim == 2], "weight_decay": options.weight_decay},
        {"params": [w for w in model.parameters() if w.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.peak, betas=(0.9, 0.95))


def train(work: Path, options: Options) -> DeciLM:
    """Train, or go on training, with ``tokenizer.model`` and the checkpoint in the folder ``work``."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(work / "tokenizer.model"))
    shape, progress = Shape(), Progress()
    model = DeciLM(shape).to(options.device)
    optimizer = make_optimizer(model, options)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=options.device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        progress = Progress(**saved["progress"])

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": asdict(progress),
        }
        torch.save(state, work / "checkpoint.tmp")
        (work / "checkpoint.tmp").replace(checkpoint)
        record = {"options": asdict(options), **asdict(progress), "tokens": progress.step * row_tokens}
        (work / "train.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    network = torch.compile(model) if options.compile else model
    held_out = Stories(tokenizer, HELD_OUT_START).batch(64, shape.context + 1).to(options.device)
    source = Stories(tokenizer, progress.next_story)
    row_tokens = options.rows * shape.context
    saved_at = clock = time.perf_counter()
    average = math.nan
    with tqdm(unit="step", initial=progress.step, total=options.steps or None) as bar:
        while share_done(options, progress) < 1:
            rate = learning_rate(options, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate
            tokens = source.batch(options.rows, shape.context + 1).to(options.device)
            loss = token_losses(network, tokens).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
            optimizer.step()

            now = time.perf_counter()
            progress.step += 1
            progress.next_story = source.next
            progress.seconds += now - clock
            clock = now
            average = loss.item() if math.isnan(average) else 0.98 * average + 0.02 * loss.item()
            bar.update()
            if progress.step % CHECK_EVERY == 0 or share_done(options, progress) >= 1:
                with torch.no_grad():
                    checked = torch.stack(
                        [token_losses(model, rows).mean() for rows in held_out.split(16)]
                    ).mean()
                progress.curve.append({"step": progress.step, "train": average, "held_out": checked.item()})
                bar.set_postfix(loss=f"{average:.3f}", held_out=f"{checked:.3f}", lr=f"{rate:.1e}")
            if now - saved_at > SAVE_EVERY:
                save()
                saved_at = now
    save()
    return model


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of training to a command line."""
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for tokenizer, checkpoint and records"
    )
    parser.add_argument(
        "--minutes", type=float, default=Options.minutes, help="training time (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=0, help="train this many steps instead of some minutes")
    parser.add_argument(
        "--threads", type=int, default=Options.threads, help="CPU threads (default: %(default)s)"
    )
    parser.add_argument("--device", default=Options.device, help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="use torch.compile (needs a C++ compiler)")


def options_from(arguments: argparse.Namespace) -> Options:
    """Read the options of training from a parsed command line."""
    return Options(
        minutes=arguments.minutes,
        steps=arguments.steps,
        threads=arguments.threads,
        device=arguments.device,
        compile=arguments.compile,
    )


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the demo model.")
    add_options(parser)
    arguments = parser.parse_args()
    train(arguments.work, options_from(arguments))


if __name__ == "__main__":
    main()
