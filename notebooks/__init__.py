"""Walkthroughs: py:percent sources and, made from them by `python -m notebooks.build`, executed notebooks."""
