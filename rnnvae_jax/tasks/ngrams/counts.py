"""Count models of text: uniform, maximum likelihood, Kneser-Ney.

One class implements all of them as an interpolated n-gram model; they differ in
the counts and discounts of each order. Fitting, scoring and predicting the next
token are array operations over all n-grams at once.
"""

from collections.abc import Sequence
import os
from typing import NamedTuple
import zipfile

import jax
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.data import vocab

SMOOTHINGS = ('modified_kneser_ney', 'kneser_ney', 'maximum_likelihood')

# Without any discount, n-grams that were not seen would have probability 0.
_LEAST_DISCOUNT = 0.05


class Order(NamedTuple):
  """The n-grams of one order k, sorted by (context, last token).

  Attributes:
    keys: int64[N], c V + last token, where c is the number of the context, a
      (k-1)-gram.
    share: float64[N], the discounted relative frequency of each n-gram in its
      context.
    rest: float64[C], the probability mass that each context leaves to shorter
      contexts; 1 for a context that no token follows.
  """

  keys: np.ndarray
  share: np.ndarray
  rest: np.ndarray


class NGrams:
  """p(token | the n - 1 tokens before it in its sentence).

  Interpolated modified Kneser-Ney (Chen & Goodman 1999, equations 26 to 29).
  Orders below the highest use continuation counts, except for n-grams that
  begin a sentence. Each order has three discounts of at least .05. The shortest
  context is interpolated with the uniform distribution, and contexts that were
  never seen are skipped. `kneser_ney` has one discount an order.
  `maximum_likelihood` has raw counts and no discounts, so that a token that was
  never seen after a known context has probability 0.

  Attributes:
    orders: orders 1 to n; empty for the uniform distribution.
    vocab_size: V.
    context_size: n - 1, at least 1.
    possible: bool[V], the tokens that can be predicted at all.
    bos: the token before a sentence.
  """

  def __init__(
    self,
    orders: Sequence[Order],
    possible: np.ndarray,
    bos: int = vocab.BOS,
  ):
    self.orders = tuple(orders)
    self.possible = possible
    self.bos = bos
    self.vocab_size = len(possible)
    self.context_size = max(len(self.orders) - 1, 1)

  @classmethod
  def fit(
    cls,
    ids: np.ndarray,
    vocab_size: int,
    order: int,
    smoothing: str = 'modified_kneser_ney',
    bos: int = vocab.BOS,
    unknown: bool = True,
  ) -> 'NGrams':
    """Counts the n-grams of a text.

    Args:
      ids: int[N], see `scorer.Scorer`.
      vocab_size: V.
      order: n, tokens of the longest n-grams; 0: the uniform distribution.
      smoothing: one of `SMOOTHINGS`.
      bos: the token before a sentence; for text without eos, a token of the
        text.
      unknown: whether `<unk>` can be predicted though it is not in `ids`. Texts
        of bytes, and often those of characters, have no unknown tokens.

    Raises:
      ValueError: the smoothing is unknown, the order negative, an id out of
        range, or the vocabulary so large that n-grams cannot be numbered.
    """
    if smoothing not in SMOOTHINGS:
      raise ValueError(errors.unknown('smoothing', smoothing, SMOOTHINGS))
    if order < 0:
      raise ValueError(f'order = {order} is negative. Nearest legal value: 0.')
    _check_ids(ids, vocab_size)
    if (len(ids) + 1) * vocab_size >= 2**63:
      raise ValueError(
        f'The n-grams of {len(ids)} tokens of {vocab_size} types cannot be '
        'numbered with 64 bits.'
      )
    possible = np.ones(vocab_size, bool)
    possible[[vocab.PAD, vocab.BOS]] = False
    # Text without end marks, such as a stream of characters, never ends.
    possible[vocab.EOS] = bool(np.any(ids == vocab.EOS))
    possible[vocab.UNK] = unknown or bool(np.any(ids == vocab.UNK))
    grams = _distinct(ids, vocab_size, order, bos)
    is_kneser_ney = smoothing != 'maximum_likelihood'
    orders = []
    for number, gram in enumerate(grams):
      counts = gram.counts
      if is_kneser_ney and number + 1 < len(grams):
        followers = grams[number + 1]
        left = np.bincount(followers.suffix, minlength=len(counts))
        counts = np.where(gram.begins, counts, left)
      num_contexts = 1 if number == 0 else len(grams[number - 1].counts)
      discounts = np.zeros(3)
      if is_kneser_ney:
        discounts = _discounts(counts, modified='modified' in smoothing)
      contexts = gram.keys // vocab_size
      orders.append(
        _order(gram.keys, contexts, counts, discounts, num_contexts)
      )
    return cls(orders, possible, bos)

  def log_probs(self, ids: np.ndarray) -> np.ndarray:
    """See `scorer.Scorer`.

    Raises:
      ValueError: ids out of range.
    """
    _check_ids(ids, self.vocab_size)
    marked, real = _with_begins(ids, self.bos)
    total = self.possible[marked] / self.possible.sum()
    # The number of the k-gram that ends before each token; -1 if unseen.
    context = np.zeros(len(marked), np.int64)
    for order in self.orders:
      number = _find(order.keys, context, marked, self.vocab_size)
      known = context >= 0
      own = np.where(number >= 0, order.share[number], 0.0)
      total = np.where(known, own + order.rest[context] * total, total)
      # The context of the next order ends one token earlier.
      context = np.concatenate([[-1], number[:-1]])
      context[~real] = -1
    with np.errstate(divide='ignore'):
      return np.log(total[real])

  def next_log_probs(self, contexts: np.ndarray) -> np.ndarray:
    """See `scorer.Scorer`."""
    rows = len(contexts)
    total = np.tile(self.possible / self.possible.sum(), (rows, 1))
    for length, order in enumerate(self.orders):
      context = self._numbers(contexts, length)
      known = context >= 0
      rest = np.where(known, order.rest[context], 1.0)
      total *= rest[:, None]
      first, last = (
        np.searchsorted(order.keys, (context + offset) * self.vocab_size)
        for offset in (0, 1)
      )
      counts = np.where(known, last - first, 0)
      row = np.repeat(np.arange(rows), counts)
      within = np.arange(len(row)) - np.repeat(
        np.cumsum(counts) - counts, counts
      )
      gram = np.repeat(first, counts) + within
      total[row, order.keys[gram] % self.vocab_size] += order.share[gram]
    with np.errstate(divide='ignore'):
      return np.log(total)

  def sample(self, key: jax.Array, length: int) -> np.ndarray:
    """See `scorer.Scorer`."""
    draws = np.asarray(jax.random.uniform(key, (length,)), np.float64)
    # The whole sentence: tokens beyond `context_size` change nothing.
    context = np.full((1, length + 1), vocab.PAD)
    context[0, -1] = self.bos
    sentence = []
    for draw in draws:
      below = np.cumsum(np.exp(self.next_log_probs(context)[0]))
      chosen = int(np.searchsorted(below, draw * below[-1], side='right'))
      sentence.append(chosen)
      if chosen == vocab.EOS:
        break
      context = np.append(context[:, 1:], [[chosen]], axis=1)
    return np.array(sentence)

  def save(self, path: str | os.PathLike[str]) -> None:
    """Saves the model; a kill leaves either the old or the new file."""
    partial = f'{os.fspath(path)}.partial'
    arrays = {
      f'{name}_{number}': getattr(order, name)
      for number, order in enumerate(self.orders)
      for name in Order._fields
    }
    with open(partial, 'wb') as file:
      np.savez(file, possible=self.possible, bos=self.bos, **arrays)
    os.replace(partial, path)

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> 'NGrams':
    """Loads a model that `save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged.
    """
    try:
      with np.load(path, allow_pickle=False) as arrays:
        count = sum(name.startswith('keys_') for name in arrays)
        orders = [
          Order(*(arrays[f'{name}_{number}'] for name in Order._fields))
          for number in range(count)
        ]
        return cls(orders, arrays['possible'], int(arrays['bos']))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
      raise ValueError(f'{os.fspath(path)} is damaged: {error}.') from error

  def _numbers(self, contexts: np.ndarray, length: int) -> np.ndarray:
    """Numbers of the n-grams of the last `length` tokens, int64[B].

    -1 for n-grams that were not seen, or if the contexts are shorter.
    """
    number = np.zeros(len(contexts), np.int64)
    if length > contexts.shape[1]:
      return number - 1
    columns = contexts.T[contexts.shape[1] - length :]
    for order, tokens in zip(self.orders[:length], columns, strict=True):
      number = _find(order.keys, number, tokens, self.vocab_size)
    return number


class _Grams(NamedTuple):
  """The distinct n-grams of one order, sorted by key."""

  keys: np.ndarray  # int64[N]
  counts: np.ndarray  # int64[N], how often each was seen.
  suffix: np.ndarray  # int64[N], number of the n-gram without its first token.
  begins: np.ndarray  # bool[N], whether its first token begins a sentence.


def _distinct(
  ids: np.ndarray, vocab_size: int, order: int, bos: int
) -> list[_Grams]:
  """The n-grams of order 1, 2 ... `order`, until an order has none."""
  marked, real = _with_begins(ids, bos)
  grams: list[_Grams] = []
  # Number of the k-gram that ends at each place, -1 where there is none.
  number = np.zeros(len(marked), np.int64)
  for length in range(1, order + 1):
    before = np.zeros_like(number)
    if length > 1:
      before = np.concatenate([[-1], number[:-1]])
      before[~real] = -1
    places = np.flatnonzero(before >= 0)
    if not len(places):
      break
    keys, first, inverse = np.unique(
      before[places] * vocab_size + marked[places],
      return_index=True,
      return_inverse=True,
    )
    place = places[first]
    # `bos` is part of contexts, but is never predicted.
    counts = np.bincount(inverse, real[places], len(keys)).astype(np.int64)
    if length == 1:
      begins = np.zeros(len(keys), bool)
    else:
      begins = marked[place - length + 1] == vocab.BOS
    grams.append(_Grams(keys, counts, number[place], begins))
    number = np.full(len(marked), -1, np.int64)
    number[places] = inverse
  return grams


def _order(keys, contexts, counts, discounts, num_contexts) -> Order:
  level = np.minimum(counts, 3)
  discounted = np.concatenate([[0.0], discounts])[level]
  sums = np.bincount(contexts, counts, num_contexts)
  rest = np.bincount(contexts, discounted, num_contexts)
  divisors = np.maximum(sums, 1)
  return Order(
    keys,
    (counts - discounted) / divisors[contexts],
    np.where(sums > 0, rest / divisors, 1.0),
  )


def _discounts(counts: np.ndarray, modified: bool) -> np.ndarray:
  """Discounts of the counts 1, 2 and 3 or more, from the counts of counts.

  A discount is at most the count itself. If no n-gram was seen only once, as in
  a text that is repeated, there is no estimate: discounts are half the counts.
  """
  ones, twos, threes, fours = (int(np.sum(counts == c)) for c in (1, 2, 3, 4))
  if not ones:
    return np.array([0.5, 1.0, 1.5]) if modified else np.full(3, 0.5)
  base = ones / (ones + 2 * twos)
  if not modified:
    return np.full(3, max(base, _LEAST_DISCOUNT))
  ratios = twos / ones, threes / max(twos, 1), fours / max(threes, 1)
  values = [c - (c + 1) * base * ratio for c, ratio in enumerate(ratios, 1)]
  return np.clip(values, _LEAST_DISCOUNT, [1, 2, 3])


def _with_begins(ids: np.ndarray, bos: int) -> tuple[np.ndarray, np.ndarray]:
  """Inserts `bos` before each sentence; also marks the original tokens."""
  starts = np.flatnonzero(np.concatenate([[True], ids[:-1] == vocab.EOS]))
  if not len(ids):
    starts = starts[:0]
  marked = np.insert(ids, starts, bos).astype(np.int64)
  real = np.ones(len(marked), bool)
  real[starts + np.arange(len(starts))] = False
  return marked, real


def _find(keys, contexts, tokens, vocab_size) -> np.ndarray:
  """Numbers of the n-grams of the contexts and tokens; -1 if unseen."""
  wanted = contexts * vocab_size + tokens
  place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
  return np.where((contexts >= 0) & (keys[place] == wanted), place, -1)


def _check_ids(ids: np.ndarray, vocab_size: int) -> None:
  if len(ids) and not 0 <= np.min(ids) <= np.max(ids) < vocab_size:
    raise ValueError(
      f'ids go from {np.min(ids)} to {np.max(ids)}, those of the vocabulary '
      f'from 0 to {vocab_size - 1}.'
    )
