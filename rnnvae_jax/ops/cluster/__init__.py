"""CUDA kernels of recurrent layers; README.md in this folder describes them."""
