"""Pictures without a screen."""

from typing import Any


def pyplot() -> Any:
  """matplotlib's pyplot, which takes a second to import, drawing to files."""
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  return pyplot


def save(figure: Any, path: str) -> None:
  """Writes a figure, and forgets it."""
  figure.savefig(path, dpi=120)
  pyplot().close(figure)
