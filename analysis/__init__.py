"""Figures of what DeciLM's design buys: one script each, all of them with ``python -m analysis.make_all``."""
