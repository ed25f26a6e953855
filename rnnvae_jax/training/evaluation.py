"""A whole split through the compiled evaluation, and its summary."""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches, corpora
from rnnvae_jax.objectives import estimators
from rnnvae_jax.training import step, tasks

Values = dict[str, np.ndarray]


def make_evaluator(
  task: tasks.Task,
  split: corpora.Split,
  *,
  batch_size: int,
  num_buckets: int,
  num_samples: int,
  chunk: int,
) -> Callable[..., Values]:
  """Returns `evaluate(params, extras, key, report=None)` over a whole split.

  It gives the values of every sentence (see `Task.evaluate`), float64[N, ...]
  in the split's order, so that sums over them do not depend on the batches.
  `report(done, total)` is called as batches finish.
  """
  batch_size = min(batch_size, len(split))
  buckets = batches.buckets_for(
    split.lengths, batch_size, num_buckets, jax.default_backend()
  )
  plan = batches.evaluation_plan(split.lengths, buckets, batch_size)
  run = step.make_evaluation_step(task, buckets, num_samples, chunk)
  corpus = batches.put(split)

  def evaluate(params, extras, key, report=None) -> Values:
    values: dict[str, Any] = {}
    for number, (rows, bucket) in enumerate(zip(*plan, strict=True)):
      of_rows = run(params, corpus, jnp.asarray(rows), int(bucket), key, extras)
      real = rows != batches.BLANK
      for name, value in jax.device_get(of_rows).items():
        if name not in values:
          values[name] = np.empty((len(split), *value.shape[1:]))
        values[name][rows[real]] = value[real]
      if report is not None:
        report(number + 1, len(plan.rows))
    return values

  return evaluate


def make_stream_evaluator(
  task: tasks.Task, split: corpora.Split, *, rows: int, window: int
) -> Callable[..., Values]:
  """Returns `evaluate(params, extras, key, report=None)` with a carried state.

  Args:
    task: a language model's.
    split: a stream.
    rows: parts of it that are read side by side, each from a state of zeros:
      only with one row every token is given all tokens before it.
    window: tokens of a part that are read at a time, which changes nothing.

  Returns:
    The function; it returns 'nll' float64[N], nats of each sentence, or of the
    stream as a whole if nothing ends in it.
  """
  assert task.read is not None
  rows = min(rows, len(split.tokens))
  schedule = batches.StreamSchedule(
    len(split.tokens), (batches.Bucket(window),), rows, seed=0
  )
  text, read_batch = schedule.put(split), task.read
  offsets = np.asarray(text.offsets)

  @jax.jit
  def read(params, text, starts, carry):
    batch = batches.gather_windows(text, starts, batches.Bucket(window))
    reading = read_batch(params, batch, carry)
    return reading.nll, batch['mask'], reading.carry

  def evaluate(params, extras, key, report=None) -> Values:
    del extras, key
    carry = jax.jit(task.start, static_argnums=1)(params, rows, None)
    nll = np.empty(len(split.tokens))
    plan = schedule.steps(0, schedule.steps_per_epoch)
    for number, starts in enumerate(plan.rows):
      *values, carry = read(params, text, jnp.asarray(starts), carry)
      of_window, mask = jax.device_get(values)
      row, time = np.nonzero(mask)
      nll[offsets[row] + starts[row] + time] = of_window[mask]
      if report is not None:
        report(number + 1, len(plan.rows))
    return {'nll': np.add.reduceat(nll, split.offsets)}

  return evaluate


def summarise(
  values: Values, lengths: np.ndarray, ends: bool = True
) -> dict[str, Any]:
  """The bound or likelihood of a split, from the values of its sentences.

  Args:
    values: from an evaluator.
    lengths: int[N], tokens, eos counted.
    ends: whether sentences have eos; a stream of characters has none.

  Returns:
    sentences, tokens, nll_per_sentence (nats), perplexity = exp(Σ nats / Σ
    tokens), eos counted, perplexity_without_eos, which divides the same nats
    by the words alone, nll_per_token (nats), bits_per_token, and the estimator.
    For a VAE also elbo (the negative one: an upper bound on the nats),
    reconstruction, kl, whether that is exact or sampled, and the standard error
    of the mean of several samples. Where a second model reads in reverse, its
    nll and perplexity.
  """
  sentences, tokens = len(lengths), int(np.sum(lengths, dtype=np.int64))
  is_vae = 'kl' in values
  summary: dict[str, Any] = {'sentences': sentences, 'tokens': tokens}
  if is_vae:
    reconstruction = float(np.mean(values['reconstruction']))
    kl = float(np.mean(values['kl']))
    nll = reconstruction + kl
    summary |= {'elbo': nll, 'reconstruction': reconstruction, 'kl': kl}
    is_sampled = 'kl_variance' in values
    summary['kl_estimator'] = 'sampled' if is_sampled else 'exact'
    if is_sampled and np.all(np.isfinite(values['kl_variance'])):
      summary['kl_standard_error'] = standard_error(values['kl_variance'])
  else:
    nll = float(np.mean(values['nll']))
  if 'backward_nll' in values:
    backward = float(np.mean(values['backward_nll']))
    summary['backward_nll_per_sentence'] = backward
    summary['backward_perplexity'] = perplexity(backward, sentences, tokens)
  if ends:
    words = max(tokens - sentences, 1)
    of_words = perplexity(nll, sentences, words)
    summary['perplexity_without_eos'] = of_words
  return summary | {
    'nll_per_sentence': nll,
    'perplexity': perplexity(nll, sentences, tokens),
    'nll_per_token': nll * sentences / tokens,
    'bits_per_token': nll * sentences / tokens / math.log(2),
    'estimator': 'elbo' if is_vae else 'exact',
  }


def summarise_latents(values: Values, group_size: int) -> dict[str, Any]:
  """How much the latents of a split say: both informations, active units.

  Posteriors whose density is not at hand for any z have no informations.
  """
  active, _ = estimators.active_units(_float32(values['posterior_mean']))
  count, latents = values['posterior_mean'].shape
  summary = {'active_units': int(active), 'latents': latents}
  if 'noise' not in values:
    return summary
  posteriors = [_float32(values[name]) for name in ('mean', 'log_var', 'noise')]
  whole = np.asarray(estimators.mutual_information(*posteriors), np.float64)
  batch = np.asarray(
    estimators.batch_mutual_information(*posteriors, group_size), np.float64
  )
  return summary | {
    'mutual_information': float(np.mean(whole)),
    'mutual_information_standard_error': float(np.std(whole) / np.sqrt(count)),
    'mutual_information_ceiling': float(np.log(count)),
    'mutual_information_batch': float(np.mean(batch)),
    'mutual_information_batch_size': group_size,
    'mutual_information_batch_ceiling': float(np.log(min(group_size, count))),
  }


def standard_error(variances: np.ndarray) -> float:
  """Of the mean of independent estimates, from the variance of each."""
  return float(np.sqrt(np.sum(variances)) / len(variances))


def _float32(values: np.ndarray) -> jax.Array:
  return jnp.asarray(values, jnp.float32)


def perplexity(nll_per_sentence: float, sentences: int, events: int) -> float:
  """exp(Σ nats / Σ events); inf where that overflows."""
  with np.errstate(over='ignore'):
    return float(np.exp(np.float64(nll_per_sentence) * sentences / events))
