"""What is measured on a model: losses, differences between runs, and fewer KV heads."""
