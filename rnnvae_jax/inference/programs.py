"""The compiled functions of a trained task, made once and reused.

Rows and lengths are padded to a few static sizes; see `padding`. A row's result
does not depend on the other rows.
"""

from collections.abc import Callable, Hashable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches
from rnnvae_jax.inference import decoding as decoding_lib
from rnnvae_jax.inference import padding
from rnnvae_jax.ops import noise, sampling
from rnnvae_jax.tasks import base


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
    return padding.joined(
      jax.device_get(program(params, rows, key))[:real]
      for rows, real in padding.chunks(count)
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

  def word_counts(
    self, params, sentences, bos: int, latents: np.ndarray
  ) -> np.ndarray:
    """How often each token is expected, the tokens before it given.

    Args:
      params: of the task.
      sentences: int[T] each, what is read.
      bos: the id that is read before the first token.
      latents: z float[N, Z] that each sentence is read with.

    Returns:
      float32[N, V], sums over the places of a sentence of the probability of a
      token.
    """

    def read(params, extras, batch, key, latents):
      del extras, key
      task = self._task

      def one(loop, now):
        carry, counts = loop
        token, valid = now
        carry, logits = task.step(params, carry, token, latents)
        shares = jax.nn.softmax(logits, axis=-1).astype(counts.dtype)
        return (carry, counts + jnp.where(valid[:, None], shares, 0.0)), None

      inputs = batch['inputs'].T, batch['mask'].T
      carry = task.start(params, len(batch['index']), latents)
      shape = jax.eval_shape(task.step, params, carry, inputs[0][0], latents)[1]
      start = carry, jnp.zeros(shape.shape)
      return jax.lax.scan(one, start, inputs)[0][1]

    return self._over_sentences(
      'word_counts',
      read,
      params,
      {},
      sentences,
      bos,
      jax.random.key(0),
      latents,
    )

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
        carry = padding.choose(valid, new, carry)
        return (carry, total, padding.choose(valid, log_probs, last)), None

      inputs = tokens.T, mask.T, after.T, follows.T
      (_, total, last), _ = jax.lax.scan(one, start, inputs)
      return total, last

    program = self._once('next_log_probs', lambda: jax.jit(read))
    length = padding.static_length(max(map(len, prefixes)))
    totals, following = [], []
    for rows, real in padding.chunks(len(prefixes)):
      tokens, mask = padding.padded([prefixes[i] for i in rows], length)
      total, last = jax.device_get(
        program(params, tokens, mask, padding.picked(latents, rows))
      )
      totals.append(total[:real])
      following.append(last[:real])
    return padding.joined(totals), padding.joined(following)

  def decode(
    self,
    params,
    contexts: Sequence[np.ndarray],
    latents: np.ndarray | None,
    forbidden: np.ndarray,
    decoding: decoding_lib.Decoding,
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
          decoding_lib.decode,
          self._task,
          beam_size=beam_size,
          max_length=max_length,
        )
      ),
    )
    settings = sampling.Settings(
      temperature=jnp.float32(decoding.temperature),
      top_k=jnp.int32(decoding.top_k),
      top_p=jnp.float32(decoding.top_p),
    )
    length = padding.static_length(max(len(ids) - 1 for ids in contexts))
    sentences = []
    for rows, real in padding.chunks(len(contexts)):
      tokens, mask = padding.padded([contexts[i][:-1] for i in rows], length)
      ids, lengths = jax.device_get(
        program(
          params,
          rows,
          padding.picked(latents, rows),
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
    most_rows: int = padding.ROWS[-1],
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
    most_rows = min(most_rows, padding.ROWS[-1])
    parts = []
    ends = padding.batch_ends(lengths[order], most_rows)
    for start, end in zip([0, *ends], ends, strict=False):
      chosen = order[start:end]
      size = padding.static_rows(len(chosen))
      length = padding.static_length(int(lengths[chosen].max()))
      split = padding.device_split(
        [sentences[i] for i in chosen], numbers[chosen], size, bos
      )
      split = split._replace(
        tokens=np.resize(split.tokens, size * length)  # type: ignore[arg-type]
      )
      rows = batches.pad_rows(np.arange(len(chosen)), size)[0]
      results = jax.device_get(
        program(
          params,
          extras,
          split,
          rows,
          key,
          tuple(padding.picked(array, chosen[rows]) for array in by_row),
          length=length,
        )
      )
      parts.append(_first(len(chosen), results))
    back = np.argsort(order)
    if ragged:
      rows = [row for part in parts for row in part]
      return [rows[i] for i in back]
    return jax.tree.map(lambda *xs: np.concatenate(xs)[back], *parts)


def _first(count: int, arrays: Any) -> Any:
  """The first rows of each array of a tree."""
  return jax.tree.map(lambda array: array[:count], arrays)
