"""Recurrent language models and sentence VAEs as compiled JAX programs."""
