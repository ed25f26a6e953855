"""The compiled functions of a trained task, made once and reused.

Rows and lengths are padded to a few static sizes, so that a function is traced
once for each of them, whatever texts it is given. A row's result does not
depend on the other rows.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.ops import noise, sampling
from rnnvae_jax.tasks import base

# Numbers of rows that programs are compiled for.
_ROWS = (1, 2, 4, 8, 16, 24, 32, 64, 128, 256)


class Decoding(NamedTuple):
  """How ids are chosen.

  Attributes:
    temperature: 0: the likeliest token.
    top_k: only so many of the likeliest tokens are drawn from; 0: all.
    top_p: only the likeliest tokens of this probability mass are drawn from.
    beam_size: beams of a search at temperature 0; 1: greedy.
    length_penalty: exponent of the length that a beam search divides by.
    max_length: tokens written, eos counted.
    forbid_unk: whether <unk> is never written.
    seed: of what is drawn.
  """

  temperature: float = 0.0
  top_k: int = 0
  top_p: float = 1.0
  beam_size: int = 1
  length_penalty: float = 0.0
  max_length: int = 60
  forbid_unk: bool = True
  seed: int = 0


def static_rows(count: int) -> int:
  """The smallest compiled number of rows that holds `count`, or the largest."""
  return next((size for size in _ROWS if size >= count), _ROWS[-1])


def static_length(length: int) -> int:
  """The smallest of 0, 8, 12, 16, 24, 32, 48, ... that is not below `length`.

  So at most half of a padded length is padding, and mostly a quarter.
  """
  if not length:
    return 0
  size = 8
  while size < length:
    if size * 3 // 2 >= length:
      return size * 3 // 2
    size *= 2
  return size


class Programs:
  """What a task can do, compiled.

  Arguments are NumPy arrays and results are NumPy arrays, one row for each row
  of the arguments, in their order.
  """

  def __init__(self, task: Any):
    """`task` fulfils the contract of `tasks.base`, with its capabilities."""
    self._task = task
    self._made: dict[Hashable, Callable] = {}

  def encode(self, params, extras, sentences, bos: int):
    """Means and log-variances of q(z | sentence), and their centres.

    Args:
      params: of the task.
      extras: what its objective adapted.
      sentences: int[T] each, eos at the end.
      bos: the id that is read before the first token.

    Returns:
      float32[N, Z] three times; see `objectives.posteriors.Family.center`.
    """
    latents = self._task.latents

    def encode(params, extras, batch, key):
      del key
      posterior = latents.encode(params, batch, extras)
      centre = latents.family.center(posterior)
      return posterior.mean, posterior.log_var, centre

    return self._over_sentences(
      'encode', encode, params, extras, sentences, bos, jax.random.key(0)
    )

  def draw_posterior(self, params, extras, sentences, bos: int, key):
    """A sample of q(z | sentence) for each sentence: float32[N, Z].

    The noise depends on `key` and on the sentence's number in the list.
    """
    latents = self._task.latents

    def draw(params, extras, batch, key):
      posterior = latents.encode(params, batch, extras)
      keys = noise.row_keys(key, batch['index'])
      shape = (latents.family.noise_size,)
      draws = noise.normal(keys, 'posterior', shape)
      return latents.family.draw(draws, posterior)[0]

    return self._over_sentences(
      'draw_posterior', draw, params, extras, sentences, bos, key
    )

  def draw_prior(self, params, count: int, site: str, key) -> np.ndarray:
    """z float32[count, Z] of the prior; row i's depends on (key, i, site)."""
    draw_prior = self._task.latents.draw_prior

    def draw(params, numbers, key):
      return draw_prior(params, noise.row_keys(key, numbers), site)

    program = self._once(('draw_prior', site), lambda: jax.jit(draw))
    return _joined(
      jax.device_get(program(params, rows, key))[:real]
      for rows, real in _chunks(count)
    )

  def evaluate(
    self,
    params,
    extras,
    sentences,
    bos: int,
    key,
    samples: base.Samples,
    most_rows: int,
    numbers: np.ndarray | None = None,
  ) -> base.Values:
    """The values of `Task.evaluate` of each sentence.

    Args:
      params: of the task.
      extras: what its objective adapted.
      sentences: int[T] each.
      bos: the id that is read before the first token.
      key: of the noise.
      samples: that are drawn for each sentence.
      most_rows: of a batch, at most.
      numbers: int[N], which the noise of each sentence is keyed by; None: its
        place in the list.
    """

    def evaluate(params, extras, batch, key):
      return self._task.evaluate(params, batch, key, extras, samples)

    return self._over_sentences(
      ('evaluate', samples),
      evaluate,
      params,
      extras,
      sentences,
      bos,
      key,
      most_rows=most_rows,
      numbers=numbers,
    )

  def predict(self, params, extras, sentences, bos: int) -> np.ndarray:
    """Log-probabilities of the labels: float32[N, C], nats."""

    def predict(params, extras, batch, key):
      del key
      return self._task.predict(params, batch, extras)

    return self._over_sentences(
      'predict', predict, params, extras, sentences, bos, jax.random.key(0)
    )

  def token_nats(
    self, params, sentences, bos: int, latents: np.ndarray | None = None
  ) -> list[np.ndarray]:
    """Nats of each token given those before it, float32[T] each.

    Args:
      params: of the task.
      sentences: int[T] each.
      bos: the id that is read before the first token.
      latents: z float[N, Z] that each sentence is read with, if any.
    """

    def read(params, extras, batch, key, latents):
      del extras, key
      task, rows = self._task, len(batch['index'])

      def one(carry, now):
        token, target = now
        carry, logits = task.step(params, carry, token, latents)
        log_probs = jax.nn.log_softmax(logits, axis=-1)
        picked = jnp.take_along_axis(log_probs, target[:, None], axis=1)
        return carry, -picked[:, 0]

      inputs = batch['inputs'].T, batch['targets'].T
      start = task.start(params, rows, latents)
      return jax.lax.scan(one, start, inputs)[1].T

    nats = self._over_sentences(
      'token_nats',
      read,
      params,
      {},
      sentences,
      bos,
      jax.random.key(0),
      latents,
      ragged=True,
    )
    return [row[: len(ids)] for row, ids in zip(nats, sentences, strict=True)]

  def next_log_probs(
    self, params, prefixes, latents: np.ndarray | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of what follows on each prefix.

    Args:
      params: of the task.
      prefixes: int[P] each; the first id of each is the begin mark.
      latents: z float[N, Z] that each prefix is read with, if any.

    Returns:
      float32[N], nats: log p(prefix | begin mark); float32[N, V], nats.
    """

    def read(params, tokens, mask, latents):
      task, rows = self._task, len(tokens)
      carry = task.start(params, rows, latents)
      after = jnp.concatenate([tokens[:, 1:], tokens[:, :1]], axis=1)
      follows = jnp.concatenate(
        [mask[:, 1:], jnp.zeros((rows, 1), bool)], axis=1
      )
      shape = jax.eval_shape(task.step, params, carry, tokens[:, 0], latents)[1]
      start = carry, jnp.zeros(rows), jnp.zeros(shape.shape, shape.dtype)

      def one(loop, now):
        carry, total, last = loop
        token, valid, following, has_following = now
        new, logits = task.step(params, carry, token, latents)
        log_probs = jax.nn.log_softmax(logits, axis=-1).astype(last.dtype)
        picked = jnp.take_along_axis(log_probs, following[:, None], axis=1)
        total += jnp.where(has_following, picked[:, 0], 0.0)
        carry = _where(valid, new, carry)
        return (carry, total, _where(valid, log_probs, last)), None

      inputs = tokens.T, mask.T, after.T, follows.T
      (_, total, last), _ = jax.lax.scan(one, start, inputs)
      return total, last

    program = self._once('next_log_probs', lambda: jax.jit(read))
    length = static_length(max(map(len, prefixes)))
    totals, following = [], []
    for rows, real in _chunks(len(prefixes)):
      tokens, mask = _padded([prefixes[i] for i in rows], length)
      total, last = jax.device_get(
        program(params, tokens, mask, _picked(latents, rows))
      )
      totals.append(total[:real])
      following.append(last[:real])
    return _joined(totals), _joined(following)

  def decode(
    self,
    params,
    contexts: Sequence[np.ndarray],
    latents: np.ndarray | None,
    forbidden: np.ndarray,
    decoding: Decoding,
  ) -> list[np.ndarray]:
    """Ids that follow on each context, eos included unless they were cut.

    Args:
      params: of the task.
      contexts: int[P] each, what is read first; the first id of each is the
        begin mark.
      latents: z float[N, Z] that each row is written with, if any.
      forbidden: bool[V], ids that are never written.
      decoding: how ids are chosen.

    Returns:
      int32[<= max_length] for each row. Row i is drawn with (seed, i).
    """
    beam_size = decoding.beam_size if decoding.temperature == 0 else 1
    max_length = decoding.max_length
    program = self._once(
      ('decode', beam_size, max_length),
      lambda: jax.jit(
        functools.partial(
          _decode, self._task, beam_size=beam_size, max_length=max_length
        )
      ),
    )
    settings = sampling.Settings(
      temperature=jnp.float32(decoding.temperature),
      top_k=jnp.int32(decoding.top_k),
      top_p=jnp.float32(decoding.top_p),
    )
    length = static_length(max(len(ids) - 1 for ids in contexts))
    sentences = []
    for rows, real in _chunks(len(contexts)):
      tokens, mask = _padded([contexts[i][:-1] for i in rows], length)
      ids, lengths = jax.device_get(
        program(
          params,
          rows,
          _picked(latents, rows),
          (tokens, mask, np.array([contexts[i][-1] for i in rows], np.int32)),
          jax.random.key(decoding.seed),
          settings,
          np.float32(decoding.length_penalty),
          forbidden,
        )
      )
      sentences += [ids[i, : lengths[i]] for i in range(real)]
    return sentences

  def _once(self, key: Hashable, make: Callable[[], Callable]) -> Callable:
    if key not in self._made:
      self._made[key] = make()
    return self._made[key]

  def _over_sentences(
    self,
    name: Hashable,
    function: Callable,
    params,
    extras,
    sentences: Sequence[np.ndarray],
    bos: int,
    key,
    *by_row: np.ndarray | None,
    most_rows: int = _ROWS[-1],
    numbers: np.ndarray | None = None,
    ragged: bool = False,
  ) -> Any:
    """A function of batches over all sentences.

    Args:
      name: of the function, which is compiled once under it.
      function: (params, extras, batch, key, *by_row) -> a tree of arrays, rows
        first.
      params: its argument.
      extras: likewise.
      sentences: int[T] each.
      bos: the id that is read before the first token.
      key: argument of the function.
      *by_row: arrays with a row for each sentence, or None.
      most_rows: of a batch, at most.
      numbers: int[N], of the sentences; None: from 0 on.
      ragged: whether results have padded lengths; then a list is returned.
    """

    def over_batch(params, extras, split, rows, key, by_row, length):
      batch = batches.gather(split, rows, batches.Bucket(length))
      return function(params, extras, batch, key, *by_row)

    program = self._once(
      name, lambda: jax.jit(over_batch, static_argnames='length')
    )
    lengths = np.array([len(ids) for ids in sentences])
    if numbers is None:
      numbers = np.arange(len(lengths))
    order = np.argsort(lengths, kind='stable')
    most_rows = min(most_rows, _ROWS[-1])
    parts = []
    for start in range(0, len(order), most_rows):
      chosen = order[start : start + most_rows]
      size = static_rows(len(chosen))
      length = static_length(int(lengths[chosen].max()))
      split = _device_split(
        [sentences[i] for i in chosen], numbers[chosen], size, bos
      )
      split = split._replace(
        tokens=np.resize(split.tokens, size * length)  # type: ignore[arg-type]
      )
      rows = batches.pad_rows(np.arange(len(chosen)), size)[0]
      of_rows = jax.device_get(
        program(
          params,
          extras,
          split,
          rows,
          key,
          tuple(_picked(array, chosen[rows]) for array in by_row),
          length=length,
        )
      )
      real = functools.partial(_first, len(chosen))
      parts.append(jax.tree.map(real, of_rows))
    back = np.argsort(order)
    if ragged:
      rows = [row for part in parts for row in part]
      return [rows[i] for i in back]
    return jax.tree.map(lambda *xs: np.concatenate(xs)[back], *parts)


def _decode(
  task,
  params,
  numbers,
  latents,
  context,
  key,
  settings,
  length_penalty,
  forbidden,
  *,
  beam_size,
  max_length,
):
  """Reads contexts, then writes: see `Programs.decode`.

  Args:
    task: what is asked token by token.
    params: of the task.
    numbers: int32[B], of the rows, which their noise is keyed by.
    latents: float[B, Z] or None.
    context: int32[B, P] and bool[B, P], read first, and int32[B], the first
      input of what is written.
    key: key[], of the noise.
    settings: how a token is chosen.
    length_penalty: float[], of a beam search.
    forbidden: bool[V].
    beam_size: static; 1: no search.
    max_length: static.
  """
  tokens, mask, first = context
  rows = len(numbers)

  def step(loop, token):
    carry, latents = loop
    carry, logits = task.step(params, carry, token, latents)
    return (carry, latents), logits

  def read(carry, now):
    token, valid = now
    new, _ = task.step(params, carry, token, latents)
    return _where(valid, new, carry), None

  carry = task.start(params, rows, latents)
  carry, _ = jax.lax.scan(read, carry, (tokens.T, mask.T))
  marks: Any = {'max_length': max_length, 'eos': vocab_lib.EOS}
  if beam_size > 1:
    marks['bos'] = first[:, None]
    return sampling.beam_search(
      step,
      (carry, latents),
      rows=rows,
      beam_size=beam_size,
      length_penalty=length_penalty,
      forbidden=forbidden,
      **marks,
    )
  marks['bos'] = first
  keys = noise.site_keys(noise.row_keys(key, numbers), 'decode')
  return sampling.decode(
    step, (carry, latents), keys, settings, forbidden=forbidden, **marks
  )


def _where(valid, new, old):
  """Each row's new value where it is valid, else its old one."""

  def pick(new, old):
    shape = len(valid), *[1] * (new.ndim - 1)
    return jnp.where(valid.reshape(shape), new, old)

  return jax.tree.map(pick, new, old)


def _chunks(count: int) -> Iterator[tuple[np.ndarray, int]]:
  """Row numbers in static sizes, and how many of each chunk are real.

  Padding repeats the last row: it ends when that one does.
  """
  size = _ROWS[-1]
  for start in range(0, count, size):
    rows = np.arange(start, min(start + size, count))
    padded = batches.pad_rows(rows, static_rows(len(rows)))[0]
    yield np.where(padded == batches.BLANK, rows[-1], padded), len(rows)


def _padded(
  sequences: Sequence[np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
  """int32[B, length] and which of them are real, bool[B, length]."""
  tokens = np.zeros((len(sequences), length), np.int32)
  mask = np.zeros(tokens.shape, bool)
  for row, ids in enumerate(sequences):
    tokens[row, : len(ids)] = ids
    mask[row, : len(ids)] = True
  return tokens, mask


def _device_split(
  sentences: Sequence[np.ndarray], numbers: np.ndarray, size: int, bos: int
) -> batches.DeviceSplit:
  """Sentences in the layout that batches are gathered from, `size` rows."""
  lengths = np.zeros(size, np.int32)
  lengths[: len(sentences)] = [len(ids) for ids in sentences]
  ends = np.cumsum(lengths, dtype=np.int32)
  padded: Any = np.zeros(size, np.int32)
  padded[: len(numbers)] = numbers
  tokens: Any = np.concatenate(sentences).astype(np.int32)
  offsets: Any = ends - lengths
  kept: Any = lengths
  begin: Any = np.int32(bos)
  return batches.DeviceSplit(tokens, offsets, kept, padded, begin, {})


def _picked(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
  return None if array is None else np.asarray(array, np.float32)[rows]


def _first(count: int, array: np.ndarray) -> np.ndarray:
  return array[:count]


def _joined(parts) -> np.ndarray:
  return np.concatenate(list(parts))
