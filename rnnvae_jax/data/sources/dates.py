"""Dates as people write them, and the same dates in ISO 8601: 2014-03-07.

A date between 1900 and 2099 is drawn, and one of the notations below. In all of
them the month is a word, or the order is that of ISO 8601, so that each source
has one answer. A day is in one split alone, whatever its notation: what is
tested are days that have not been trained on.
"""

from collections.abc import Callable
import datetime

import numpy as np

from rnnvae_jax.data.sources import base

_FIRST = datetime.date(1900, 1, 1)
_DAYS = (datetime.date(2100, 1, 1) - _FIRST).days
_MONTHS = (
  *('January', 'February', 'March', 'April', 'May', 'June', 'July'),
  *('August', 'September', 'October', 'November', 'December'),
)
_WEEKDAYS = (
  *('Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday'),
  *('Saturday', 'Sunday'),
)
SIZES = {'train': 10_000, 'valid': 500, 'test': 1_000}


def _ordinal(day: int) -> str:
  ending = 'th' if 10 < day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10)
  return f'{day}{ending or "th"}'


def _month(date: datetime.date) -> str:
  return _MONTHS[date.month - 1]


def _weekday(date: datetime.date) -> str:
  return _WEEKDAYS[date.weekday()]


# Names of months and days are spelt here, since strftime's follow the locale.
NOTATIONS: tuple[Callable[[datetime.date], str], ...] = (
  lambda d: f'{d.day} {_month(d)} {d.year}',
  lambda d: f'{d.day} {_month(d)[:3]} {d.year}',
  lambda d: f'{_month(d)} {d.day}, {d.year}',
  lambda d: f'{_month(d)[:3]} {d.day:02}, {d.year}',
  lambda d: f'{_ordinal(d.day)} of {_month(d)} {d.year}',
  lambda d: f'the {_ordinal(d.day)} of {_month(d)}, {d.year}',
  lambda d: f'{_weekday(d)}, {d.day} {_month(d)} {d.year}',
  lambda d: f'{_weekday(d)[:3]}, {_month(d)[:3]} {_ordinal(d.day)} {d.year}',
  lambda d: f'{d.day}-{_month(d)[:3].upper()}-{d.year}',
  lambda d: f'{d.year}, {_month(d)} {d.day}',
  lambda d: f'{d.year}.{d.month:02}.{d.day:02}',
  lambda d: f'{d.year}/{d.month}/{d.day}',
)


def splits() -> base.Records:
  """The corpus, always the same."""
  rng = np.random.default_rng(0)
  records: base.Records = {split: [] for split in SIZES}
  seen = set()
  while any(len(records[split]) < size for split, size in SIZES.items()):
    date = _FIRST + datetime.timedelta(days=int(rng.integers(_DAYS)))
    source = NOTATIONS[rng.integers(len(NOTATIONS))](date)
    split = base.split_of(date.isoformat())
    if source not in seen and len(records[split]) < SIZES[split]:
      seen.add(source)
      records[split].append({'text': date.isoformat(), 'source': source})
  return records


class _Dates(base.Source):
  """The pairs, drawn each time they are read."""

  def read(self, data_dir: str | None = None) -> base.Records:
    """Draws the pairs, always the same; `data_dir` is unused."""
    del data_dir
    return splits()


SOURCE = _Dates(
  name='dates',
  summary='synthetic; dates in many notations, and in ISO 8601',
  protocol='characters',
  labels=('source',),
)
