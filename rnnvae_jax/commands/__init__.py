"""What `--mode` does, one module a mode, found by its name; see `base`."""
