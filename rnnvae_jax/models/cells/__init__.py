"""Cells: one module each, found by its name (`config.model.cell`).

A module exports `CELL`, a subclass of one of the two contracts in `cells.base`:
`Cell`, a recurrent cell that `models.recurrent` runs over time, or `Stack`,
which replaces recurrent layers. Cells are listed nowhere else.
"""
