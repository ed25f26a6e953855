"""A small grammar of English whose entropy and latent factors are known.

A sentence is drawn in two steps. First its factors are drawn: topic, number of
the subject, tense and polarity. Then its slots are drawn independently, from
distributions that the factors determine. The verb agrees with the subject; a
place and an adverb may stand between them, so the dependency is a long one.

No sentence has two derivations, so the entropy of a sentence is the entropy of
the factors plus that of the slots, a finite sum. The expected loss of any
language model, in nats per sentence with the end mark, is at least `entropy()`.
`factor_entropy()` nats of that are properties of the whole sentence, which the
latents of a sentence VAE may carry.
"""

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
import functools
import itertools
import math

import numpy as np

from rnnvae_jax.data.sources import base

FACTORS: dict[str, dict[str, float]] = {
  'topic': {'sea': 0.3, 'kitchen': 0.3, 'school': 0.2, 'garden': 0.2},
  'number': {'singular': 0.6, 'plural': 0.4},
  'tense': {'past': 0.5, 'present': 0.3, 'future': 0.2},
  'polarity': {'affirmative': 0.7, 'negative': 0.3},
}

# What the words of each slot are, for their tags; see `_slots`.
_PARTS = (
  *('subject', 'subject', 'subject', 'place', 'verb', 'verb', 'verb'),
  *('object', 'time', 'O'),
)
# The phrases that may fill a slot of a sentence, with their probabilities.
Slot = dict[tuple[str, ...], float]

# Words by topic. Subjects have a singular and a plural; verbs have a base form,
# a third person and a past, which all differ. No verb requires an object.
_SUBJECTS = {
  'sea': ('sailor sailors', 'captain captains', 'fisher fishers'),
  'kitchen': ('cook cooks', 'baker bakers', 'waiter waiters'),
  'school': ('teacher teachers', 'child children', 'student students'),
  'garden': ('gardener gardeners', 'farmer farmers', 'woman women'),
}
_VERBS = {
  'sea': ('sail sails sailed', 'pull pulls pulled', 'steer steers steered'),
  'kitchen': ('taste tastes tasted', 'stir stirs stirred', 'eat eats ate'),
  'school': ('write writes wrote', 'explain explains explained'),
  'garden': ('plant plants planted', 'dig digs dug', 'water waters watered'),
}
_OBJECTS = {
  'sea': ('boat', 'ship', 'net', 'rope'),
  'kitchen': ('soup', 'bread', 'cake', 'sauce'),
  'school': ('story', 'letter', 'poem', 'lesson'),
  'garden': ('tree', 'rose', 'hedge', 'lawn'),
}
_PLACES = {
  'sea': ('near the harbour', 'on the beach'),
  'kitchen': ('by the stove', 'behind the counter'),
  'school': ('in the library', 'at the desk'),
  'garden': ('under the tree', 'beside the pond'),
}
_DETERMINERS = {
  'singular': ('the', 'a', 'every'),
  'plural': ('the', 'some', 'many'),
}
_TIMES = {
  'past': ('yesterday', 'last week', 'this morning'),
  'present': ('today', 'every day', 'this morning'),
  'future': ('tomorrow', 'next week', 'today'),
}
_AUXILIARIES = {
  ('past', 'negative'): ('did not', 'did not'),
  ('present', 'negative'): ('does not', 'do not'),
  ('future', 'affirmative'): ('will', 'will'),
  ('future', 'negative'): ('will not', 'will not'),
}


def _choice(phrases: Iterable[str], absent: float = 0.0) -> Slot:
  """A slot of phrases with Zipf's probabilities, empty with `absent`."""
  phrases = tuple(phrases)
  total = sum(1 / rank for rank in range(1, len(phrases) + 1))
  slot: Slot = {(): absent} if absent else {}
  for rank, phrase in enumerate(phrases, 1):
    slot[tuple(phrase.split())] = (1 - absent) / (rank * total)
  return slot


def _joined(*slots: Slot, absent: float) -> Slot:
  """A slot that joins a phrase of each slot, empty with `absent`."""
  joined: Slot = {(): absent}
  for parts in itertools.product(*(slot.items() for slot in slots)):
    phrase = tuple(word for words, _ in parts for word in words)
    joined[phrase] = (1 - absent) * math.prod(p for _, p in parts)
  return joined


def _slots(topic: str, number: str, tense: str, polarity: str) -> list[Slot]:
  """The slots of a sentence with these factors, from left to right."""
  plural = number == 'plural'
  auxiliary = _AUXILIARIES.get((tense, polarity), ('', ''))[plural]
  if auxiliary or (tense, plural) == ('present', True):
    form = 0
  else:
    form = 1 if tense == 'present' else 2
  return [
    _choice(_DETERMINERS[number]),
    _choice(('young', 'clever', 'tired', 'happy', 'careful'), absent=0.6),
    _choice(s.split()[plural] for s in _SUBJECTS[topic]),
    _choice(_PLACES[topic], absent=0.7),
    _choice([auxiliary]),
    _choice(('slowly', 'quietly', 'often', 'gladly'), absent=0.7),
    _choice(v.split()[form] for v in _VERBS[topic]),
    _joined(
      _choice(('the', 'a')),
      _choice(('new', 'small', 'big', 'strange'), absent=0.6),
      _choice(_OBJECTS[topic]),
      absent=0.15,
    ),
    _choice(_TIMES[tense], absent=0.6),
    _choice('.'),
  ]


@functools.cache
def sentence_types() -> tuple[tuple[dict[str, str], float, list[Slot]], ...]:
  """(factors, their probability, slots) for all values of the factors."""
  types = []
  for values in itertools.product(*FACTORS.values()):
    factors = dict(zip(FACTORS, values, strict=True))
    probability = math.prod(FACTORS[f][v] for f, v in factors.items())
    types.append((factors, probability, _slots(**factors)))
  return tuple(types)


def _entropy(probabilities: Iterable[float]) -> float:
  return -sum(p * math.log(p) for p in probabilities)


def factor_entropy() -> float:
  """Entropy of the four factors together, in nats."""
  return sum(_entropy(values.values()) for values in FACTORS.values())


def entropy() -> float:
  """Entropy of a sentence and its end mark, in nats. Exact."""
  return factor_entropy() + sum(
    probability * sum(_entropy(slot.values()) for slot in slots)
    for _, probability, slots in sentence_types()
  )


def log_prob(tokens: Sequence[str]) -> float:
  """Log probability of a sentence and its end mark, in nats.

  Sums over all derivations; -inf for sentences outside the grammar.
  """
  tokens = tuple(tokens)
  total = sum(_mass(tokens, *of_type[1:]) for of_type in sentence_types())
  return math.log(total) if total else -math.inf


def factors(tokens: Sequence[str]) -> dict[str, str] | None:
  """The factors of a sentence, the likeliest if there are several.

  None for sentences outside the grammar.
  """
  tokens = tuple(tokens)
  found, most = None, 0.0
  for values, probability, slots in sentence_types():
    mass = _mass(tokens, probability, slots)
    if mass > most:
      found, most = dict(values), mass
  return found


def _mass(
  tokens: tuple[str, ...], probability: float, slots: Sequence[Slot]
) -> float:
  """The probability of a type, times that of its slots holding the tokens."""
  reached = {0: probability}  # Mass by the number of tokens derived so far.
  for slot in slots:
    reached_next: dict[int, float] = {}
    for start, mass in reached.items():
      for phrase, p in slot.items():
        end = start + len(phrase)
        if tokens[start:end] == phrase:
          reached_next[end] = reached_next.get(end, 0.0) + mass * p
    reached = reached_next
  return reached.get(len(tokens), 0.0)


def sample(num_sentences: int, seed: int) -> list[dict[str, str]]:
  """Draws sentences: records with 'text', 'tags' and each factor's value.

  Tags are in the scheme `bio`: the subject, the place, the verb with what
  stands before it, the object and the time.
  """
  types = sentence_types()
  draw_type = _sampler({i: p for i, (_, p, _) in enumerate(types)})
  draw_slots = [[_sampler(slot) for slot in slots] for _, _, slots in types]
  rng = np.random.default_rng(seed)
  records = []
  for uniforms in rng.random((num_sentences, 1 + len(types[0][2]))).tolist():
    i = draw_type(uniforms[0])
    phrases = [
      draw(u) for draw, u in zip(draw_slots[i], uniforms[1:], strict=True)
    ]
    words = itertools.chain.from_iterable(phrases)
    tags = ' '.join(_tags(phrases))
    records.append({'text': ' '.join(words), 'tags': tags, **types[i][0]})
  return records


def _tags(phrases: Iterable[Sequence[str]]) -> Iterator[str]:
  """The tags of a sentence's words, from the words of its slots."""
  for part, slots in itertools.groupby(
    zip(_PARTS, phrases, strict=True), lambda pair: pair[0]
  ):
    count = sum(len(words) for _, words in slots)
    if part == 'O':
      yield from ['O'] * count
    else:
      yield from [f'B-{part}', *[f'I-{part}'] * (count - 1)][:count]


def _sampler(distribution: Mapping):
  """A function from a uniform number in [0, 1) to a value."""
  values = list(distribution)
  # Without the last bound, which may be rounded to less than 1.
  bounds = list(itertools.accumulate(distribution.values()))[:-1]
  return lambda uniform: values[bisect.bisect_right(bounds, uniform)]


def splits() -> dict[str, list[dict[str, str]]]:
  """The corpus: 20,000, 2,000 and 2,000 sentences, always the same.

  They are drawn independently, so a short sentence may be in several splits.
  """
  records = iter(sample(24_000, seed=0))
  sizes = {'train': 20_000, 'valid': 2_000, 'test': 2_000}
  return {s: list(itertools.islice(records, n)) for s, n in sizes.items()}


class _Grammar(base.Source):
  """The corpus of the grammar, drawn each time it is read."""

  def read(self, data_dir: str | None = None) -> base.Records:
    """Draws the sentences, always the same; `data_dir` is unused."""
    del data_dir
    return splits()


SOURCE = _Grammar(
  name='grammar',
  summary='synthetic; entropy and latent factors are known',
  protocol='mikolov',
  labels=tuple(FACTORS),
)
