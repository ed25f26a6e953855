"""C++ sources of operations that are compiled for the CPU at hand."""
