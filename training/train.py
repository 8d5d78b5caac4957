"""Trains the demo model on stories written as it goes, so that no story is seen twice.

A row is one whole story from position 0 on. Stories of about the same length share a batch, so that little of
it is padding. Run ``python -m training.train --work DIR --minutes 60``; a run that was stopped goes on where
it was.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._inductor import config as inductor
from tqdm import tqdm

from training.model import DeciLM, Shape
from training.muon import Muon
from training.stories import HELD_OUT_START, stories, writer_digest

BOS, EOS = 1, 2
PADDING = -1
POOL = 32  # batches that are sorted by length together
CHECK_EVERY = 250  # steps between held-out losses
SAVE_EVERY = 60.0  # seconds between checkpoints


@dataclass
class Options:
    """How to train.

    ``muon_rate`` is for the matrices inside the layers, ``adam_rate`` for embedding, head and norms. Both
    warm up over ``warmup`` steps, stay, and fall to zero over the last ``fall`` of the run, which is measured
    in ``minutes`` of the clock or, if given, in ``steps``.
    """

    minutes: float = 60.0
    steps: int = 0
    rows: int = 10
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    warmup: int = 50
    fall: float = 0.7
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    compile: bool = False


@dataclass
class Progress:
    """Where a run stands.

    ``starts`` tells of every time it was started: the step, the plan (``steps`` if not 0, else ``minutes``),
    and a digest of the story writer.
    """

    step: int = 0
    next_story: int = 0
    tokens: int = 0
    seconds: float = 0.0
    starts: list[dict[str, int | float | str]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)


def encode(tokenizer: sentencepiece.SentencePieceProcessor, text: str) -> list[int]:
    """Return a whole story's tokens."""
    return [BOS, *tokenizer.encode(text), EOS]


def pad(rows: list[list[int]]) -> Tensor:
    """Return rows of tokens as one matrix, filled up with ``PADDING``."""
    tokens = torch.full((len(rows), max(map(len, rows))), PADDING)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return tokens


class Stories:
    """Batches of stories, numbered from ``start`` on.

    Parameters
    ----------
    tokenizer : sentencepiece.SentencePieceProcessor
        The demo model's tokenizer.
    start : int
        Number of the first story.
    longest : int
        Most tokens of a row; what is left of a longer story is dropped.
    """

    def __init__(self, tokenizer: sentencepiece.SentencePieceProcessor, start: int, longest: int) -> None:
        self.tokenizer = tokenizer
        self.next = start
        self.longest = longest

    def batches(self, rows: int) -> Iterator[Tensor]:
        """Yield batches of ``rows`` stories for ever."""
        while True:
            texts = stories(self.next, rows * POOL)
            self.next += rows * POOL
            pool = sorted((encode(self.tokenizer, text)[: self.longest] for text in texts), key=len)
            batches = [pool[i : i + rows] for i in range(0, len(pool), rows)]
            random.Random(self.next).shuffle(batches)
            yield from map(pad, batches)


def token_losses(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Return the loss of each token after the first, (rows, length - 1); padding has none."""
    logits, targets = model(tokens[:, :-1].clamp(min=0)).float(), tokens[:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="none")
    return losses.view(targets.shape)


@torch.no_grad()
def mean_loss(model: torch.nn.Module, batches: Iterable[Tensor]) -> float:
    """Return the mean loss of all tokens of some batches."""
    total, count = 0.0, 0
    for tokens in batches:
        total += token_losses(model, tokens).sum().item()
        count += int((tokens[:, 1:] != PADDING).sum())
    return total / count


def share_done(options: Options, progress: Progress) -> float:
    """Return the share of its steps, or else of its time, that a run has taken."""
    if options.steps:
        return progress.step / options.steps
    return progress.seconds / (60 * options.minutes)


def rate_share(options: Options, progress: Progress) -> float:
    """Return the share of the learning rates to use now."""
    left = 1 - min(share_done(options, progress), 1.0)
    return min(1.0, (progress.step + 1) / options.warmup, left / options.fall)


def make_optimizers(model: DeciLM, options: Options) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the layers and AdamW for the rest."""
    inner = {name: w for name, w in model.named_parameters() if name.startswith("layers.") and w.ndim == 2}
    outer = [w for name, w in model.named_parameters() if name not in inner]
    return [
        Muon(inner.values(), lr=options.muon_rate, weight_decay=options.weight_decay),
        torch.optim.AdamW(outer, lr=options.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Threads:
    """Chooses the number of threads again and again.

    Threads wait for each other after every operation. When other programs hold some of the cores, fewer
    threads are faster, so every number is tried for a few steps and the fastest kept for a while.

    Parameters
    ----------
    most : int
        Largest number of threads.
    """

    tried, kept = 6, 150  # steps

    def __init__(self, most: int) -> None:
        self.most = most
        self.step = 0
        self.speeds: list[float] = []
        self.start = 0, 0.0

    def choose(self, progress: Progress) -> None:
        """Set the number of threads of the next step."""
        number, steps = divmod(self.step, self.tried)
        if steps == 0 and number <= self.most:
            now = progress.tokens, progress.seconds
            if number:
                self.speeds.append((now[0] - self.start[0]) / (now[1] - self.start[1]))
            self.start = now
            best = max(range(self.most), key=self.speeds.__getitem__) if number == self.most else number
            torch.set_num_threads(best + 1)
        self.step += 1
        if self.step == self.tried * self.most + self.kept:
            self.step, self.speeds = 0, []


def train(work: Path, options: Options) -> DeciLM:
    """Train, or go on training, with ``tokenizer.model`` and the checkpoint in the folder ``work``."""
    torch.manual_seed(options.seed)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(work / "tokenizer.model"))
    shape, progress = Shape(), Progress()
    model = DeciLM(shape).to(options.device)
    optimizers = make_optimizers(model, options)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=options.device, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        progress = Progress(**saved["progress"])
    progress.starts.append(
        {
            "step": progress.step,
            "minutes": options.minutes,
            "steps": options.steps,
            "stories": writer_digest(),
        }
    )

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "progress": asdict(progress),
        }
        torch.save(state, work / "checkpoint.tmp")
        (work / "checkpoint.tmp").replace(checkpoint)
        record = {"options": asdict(options), **asdict(progress)}
        (work / "train.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    inductor.cpp.dynamic_threads = True
    network = torch.compile(model, dynamic=True) if options.compile else model
    longest = shape.context + 1
    held_out = list(islice(Stories(tokenizer, HELD_OUT_START, longest).batches(16), 16))
    source = Stories(tokenizer, progress.next_story, longest)
    saved_at = clock = time.perf_counter()
    average = math.nan
    threads = Threads(options.threads)
    with tqdm(unit="step", initial=progress.step, total=options.steps or None) as bar:
        for tokens in source.batches(options.rows):
            if share_done(options, progress) >= 1:
                break
            threads.choose(progress)
            share = rate_share(options, progress)
            for optimizer, rate in zip(optimizers, (options.muon_rate, options.adam_rate), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = share * rate
            tokens = tokens.to(options.device)
            count = int((tokens[:, 1:] != PADDING).sum())
            loss = token_losses(network, tokens).sum() / count
            model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
            for optimizer in optimizers:
                optimizer.step()

            # Time in which the process is halted counts, so that a run ends by the clock.
            now = time.perf_counter()
            progress.seconds += now - clock
            clock = now
            progress.step += 1
            progress.tokens += count
            progress.next_story = source.next
            average = loss.item() if math.isnan(average) else 0.98 * average + 0.02 * loss.item()
            bar.update()
            if progress.step % CHECK_EVERY == 0 or share_done(options, progress) >= 1:
                checked = mean_loss(model, (batch.to(options.device) for batch in held_out))
                progress.curve.append({"step": progress.step, "train": average, "held_out": checked})
                bar.set_postfix(loss=f"{average:.3f}", held_out=f"{checked:.3f}", share=f"{share:.2f}")
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
        "--threads", type=int, default=Options.threads, help="most CPU threads (default: %(default)s)"
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
