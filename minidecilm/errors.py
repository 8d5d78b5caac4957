"""The errors a file from outside can cause: each says where, what was expected and found, what to do."""


class ConfigError(ValueError):
    """A config.json, or a :class:`minidecilm.Config` built by hand, that contradicts itself."""


class CheckpointError(ValueError):
    """A checkpoint folder whose files do not hold exactly the tensors that its config asks for."""
