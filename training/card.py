"""Writes the demo model's card from ``training/metrics.json``; every number in it comes from there.

Run ``python -m training.card --out minidecilm/demo``.
"""

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from training.measure import METRICS
from training.model import Shape

_CARD = """\
---
license: apache-2.0
language: en
---

# minidecilm demo model

A small DeciLM that tells stories for children. It ships with minidecilm, so that everything can be tried
without a download. It is a toy: it knows nothing but the stories described here.

## Shape

{parameters:,} parameters, {megabytes:.1f} MB in bfloat16. {layers} layers, {hidden} wide, {heads} query
heads of {head_dim}, feed-forward {intermediate}, {vocabulary:,} pieces, untied head, {context} positions,
dynamic NTK scaling with factor {factor:g} beyond them. KV heads per layer: {kv_heads}, the pattern of
DeciLM-6B with its long middle shortened. The files have the layout of the published DeciLM-6B checkpoint:
its configuration keys, tensor names and three shards, with layers that straddle them.

## Data

The text is written by a program, `training/stories.py`: {plots} plot skeletons with many sentence
patterns for each step, and lists of names, kinds, places and things. A girl and a boy, one of the
family, a place and a thing are cast first and stay the same to the end. No third-party text was used.
Every story has a number; training used the numbers 0 to {last_story:,}, each at most once, and the
held-out set comes from numbers that training never reaches.

The tokenizer is a SentencePiece BPE with the settings of Llama 2 (byte fallback, split digits, identity
normalisation), trained on the same stories. Every name, kind, thing and family word is a single piece.

## Training

{steps:,} steps of {rows} stories, {tokens:,} tokens in all, in {minutes:.0f} minutes on {machine}. Muon
with rate {muon_rate:g} and weight decay {weight_decay:g} for the matrices inside the layers, AdamW with
rate {adam_rate:g} for embedding, head and norms; {warmup} steps of warm-up, and a straight line down to
zero over the last {fall:.0%} of the time. {extended}Gradients clipped at {clip:g}, float32. A row
holds one whole story from position 0 on. The weights begin close to copying: the head as a small copy of
the embedding, the output of each attention head as the transpose of its values.

## Held-out loss

{held_out_stories:,} stories, {held_out_tokens:,} tokens, each story alone from position 0, with the
shipped bfloat16 weights: **{loss:.3f} nats per token, perplexity {perplexity:.2f}**. With the float32
weights of the run: {loss_float32:.3f}. Which name, place or plot comes next is chance in these stories,
so the loss cannot go to zero.

| position | perplexity |
|---|---|
{buckets}

## What the samples are like

{count} samples of "{prompt}" at temperature {temperature:g}, top-p {top_p:g}, seeds 0 to {last_seed},
beside as many held-out stories of the story writer. They are the texts that `minidecilm generate
"{prompt}" --echo --temperature {temperature:g} --max-new-tokens 250 --seed ...` prints. Overlap is the
longest run of words shared with any training story. The last rows are slips, counted by
`training/slips.py`.

| | samples | story writer |
|---|---|---|
{table}

A sentence pattern that the story writer uses often is found in the training text whoever writes it: the
column on the right shows how much of the overlap is due to that.

## Samples, not picked

Seeds 0 to 4 of "{prompt}":

{texts}

Seed 0 of other prompts:

{other_texts}

## Limits

It continues in the words and plots of its training stories only, whatever the prompt says. Beyond
{context} tokens it was not trained. It is no assistant and states no facts.

Licence: Apache-2.0, like the program. `python -m training.build` makes it anew.
"""


def _wrap(text: str) -> str:
    """Wrap the paragraphs of prose anew, now that the numbers are in them."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p[0] in "#|>-\n" else textwrap.fill(p.strip(), 110) for p in paragraphs) + "\n"


def _quote(text: str) -> str:
    return "\n".join(f"> {paragraph}\n>" for paragraph in text.split("\n")).removesuffix("\n>")


def _rows(metrics: dict[str, Any]) -> str:
    pair = metrics["samples"], metrics["story_writer"]

    def row(title: str, *values: str) -> str:
        return f"| {title} | {' | '.join(values)} |"

    rows = [
        row("ended by themselves within the context", f"{metrics['ended']:.0%}", ""),
        row("words, mean", *(f"{m['mean_words']:.0f}" for m in pair)),
        row("longest overlap in words, median", *(f"{m['overlap_median']:g}" for m in pair)),
        row("longest overlap in words, largest", *(f"{m['overlap_longest']}" for m in pair)),
        *(
            row(f"overlap of {n} words or more", *(f"{m['overlap_share'][n]:.0%}" for m in pair))
            for n in pair[0]["overlap_share"]
        ),
        row("equal to a training story", *(f"{m['whole_stories_from_training']}" for m in pair)),
        row("5-word runs that repeat within the text", *(f"{m['repeated_5_grams']:.1%}" for m in pair)),
        *(row(name, *(f"{m['slips'][name]:.0%}" for m in pair)) for name in pair[0]["slips"]),
    ]
    return "\n".join(rows)


def _extended(run: dict[str, Any]) -> str:
    """Say where a run that was started again got another plan or other stories than before."""
    before, parts = run["starts"][0], []
    for start in run["starts"][1:]:
        edited = start["stories"] != before["stories"]
        if edited or _plan(start) != _plan(before):
            note = ", with stories edited before (the overlaps below are with these)" if edited else ""
            parts.append(f"from step {start['step']:,} to {_plan(start)}{note}")
        before = start
    if not parts:
        return ""
    return (
        f"The run was planned for {_plan(run['starts'][0])} and went on {' and '.join(parts)}, the rates "
        "rising again to where the longer plan has them. "
    )


def _plan(start: dict[str, Any]) -> str:
    return f"{start['steps']:,} steps" if start["steps"] else f"{start['minutes']:g} minutes in all"


def write_card(metrics: dict[str, Any], out: Path) -> None:
    """Write ``README.md`` into the folder ``out``."""
    shape, run = Shape(), metrics["run"]
    options, held_out, samples = run["options"], metrics["held_out"], metrics["samples"]
    on_cpu = options["device"] == "cpu"
    text = _CARD.format(
        parameters=metrics["parameters"],
        megabytes=metrics["weight_bytes"] / 1e6,
        layers=len(shape.kv_heads),
        hidden=shape.hidden,
        heads=shape.heads,
        head_dim=shape.head_dim,
        intermediate=shape.intermediate,
        vocabulary=shape.vocabulary,
        context=shape.context,
        factor=shape.rope_factor,
        kv_heads=", ".join(map(str, shape.kv_heads)),
        plots=metrics["plots"],
        last_story=run["next_story"] - 1,
        steps=run["step"],
        rows=options["rows"],
        tokens=run["tokens"],
        minutes=run["seconds"] / 60,
        extended=_extended(run),
        machine=f"{options['threads']} CPU cores, shared with other work" if on_cpu else "one GPU",
        **{key: options[key] for key in ("muon_rate", "adam_rate", "weight_decay", "warmup", "fall", "clip")},
        held_out_stories=held_out["stories"],
        held_out_tokens=held_out["tokens"],
        loss=held_out["loss"],
        perplexity=held_out["perplexity"],
        loss_float32=held_out["loss_float32"],
        buckets="\n".join(
            f"| {name} | {value:.2f} |" for name, value in held_out["perplexity_by_position"].items()
        ),
        count=samples["texts"],
        last_seed=samples["texts"] - 1,
        table=_rows(metrics),
        texts="\n\n".join(f"Seed {seed}:\n\n{_quote(text)}" for seed, text in enumerate(metrics["texts"])),
        other_texts="\n\n".join(
            f'"{prompt}":\n\n{_quote(text)}' for prompt, text in metrics["other_texts"].items()
        ),
        **metrics["sampling"],
    )
    (out / "README.tmp").write_text(_wrap(text), encoding="utf-8")
    (out / "README.tmp").replace(out / "README.md")


def main() -> None:
    """Write the card from the command line."""
    parser = argparse.ArgumentParser(description="Write the demo model's card.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the exported model")
    arguments = parser.parse_args()
    write_card(json.loads(METRICS.read_text(encoding="utf-8")), arguments.out)


if __name__ == "__main__":
    main()
