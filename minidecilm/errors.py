"""What the package raises of its own: errors that files from outside cause, and Ctrl-C with what there is.

An error says where, what was expected and found, and what to do.
"""

from typing import Any


class ConfigError(ValueError):
    """A config.json, or a :class:`minidecilm.Config` built by hand, that contradicts itself."""


class CheckpointError(ValueError):
    """A checkpoint folder whose files do not hold exactly the tensors that its config asks for."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while text was being generated.

    Attributes
    ----------
    generated : object
        What there is: as the interrupted call would have returned it, or for a stream its whole text so far.
    """

    def __init__(self, generated: Any) -> None:
        super().__init__()
        self.generated = generated

    def __reduce__(self) -> tuple[Any, ...]:
        return Interrupted, (self.generated,)  # so that it comes back from a worker process


class ForkError(RuntimeError, ValueError):
    """Use of the Numba backend in a process that was forked too late for it.

    A ValueError too: like all of them, the command line says it in one line.
    """
