"""The command line: finds the command, and turns what it raises into one line on stderr and exit code 2."""

import argparse
import ctypes
import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

import minidecilm
from minidecilm.cli import bench, compare, export, generate, info, merge, plot, quantize
from minidecilm.cli.options import INTERRUPTED, say

#: Each module has the name of its command.
COMMANDS = (generate, info, plot, quantize, merge, export, compare, bench)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say it in one line, without the usage in front."""
        say(f"{self.prog}: {message} (try {self.prog} --help)")
        self.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    command = "minidecilm"
    try:
        options = build_parser().parse_args(arguments)
        command += f" {options.command}"
        if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # what a terminal lacks is a question mark there
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
        say(f"{command}: not enough memory" + (f": {problem}" if str(problem) else ""))
        return 2
    except (ValueError, OSError) as problem:
        if isinstance(problem, OSError):
            if problem.filename is None and problem.errno in _FULL:  # what writes to a file names it
                problem.filename = "standard output"
            _drop_output()
        say(f"{command}: {problem}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


def _say_on_bus_error(command: str, options: argparse.Namespace) -> None:
    """Say in one line why the system ends a process that reads where a mapped file was cut short."""
    if not hasattr(signal, "SIGBUS"):
        return
    given = (getattr(options, name, None) for name in ("model", "source", "other"))
    models = " or ".join([str(name) for name in given if name] + getattr(options, "models", [])) or "demo"
    line = f"{command}: a file of {models} was cut short while it was read; let what writes there finish\n"

    def say_it(_: int) -> None:
        os.write(2, line.encode(errors="replace"))
        os._exit(2)

    # Python's own handlers would run only after the read, which fails. This one takes the GIL, so what reads
    # mapped weights in other threads must leave it: Numba's kernels are nogil, NumPy's products release it.
    _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(say_it))
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
    for module in COMMANDS:
        command = commands.add_parser(
            module.__name__.rpartition(".")[2],
            help=module.SUMMARY,
            description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.",
            epilog=f"example: {module.EXAMPLE}",
        )
        command.set_defaults(run=module.run)
        module.add(command)
    return parser
