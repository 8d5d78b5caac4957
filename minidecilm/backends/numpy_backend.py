"""The reference backend: the definitions themselves."""

from minidecilm.backends import Backend

NUMPY = Backend("numpy")
