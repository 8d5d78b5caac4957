"""Weights: from disk to arrays and back, packed to int8 and int4, or random."""
