"""Speed and memory, measured against PyTorch and plain Flax."""
