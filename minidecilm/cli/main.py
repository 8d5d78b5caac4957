"""The command line: generate, info, plot, quantize, compare, bench.

Bad input gives one line on stderr and exit code 2.
"""

import argparse
import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import minidecilm
from minidecilm import backends, rope
from minidecilm.api import PROMPT_TEMPLATES, WEIGHTS, find_folder, load
from minidecilm.bench import report as bench_report
from minidecilm.bench import timing as bench
from minidecilm.cache import KV_CACHES
from minidecilm.cli import info
from minidecilm.cli import plot as plot_command
from minidecilm.config import Config
from minidecilm.errors import Interrupted
from minidecilm.experiments import compare as diverge
from minidecilm.files import hub_name, replacing
from minidecilm.generation import check_length, length_limit
from minidecilm.observe import find_fault
from minidecilm.presets import PRESET_NAMES, preset
from minidecilm.trace import Step, Totals
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.packed import GROUPS
from minidecilm.weights.quantize import quantize_checkpoint
from minidecilm.weights.scheme import BITS

INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C
_MAX_PROMPT_BYTES = 16 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say it in one line, without the usage in front."""
        _say(f"{self.prog}: {message} (try {self.prog} --help)")
        self.exit(2)


def _say(message: str) -> None:
    """Print one line on stderr, unless that is closed."""
    with suppress(OSError):  # nobody can be told
        if sys.stderr is not None:
            print(" ".join(message.split()), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    command = "minidecilm"
    try:
        options = build_parser().parse_args(arguments)
        command += f" {options.command}"
        if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(
                errors="replace"
            )  # a terminal that lacks a character shows a question mark
        _say_on_bus_error(command, options)
        with np.errstate(all="ignore"):  # a command says what is wrong in a line of its own
            code = int(options.run(options))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _drop_output()
        return 1
    except MemoryError as problem:
        _say(f"{command}: not enough memory" + (f": {problem}" if str(problem) else ""))
        return 2
    except (ValueError, OSError) as problem:
        if isinstance(problem, OSError):
            if problem.filename is None and problem.errno in _FULL:  # what writes to a file names it
                problem.filename = "standard output"
            _drop_output()
        _say(f"{command}: {problem}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED


def _say_on_bus_error(command: str, options: argparse.Namespace) -> None:
    """Say in one line why the system ends a process that reads where a mapped file was cut short."""
    if not hasattr(signal, "SIGBUS"):
        return
    given = (getattr(options, name, None) for name in ("model", "source", "other"))
    models = " or ".join([str(name) for name in given if name] + getattr(options, "models", [])) or "demo"
    line = f"{command}: a file of {models} was cut short while it was read; let what writes there finish\n"

    def say(_: int) -> None:
        os.write(2, line.encode(errors="replace"))
        os._exit(2)

    # Python's own handlers would run only after the read, which fails. This one takes the GIL, so what reads
    # mapped weights in other threads must leave it: Numba's kernels are nogil, NumPy's products release it.
    _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(say))
    ctypes.CDLL(None).signal(int(signal.SIGBUS), _handlers[-1])


_handlers: list[Any] = []  # what C calls has to stay


def _drop_output() -> None:
    """Let what cannot be written go, or the interpreter would complain about it when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line, subcommands included."""
    parser = _Parser(
        "minidecilm", description="DeciLM 6B in NumPy: run it, look inside, count what it costs."
    )
    parser.add_argument("--version", action="version", version=f"minidecilm {minidecilm.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    generate = _add_command(
        commands,
        "generate",
        "continue a text",
        'minidecilm generate "Once upon a time" --echo --temperature 0.7',
    )
    generate.set_defaults(run=_generate)
    generate.add_argument("prompt", help="text to continue; - reads it from standard input")
    generate.add_argument(
        "--model", default="demo", help="demo, a checkpoint folder, or a hub id (default: demo)"
    )
    _add_load_options(generate)
    generate.add_argument("--template", help=f"prompt template: {', '.join(PROMPT_TEMPLATES)}")
    generate.add_argument("--echo", action="store_true", help="print the prompt before the new text")
    generate.add_argument("--max-new-tokens", type=int, default=100, metavar="N", help="(default: 100)")
    generate.add_argument("--max-length", type=int, metavar="N", help="allow prompt and new text of N tokens")
    generate.add_argument(
        "--temperature", type=float, default=1.0, metavar="X", help="0 is greedy (default: 1.0)"
    )
    generate.add_argument("--top-k", type=int, default=0, metavar="K", help="0 is off (default)")
    generate.add_argument("--top-p", type=float, default=0.95, metavar="P", help="1 is off (default: 0.95)")
    generate.add_argument("--min-p", type=float, default=0.0, metavar="P", help="0 is off (default)")
    generate.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="X", help="1 is off (default)"
    )
    generate.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    generate.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this text; may be repeated"
    )
    generate.add_argument("--trace", type=Path, metavar="FILE", help="write what every step did as JSON")

    describe = _add_command(
        commands,
        "info",
        "sizes, per-layer heads, bytes and dtypes of a model",
        "minidecilm info decilm-6b --compare llama-2-7b",
    )
    describe.set_defaults(run=_info)
    describe.add_argument(
        "model", help=f"{', '.join(PRESET_NAMES)}, demo, a config.json or a folder (./NAME)"
    )
    _add_ignored_keys(describe)
    describe.add_argument(
        "--compare", metavar="OTHER", help="set it beside another: weights, caches, largest batch, arithmetic"
    )
    describe.add_argument(
        "--json", action="store_true", help='print JSON; with --compare also "compared_with" and "comparison"'
    )

    draw = _add_command(
        commands,
        "plot",
        "draw KV heads, caches, throughput, rotary embedding or attention as SVG, PNG or PDF",
        "minidecilm plot kv-cache decilm-6b llama-2-7b --out cache.svg",
    )
    draw.set_defaults(run=plot_command.run)
    plot_command.add_arguments(draw)
    _add_ignored_keys(draw)

    quantize = _add_command(
        commands,
        "quantize",
        "write a model with int8 or int4 weights into a new folder",
        "minidecilm quantize DeciLM-6b-instruct decilm-6b-int4 --weights int4 --group 64",
    )
    quantize.set_defaults(run=_quantize)
    quantize.add_argument("source", help="demo, a checkpoint folder, or a hub id")
    quantize.add_argument("folder", type=Path, help="to be created")
    quantize.add_argument("--weights", default="int4", help=f"{', '.join(BITS)} (default: int4)")
    quantize.add_argument(
        "--group",
        type=int,
        default=64,
        metavar="N",
        help=f"columns that share a scale: {', '.join(map(str, GROUPS))} (default: 64)",
    )
    _add_ignored_keys(quantize)

    compare = _add_command(
        commands,
        "compare",
        "find the first stage at which two runs differ",
        "minidecilm compare demo --dtype float32,float64",
    )
    compare.set_defaults(run=_compare)
    compare.add_argument("model", help="demo, a checkpoint folder, or a hub id")
    compare.add_argument("other", nargs="?", help="second model (default: the same)")
    _add_load_options(compare, pair=True)
    compare.add_argument("--prompt", help="text to run on (default: pseudo-random token ids)")
    compare.add_argument(
        "--tokens", type=int, default=32, metavar="N", help="how many such ids (default: 32)"
    )
    compare.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        metavar="X",
        help="largest relative difference (default: 1e-3)",
    )
    compare.add_argument("--json", action="store_true", help="print JSON")

    measure = _add_command(
        commands,
        "bench",
        "tokens per second, beside what this machine allows",
        "minidecilm bench --config decilm-6b --random --weights int4 --batch 1,8",
    )
    measure.set_defaults(run=_bench)
    measure.add_argument("model", nargs="?", help="demo (default), a checkpoint folder, or a hub id")
    measure.add_argument("--config", metavar="NAME", help=f"{', '.join(PRESET_NAMES)}, or a config.json")
    measure.add_argument("--random", action="store_true", help="random weights for that config, in memory")
    measure.add_argument("--layers", type=int, metavar="N", help="its first N layers only")
    _add_load_options(measure)
    measure.add_argument("--prompt-tokens", type=int, default=128, metavar="N", help="(default: 128)")
    measure.add_argument("--new-tokens", type=int, default=32, metavar="N", help="(default: 32)")
    measure.add_argument(
        "--batch", type=_integers, default=(1, 8), metavar="N,N", help="batch sizes to measure (default: 1,8)"
    )
    measure.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="medians are of so many (default: 3)"
    )
    measure.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected integers with commas between, found {text!r}") from None


def _add_command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=f"example: {example}"
    )
    return parser


# name of an argument of load() -> (default, values)
_LOAD_OPTIONS = {
    "backend": ("auto", backends.BACKENDS),
    "weights": ("stored", WEIGHTS),
    "dtype": ("float32", ("float32", "float64", "bfloat16")),
    "rope": ("reference", rope.POLICIES),
    "kv_cache": ("compute", KV_CACHES),
}


def _add_load_options(parser: argparse.ArgumentParser, pair: bool = False) -> None:
    for name, (default, values) in _LOAD_OPTIONS.items():
        note = "; two values, with a comma between, for the two runs" if pair else ""
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=default,
            metavar=name.upper(),
            help=f"{', '.join(values)} (default: {default}){note}",
        )
    _add_ignored_keys(parser)


def _add_ignored_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ignore-config-key",
        action="append",
        default=[],
        metavar="KEY",
        help="pass over this key of config.json, which you know to change nothing; may be repeated",
    )


def _generate(options: argparse.Namespace) -> int:
    prompt = _read_prompt() if options.prompt == "-" else options.prompt
    settings = {name: getattr(options, name) for name in _LOAD_OPTIONS}
    lm = load(options.model, ignore_config_keys=options.ignore_config_key, **settings)
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
            max_new_tokens=options.max_new_tokens,
            max_length=options.max_length,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            min_p=options.min_p,
            repetition_penalty=options.repetition_penalty,
            seed=options.seed,
            trace=trace,
            totals=totals,
        )
        interrupted = not _print_pieces(pieces, prompt if options.echo else "")
        if trace_file:
            record = {"prompt": prompt, "steps": [asdict(step) for step in trace or ()]}
            trace_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _say("interrupted" if interrupted else str(totals))
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


def _info(options: argparse.Namespace) -> int:
    ignored = options.ignore_config_key
    model = info.find_model(options.model, ignore_config_keys=ignored)
    facts = info.facts(model)
    if options.compare is None:
        print(json.dumps(facts, indent=2) if options.json else info.table(facts))
        return 0
    other = info.find_model(options.compare, ignore_config_keys=ignored)
    compared = info.comparison(model, other)
    if options.json:
        print(json.dumps({**facts, "compared_with": other.name, "comparison": compared}, indent=2))
    else:
        print(info.comparison_table(compared, model.name, other.name))
    return 0


def _quantize(options: argparse.Namespace) -> int:
    quantize_checkpoint(
        find_folder(options.source),
        options.folder,
        options.weights,
        options.group,
        ignore_config_keys=options.ignore_config_key,
    )
    written = open_checkpoint(options.folder)
    bits = 8 * written.nbytes / written.config.num_parameters
    _say(f"{options.folder}: {written.nbytes:,} bytes of weights, {bits:.2f} bits each")
    return 0


def _compare(options: argparse.Namespace) -> int:
    settings: list[dict[str, Any]] = [{}, {}]
    for name in _LOAD_OPTIONS:
        values = getattr(options, name).split(",")
        if len(values) > 2:
            option = name.replace("_", "-")
            raise ValueError(f"--{option}: expected one value or two, found {len(values)}")
        for setting, value in zip(settings, values * (3 - len(values)), strict=True):
            setting[name] = value
    a, b = (
        load(m, ignore_config_keys=options.ignore_config_key, **s)
        for m, s in zip((options.model, options.other or options.model), settings, strict=True)
    )
    if not options.tolerance >= 0:
        raise ValueError(f"--tolerance: expected a number of at least 0, found {options.tolerance}")
    if options.prompt == "":
        raise ValueError("--prompt: the prompt is empty")
    if options.prompt is not None:
        if a.tokenizer is None:
            raise ValueError(
                f"{options.model} has no tokenizer.model, so --prompt cannot be read: use --tokens"
            )
        ids = [a.tokenizer.encode(options.prompt)]
        check_length(a.config, len(ids[0]), 1, None)
    elif not 1 <= options.tokens <= length_limit(a.config)[0]:
        raise ValueError(f"--tokens: expected 1 to {length_limit(a.config)[0]}, found {options.tokens}")
    else:
        ids = np.random.default_rng(0).integers(a.config.vocab_size, size=(1, options.tokens)).tolist()
    differences = diverge.compare(a.model, b.model, ids)
    for name, lm in (("first", a), ("second", b)):
        try:
            find_fault(lm.model, ids[0])
        except ValueError as problem:  # NaN differs from NaN; norms that vanish in both runs are the same
            _say(f"the {name} run: {problem}")
    first = diverge.first_difference(differences, options.tolerance)
    worst = max(differences, key=lambda d: np.nan_to_num(d.error, nan=np.inf))
    if options.json:
        result = {
            "runs": settings,
            "tolerance": options.tolerance,
            "first_difference": None if first is None else asdict(first),
            "stages": [asdict(d) for d in differences],
        }
        print(json.dumps(result, indent=1))
    elif first is None:
        print(
            f"the same within {options.tolerance:g} at all {len(differences)} stages; "
            f"most, {worst.error:.2g}, at {worst.where}"
        )
    else:
        print(
            f"first difference: {first.where}, {first.error:.2g} of its largest value "
            f"(tolerance {options.tolerance:g}); "
            f"most, {worst.error:.2g}, at {worst.where}"
        )
    return 0 if first is None else 1


def _bench(options: argparse.Namespace) -> int:
    backends.check_threads()  # Numba measures the machine's limits for every backend
    plan = bench.Plan(options.prompt_tokens, options.new_tokens, options.batch, options.rounds)
    settings = {name: getattr(options, name) for name in _LOAD_OPTIONS}
    if options.config is not None:
        if options.model is not None:
            raise ValueError("give a model or --config, not both")
        if not options.random:
            raise ValueError("--config: a config has no weights; add --random to measure with random ones")
        config = _named_config(options.config, options.ignore_config_key)
        title = f"{options.config} with random weights"
        if options.layers is not None:
            config = bench.first_layers(config, options.layers)
            title = f"first {options.layers} layers of {title}"
        model = bench.random_model(config, plan, **settings)
    elif options.random or options.layers is not None:
        raise ValueError("--random and --layers need --config: minidecilm bench --config decilm-6b --random")
    else:
        title = options.model or "demo"
        if title.lower() in PRESET_NAMES and not Path(title).exists():
            raise ValueError(f"{title} is a preset without weights: --config {title} --random measures it")
        lm = load(title, ignore_config_keys=options.ignore_config_key, **settings)
        model, title = lm.model, hub_name(lm.checkpoint.folder) or title
        find_fault(model, [0, 1, 2])
    measurement = bench.measure(model, plan)
    limits = bench.probe(bench.threads_of(model.backend.name), bench.arithmetic_of(model))
    facts = bench_report.report(model, measurement, limits)
    if options.json:
        name = {"model": options.config or title, "random_weights": options.random}
        print(json.dumps({**name, **facts}, indent=1))
    else:
        print(bench_report.table(facts, title))
    return 0


def _named_config(name: str, ignored: list[str]) -> Config:
    if name.lower() in PRESET_NAMES:
        return preset(name)
    if not Path(name).is_file():
        raise ValueError(f"--config: no preset or config.json {name!r}; presets: {', '.join(PRESET_NAMES)}")
    return Config.from_file(name, ignore_config_keys=ignored)
