"""`minidecilm generate`: the text on stdout and nothing else there."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path

from minidecilm.api import PROMPT_TEMPLATES, load
from minidecilm.cli.options import INTERRUPTED, add_load_options, load_options, say
from minidecilm.errors import Interrupted
from minidecilm.files import replacing
from minidecilm.sampling import Options
from minidecilm.trace import Step, Totals

SUMMARY = "continue a text"
EXAMPLE = 'minidecilm generate "Once upon a time" --echo --temperature 0.7'
_FLAGS = [field for field in fields(Options) if "flag" in field.metadata]
_MAX_PROMPT_BYTES = 16 << 20


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("prompt", help="text to continue; - reads it from standard input")
    parser.add_argument(
        "--model", default="demo", help="demo, a checkpoint folder, or a hub id (default: demo)"
    )
    add_load_options(parser)
    parser.add_argument("--template", help=f"prompt template: {', '.join(PROMPT_TEMPLATES)}")
    parser.add_argument("--echo", action="store_true", help="print the prompt before the new text")
    for field in _FLAGS:
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, default=field.default, **field.metadata["flag"])
    parser.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; may be repeated"
    )
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write what every step did as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the text as it comes; return the exit code."""
    prompt = _read_prompt() if options.prompt == "-" else options.prompt
    lm = load(options.model, ignore_config_keys=options.ignore_config_key, **load_options(options))
    trace: list[Step] | None = [] if options.trace else None
    totals = Totals()
    # The trace file is opened first: a name that cannot be written is said before the work, not after.
    with replacing(options.trace) if options.trace else nullcontext() as trace_file:
        if trace_file:
            trace_file.touch()
        pieces = lm.stream(
            prompt,
            stop=options.stop,
            template=options.template,
            trace=trace,
            totals=totals,
            **{field.name: getattr(options, field.name) for field in _FLAGS},
        )
        interrupted = not _print_pieces(pieces, prompt if options.echo else "")
        if trace_file:
            record = {"prompt": prompt, "steps": [asdict(step) for step in trace or ()]}
            trace_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    say("interrupted" if interrupted else str(totals))
    return INTERRUPTED if interrupted else 0


def _read_prompt() -> str:
    """Read standard input as UTF-8, without the newline that ends its last line."""
    if sys.stdin is None or sys.stdin.closed:
        raise ValueError("standard input is closed: pipe a text in, or give it as an argument")
    text = getattr(sys.stdin, "buffer", sys.stdin).read(_MAX_PROMPT_BYTES + 1)
    if len(text) > _MAX_PROMPT_BYTES:
        raise ValueError(f"standard input: expected at most {_MAX_PROMPT_BYTES:,} bytes of text, found more")
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    except UnicodeDecodeError as problem:
        byte = problem.object[problem.start]
        raise ValueError(
            f"standard input: expected UTF-8, found the byte 0x{byte:02X} at position {problem.start}"
        ) from None
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def _print_pieces(pieces: Iterator[str], echo: str) -> bool:
    """Print text as it comes, after `echo` once the first piece is there; return False after Ctrl-C."""
    shown = 0
    try:
        for piece in pieces:  # every argument has been checked once there is one
            print(echo, piece, sep="", end="", flush=True)
            echo = ""
            shown += len(piece)
    except KeyboardInterrupt as stop:
        print(echo, stop.generated[shown:] if isinstance(stop, Interrupted) else "", sep="")
        return False
    print(echo)
    return True
