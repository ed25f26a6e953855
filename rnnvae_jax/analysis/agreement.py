"""Subject-verb agreement across intervening nouns (Linzen et al. 2016).

"the price of the shares is", never "are": a model that agrees with the nearest
noun is wrong if that noun differs in number from the subject.
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
  """The beginning of a sentence, and the two verbs that may follow."""

  words: tuple[str, ...]  # The words before the verb.
  right: str  # The verb that agrees with the subject.
  wrong: str  # The same verb in the other number.
  attractors: int  # Intervening nouns whose number differs from the subject's.
  between: int  # Nouns between the subject and the verb.


def items(
  known: Collection[str], most: int = 2, limit: int = 3_000, seed: int = 0
) -> list[Item]:
  """Generates a test set.

  Args:
    known: the words that items may contain.
    most: largest number of nouns between subject and verb.
    limit: largest number of items for each number of intervening nouns; if
      there are more, so many are drawn at random.
    seed: seed of the random draw.

  Raises:
    ValueError: too few of the test's words are known.
  """
  nouns = [pair for pair in NOUNS if set(pair) <= set(known)]
  verbs = [pair for pair in VERBS if set(pair) <= set(known)]
  links = [link for link in _LINKS if link in known]
  if len(nouns) <= most or not verbs or not links:
    raise ValueError(
      f'The test of agreement needs more than {most} of its pairs of nouns, a '
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
        # Without intervening nouns no preposition is used.
        links if between else links[:1],
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
  """Measures agreement by the numbers of intervening nouns and attractors.

  Args:
    items: the result of `items`.
    log_odds: items -> float[N], log p(right verb) - log p(wrong verb), nats.

  Returns:
    between, attractors, the number of items, accuracy (the share of items with
    log_odds above 0) and mean log_odds of each group.
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
