"""Pictures without a screen."""

from typing import Any


def pyplot() -> Any:
  """matplotlib's pyplot, which takes a second to import, drawing to files."""
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  return pyplot


def legend(axes: Any, **settings: Any) -> None:
  """A legend where it hides least.

  Which is the default too, but a default place is warned of where finding it
  takes a second, and of that a busy machine is enough.
  """
  axes.legend(loc='best', **settings)


def save(figure: Any, path: str) -> None:
  """Writes a figure, and forgets it."""
  figure.savefig(path, dpi=120)
  pyplot().close(figure)
