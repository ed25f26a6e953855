"""Cells: one module each, found by its name (`config.model.cell`).

A module exports `CELL`, a class that fulfils one of the two contracts of
`cells.base`: a recurrent cell, which `models.recurrent` runs over time, or a
stack that replaces recurrent layers. No list elsewhere names it.
"""
