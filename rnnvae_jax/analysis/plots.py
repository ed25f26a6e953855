"""Plots that are written to files, without a display."""

from typing import Any

import numpy as np

# Distinguished by readers who are colour-blind (Okabe & Ito 2008).
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')


def pyplot() -> Any:
  """Imports matplotlib's pyplot with the backend that draws to files.

  The import takes a second, so this module does not do it by itself.
  """
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  return pyplot


def legend(axes: Any, **settings: Any) -> None:
  """Adds a legend where it hides the fewest points.

  matplotlib's default location is the same, but as a default it causes a
  warning when the search takes more than a second, as on a busy machine.
  """
  axes.legend(loc='best', **settings)


def sums(axes: Any) -> None:
  """Lines on which the sum of both axes is the same, behind the curves."""
  limits = axes.get_xlim(), axes.get_ylim()
  x, y = np.meshgrid(*(np.linspace(*ends) for ends in limits))
  lines = axes.contour(
    x, y, x + y, colors='gray', linestyles=':', linewidths=0.8, zorder=0
  )
  axes.clabel(lines, fontsize=7, fmt='%g')


def save(figure: Any, path: str) -> None:
  """Writes a figure to a file and closes it."""
  figure.savefig(path, dpi=120)
  pyplot().close(figure)
