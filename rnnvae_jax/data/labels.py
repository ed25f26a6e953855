"""Labels of sentences and tags of tokens, and their ids.

A field is 'label', an id for each sentence, or 'tags', an id for each token.
"""

from collections.abc import Sequence
import itertools

import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.config import schema
from rnnvae_jax.data import spellings
from rnnvae_jax.data.sources import base

FIELDS = ('label', 'tags')  # Arrays that a batch may have besides tokens.
# Fields with an entry for each token.
PER_TOKEN = frozenset({'tags', spellings.INDEX})
NONE = -1  # The id of a training text without a label.


@schema.fragment('corpus')
class LabelConfig:
  """Keys of tasks that read the field 'label'; see `corpora.build`."""

  label_column: str = schema.field(
    '',
    "What of a sentence is its label: 'topic', 'author', ...; '': the first "
    "that the corpus has, of a folder 'label'.",
  )
  unlabelled: str = schema.field(
    '',
    'Another corpus, folder or file, whose training text is read without '
    'labels besides that with labels.',
  )
  most_labels: int = schema.field(
    0,
    'Labelled texts that are trained on at most, equally many of each label; '
    'the others are left out. 0: all. Which ones does not depend on `seed`, '
    'and fewer are some of more.',
    low=0,
  )


def check_fields(fields: Sequence[str], stream: bool) -> None:
  known = (*FIELDS, 'source', spellings.FIELD)
  for name in fields:
    if name not in known:
      raise ValueError(errors.unknown('field', name, known))
  if len([name for name in fields if name != spellings.FIELD]) > 1:
    raise ValueError(
      f'fields = {tuple(fields)}: a corpus has one list of label names. Legal: '
      f'one of {", ".join(FIELDS)}.'
    )
  if fields and stream:
    raise ValueError(
      f'fields = {tuple(fields)}: a stream has no sentences to be labelled. '
      'Legal: none.'
    )


def ids_of(fields: Sequence[str]) -> tuple[str, ...]:
  """The fields of ids of labels: all but 'source'; see `parallel`."""
  return tuple(name for name in fields if name in FIELDS)


def check_column(name: str, records: base.Records, column: str) -> None:
  """Raises ValueError unless the records of each split have this column."""
  for split, split_records in records.items():
    known = [key for key in split_records[0] if key != 'text']
    if column not in known:
      has = f'there are {", ".join(known)}' if known else 'there are no others'
      raise ValueError(
        f'{name}, {split}: beside the text there is no {column!r}; {has}. In a '
        'labelled folder each line is a label, a tab and the text.'
      )


def fewer(
  records: Sequence[base.Record], column: str, most: int
) -> list[base.Record]:
  """Draws records, equally many of each label, and keeps their order.

  The draw is the same each time, and a smaller one is part of a larger one.

  Args:
    records: of the training text.
    column: the key of a record that is its label.
    most: how many to keep; a label has an equal share of it, rounded down, or
      all of its records if it has fewer.

  Raises:
    ValueError: a share is 0.
  """
  by_label: dict[str, list[int]] = {}
  for number, record in enumerate(records):
    if record['text'].strip():  # A blank line has no label.
      by_label.setdefault(record[column], []).append(number)
  share = most // len(by_label)
  if not share:
    raise ValueError(
      f'most_labels = {most} are fewer texts than there are labels, '
      f'{len(by_label)}. Legal: at least {len(by_label)}, or 0, all texts.'
    )
  rng = np.random.default_rng(0)
  drawn = [rng.permutation(by_label[name])[:share] for name in sorted(by_label)]
  return [records[number] for number in sorted(np.concatenate(drawn))]


def names_of(values: Sequence[Sequence[str]]) -> tuple[str, ...]:
  """The different values, in the order of their ids."""
  return tuple(sorted(set(itertools.chain.from_iterable(values))))


def encode(
  where: str,
  column: str,
  values: Sequence[Sequence[str]],
  names: Sequence[str],
  unseen: bool = False,
) -> tuple[list[np.ndarray], tuple[str, ...]]:
  """Converts labels or tags to ids.

  Args:
    where: the corpus and its split, for messages.
    column: name of the column, for messages.
    values: the tags of each sentence, or a tuple of its label.
    names: names of the labels or tags, in the order of their ids.
    unseen: whether values without a name are legal; their ids follow.

  Returns:
    The ids of each sentence, int32[number of values] each; and the values
    without a name, in the order of their ids.

  Raises:
    ValueError: a value has no id.
  """
  ids = {name: i for i, name in enumerate(names)}
  strange = set(itertools.chain.from_iterable(values)) - set(ids)
  if strange and not unseen:
    listed = ', '.join(map(repr, sorted(strange)[:5]))
    known = ', '.join(map(repr, names[:20]))
    raise ValueError(
      f'{where}: {len(strange)} values of {column!r} never occur in the '
      f'training text: {listed}. Known: {known}.'
    )
  others = tuple(sorted(strange))
  ids |= {name: len(names) + i for i, name in enumerate(others)}
  rows = [np.array([ids[v] for v in row], np.int32) for row in values]
  return rows, others
