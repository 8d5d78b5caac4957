"""``minidecilm`` and ``python -m minidecilm``: the command line, which heeds Ctrl-C while it still loads."""

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def run() -> int:
    """Run the command line; return the exit code.

    Before it runs and after, when there is nothing to tidy up, Ctrl-C ends the process in one line.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not in a shell's background
    if heeded:
        signal.signal(signal.SIGINT, _stop)
    from minidecilm.cli.main import main

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    finally:
        if heeded:
            signal.signal(signal.SIGINT, _stop)


def _stop(*_: "Any") -> "NoReturn":
    os.write(2, b"interrupted\n")
    os._exit(130)  # what shells report for a program ended by Ctrl-C


if __name__ == "__main__":
    sys.exit(run())
