"""Messages that say what is legal."""

from collections.abc import Iterable
import difflib


def unknown(what: str, got: str, known: Iterable[str]) -> str:
  """The message for a name that is not in `known`, with the nearest that is."""
  known = [name for name in known if name]
  close = difflib.get_close_matches(got, known, n=1)
  hint = f' Did you mean {close[0]!r}?' if close else ''
  return f'{what} = {got!r} is unknown.{hint} Known: {", ".join(known)}.'
