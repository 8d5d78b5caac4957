"""The page on which caches and batches of two models are compared."""
