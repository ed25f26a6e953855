"""Subject-verb agreement across nouns in between (Linzen et al. 2016).

"the price of the shares is", never "are": a model that goes by the nearest noun
is wrong where it differs in number from the subject.
"""

from collections.abc import Callable, Collection
import itertools
from typing import NamedTuple

import numpy as np

NOUNS = (
  ('company', 'companies'),
  ('bank', 'banks'),
  ('plan', 'plans'),
  ('report', 'reports'),
  ('market', 'markets'),
  ('official', 'officials'),
  ('executive', 'executives'),
  ('investor', 'investors'),
  ('writer', 'writers'),
  ('book', 'books'),
  ('country', 'countries'),
  ('product', 'products'),
)
VERBS = (('is', 'are'), ('was', 'were'), ('has', 'have'))
_LINKS = ('of', 'near', 'with')


class Item(NamedTuple):
  """A sentence up to its verb."""

  words: tuple[str, ...]
  right: str
  wrong: str
  attractors: int  # Nouns in between whose number is not the subject's.
  between: int  # Nouns in between.


def items(
  known: Collection[str], most: int = 2, limit: int = 3_000, seed: int = 0
) -> list[Item]:
  """A generated test set.

  Args:
    known: words; an item has no others.
    most: nouns between subject and verb, at most.
    limit: items for each number of nouns in between; so many are drawn.
    seed: of the draw.

  Raises:
    ValueError: too few of the test's words are known.
  """
  nouns = [pair for pair in NOUNS if set(pair) <= set(known)]
  verbs = [pair for pair in VERBS if set(pair) <= set(known)]
  links = [link for link in _LINKS if link in known]
  if len(nouns) <= most or not verbs or not links:
    raise ValueError(
      f'The test of agreement wants more than {most} of its pairs of nouns, a '
      f'pair of verbs and a preposition; the vocabulary has {len(nouns)}, '
      f'{len(verbs)} and {len(links)}.'
    )
  rng = np.random.default_rng(seed)
  made = []
  for between in range(most + 1):
    candidates: list[Item] = []
    for chosen in itertools.permutations(nouns, between + 1):
      for numbers, link, verb in itertools.product(
        itertools.product((0, 1), repeat=between + 1),
        links if between else links[:1],  # Without nouns between there is none.
        verbs,
      ):
        words = ['the', chosen[0][numbers[0]]]
        for noun, number in zip(chosen[1:], numbers[1:], strict=True):
          words += [link, 'the', noun[number]]
        candidates.append(
          Item(
            tuple(words),
            verb[numbers[0]],
            verb[1 - numbers[0]],
            sum(n != numbers[0] for n in numbers[1:]),
            between,
          )
        )
    keep = rng.permutation(len(candidates))[:limit]
    made += [candidates[i] for i in sorted(keep)]
  return made


def measure(
  items: list[Item], log_odds: Callable[[list[Item]], np.ndarray]
) -> list[dict[str, float]]:
  """By nouns in between and attractors among them: how often, how clearly.

  Args:
    items: from `items`.
    log_odds: of items, float[N]: nats by which the right verb is more probable
      than the wrong one.

  Returns:
    between, attractors, items, accuracy and the mean log_odds of each group.
  """
  values = log_odds(items)
  groups: dict[tuple[int, int], list[float]] = {}
  for item, value in zip(items, values, strict=True):
    groups.setdefault((item.between, item.attractors), []).append(float(value))
  return [
    {
      'between': between,
      'attractors': attractors,
      'items': len(group),
      'accuracy': float(np.mean(np.array(group) > 0)),
      'log_odds': float(np.mean(group)),
    }
    for (between, attractors), group in sorted(groups.items())
  ]
