"""Errors with a name of their own: each says where, what was expected and found, what to do."""


class ConfigError(ValueError):
    """A config.json, or a :class:`minidecilm.Config` built by hand, that contradicts itself."""


class CheckpointError(ValueError):
    """A checkpoint folder whose files do not hold exactly the tensors that its config asks for."""


class ForkError(RuntimeError, ValueError):
    """Use of the Numba backend in a process that was forked too late for it.

    A ValueError too: like all of them, the command line says it in one line.
    """
