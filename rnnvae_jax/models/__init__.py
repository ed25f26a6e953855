"""Linen modules: cells, recurrent stacks, language models, sentence VAEs.

`models.build` makes them from a config; everything else of the package has
plain typed arguments.
"""
