"""Linen modules: cells, recurrent stacks, language models, sentence VAEs.

`models.build` makes them from a config; the other modules take typed arguments
and do not depend on configs.
"""
