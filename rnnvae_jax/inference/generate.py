"""The modes that write text, or read lines and write a record for each."""

from collections.abc import Callable, Iterator, Sequence
import math
import os
from typing import Any

from absl import logging
import numpy as np

from rnnvae_jax.inference import loading, records, steering
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import writers

_PREVIEW = 40  # Tokens of a sample that is shown during training.


def sample(config: Any, workdir: str) -> None:
  """Writes `generate.num_samples` texts drawn from the model.

  As text, a blank line separates samples of which one has a line end.
  """
  _check_search(config, 'temperature')
  run = loading.open_run(config, workdir)
  if config.generate.get('clamp', ''):
    run = steering.clamped(run, *steering.parse(config.generate.clamp))
  texts = run.sample(config.generate.num_samples)
  records.write(
    config, ({'text': text} for text in texts), records.separated(texts)
  )


def reconstruct(config: Any, workdir: str) -> None:
  """Writes each input line, a tab, and what it becomes once decoded."""
  _check_search(config, 'reconstruct_temperature')
  run = loading.open_run(config, workdir)
  lines = records.read_lines(config.generate.input)
  texts = _by_line(
    run,
    lines,
    lambda kept: run.reconstruct(
      kept,
      config.generate.reconstruct_temperature,
      config.generate.posterior_sample,
    ),
    blank='',
  )
  pairs = list(zip(lines, texts, strict=True))
  records.write(
    config,
    ({'text': line, 'reconstruction': text} for line, text in pairs),
    (records.row(*pair) for pair in pairs),
  )


def translate(config: Any, workdir: str) -> None:
  """Writes nats, the source and what the model writes, for each input line."""
  run = loading.open_run(config, workdir)
  found = run.translate(records.read_lines(config.generate.input))
  rows = [records.row('nats', 'source', 'text')]
  for made in found:
    nats = '' if made.nats is None else f'{made.nats:.4f}'
    rows.append(records.row(nats, made.source, made.text))
  records.write(config, (made._asdict() for made in found), rows)


def interpolate(config: Any, workdir: str) -> None:
  """Writes the way from each line to the next of a pair, a blank line after.

  Lines 1 and 2, 3 and 4 and so on of `generate.input` are the pairs, blank ones
  left out; without an input, samples of the prior are.
  """
  _check_search(config, 'reconstruct_temperature')
  run = loading.open_run(config, workdir)
  generate = config.generate
  if generate.input:
    lines = records.read_lines(generate.input)
    lines = [line for line in lines if line.strip()]
    if len(lines) % 2 or not lines:
      raise ValueError(
        'Interpolation goes between pairs of lines, got an odd number or none: '
        f'{len(lines)}.'
      )
    sentences = [ids for ids in run.ids(lines) if ids is not None]
    ends = run.latents_of(sentences, generate.posterior_sample, generate.seed)
  else:
    ends = run.prior_latents(2 * generate.num_samples, generate.seed, 'ends')
  ways = _between(run, ends)
  records.write(
    config,
    (
      {'pair': pair, 'step': step, 'text': text}
      for pair, way in enumerate(ways)
      for step, text in enumerate(way)
    ),
    _ways_as_lines(ways),
  )


def score(config: Any, workdir: str) -> None:
  """Writes nats, tokens, unknown tokens and the text of each input line.

  Exact for a language model; for a VAE the importance-weighted bound with
  `evaluate.iw_samples` samples. A blank line has a row of its own, without
  nats. With `generate.per_token` there is a row for each token.
  """
  run = loading.open_run(config, workdir)
  lines = records.read_lines(config.generate.input)
  per_token = config.generate.per_token
  scores = run.score(lines, per_token)
  _say_how(run, scores)
  if per_token:
    text = _token_rows(scores)
  else:
    text = _score_rows(scores)
  records.write(config, (_score_record(s, per_token) for s in scores), text)


def next_words(config: Any, workdir: str) -> None:
  """Writes the likeliest tokens after `generate.prime`, or each input line."""
  run = loading.open_run(config, workdir)
  generate = config.generate
  if generate.prime:
    prefixes = [generate.prime]
  else:
    prefixes = records.read_lines(generate.input)
  found = [
    (prefix, run.next_token_log_probs(prefix, generate.candidates))
    for prefix in prefixes
  ]
  records.write(
    config,
    (
      {
        'text': prefix,
        'next': [{'token': token, 'log_prob': nats} for token, nats in tokens],
      }
      for prefix, tokens in found
    ),
    [
      records.row('after', 'token', 'probability', 'nats'),
      *(
        records.row(prefix, token, f'{math.exp(nats):.6f}', f'{-nats:.4f}')
        for prefix, tokens in found
        for token, nats in tokens
      ),
    ],
  )


def fill_in(config: Any, workdir: str) -> None:
  """Writes candidates for the blanks, `___`, of each input line."""
  run = loading.open_run(config, workdir)
  lines = records.read_lines(config.generate.input)
  count = config.generate.candidates
  found = [
    (line, run.fill_in(line, count) if line.strip() else []) for line in lines
  ]
  records.write(
    config,
    (
      {
        'text': line,
        'candidates': [filled._asdict() for filled in candidates],
      }
      for line, candidates in found
    ),
    [
      records.row('line', 'nats', 'words', 'text'),
      *(
        records.row(
          number, f'{filled.nats:.4f}', ' '.join(filled.words), filled.text
        )
        for number, (_, candidates) in enumerate(found, 1)
        for filled in candidates
      ),
    ],
  )


def predict(config: Any, workdir: str) -> None:
  """Writes the likeliest label of each input line, and its probability."""
  run = loading.open_run(config, workdir)
  lines = records.read_lines(config.generate.input)
  labels = run.task.labels
  blank = np.full(len(labels), np.nan)
  log_probs = _by_line(run, lines, run.predict, blank)
  written: list[dict[str, Any]] = []
  rows = [records.row('label', 'probability', 'text')]
  for line, nats in zip(lines, log_probs, strict=True):
    if np.isnan(nats).all():
      written.append({'text': line, 'label': None, 'probabilities': None})
      rows.append(records.row('', '', line))
      continue
    shares, best = np.exp(np.float64(nats)), int(np.argmax(nats))
    written.append(
      {
        'text': line,
        'label': labels[best],
        'probabilities': dict(zip(labels, shares.tolist(), strict=True)),
      }
    )
    rows.append(records.row(labels[best], f'{shares[best]:.6f}', line))
  records.write(config, written, rows)


def showcase(config: Any, workdir: str) -> None:
  """samples.txt: what a trained run writes, for a first look."""
  run = loading.open_run(config, workdir)
  generate = config.generate
  count = generate.num_samples
  lines = [f'Samples at temperature {generate.temperature}', '']
  lines += records.separated(run.sample(count))
  if isinstance(run.task, base.HasLatents):
    ends = run.prior_latents(2 * min(count, 3), generate.seed, 'ends')
    temperature = generate.reconstruct_temperature
    how = f'at temperature {temperature}' if temperature else 'most likely'
    lines += ['', f'Interpolations between samples of the prior, {how}', '']
    lines += _ways_as_lines(_between(run, ends))
  path = os.path.join(workdir, 'samples.txt')
  writers.write_text(path, '\n'.join(lines) + '\n')
  print('\n'.join(lines))
  logging.info('Written to %s.', path)


def preview(config: Any) -> Callable[[Any, Any, Any], str]:
  """Returns what writes one sample during training: see `training.loop`."""
  few = config.copy_and_resolve_references()
  few.generate.max_length = min(
    few.generate.max_length or few.corpus.max_length, _PREVIEW
  )
  runs: list[run_lib.Run] = []

  def write(task, params, vocab) -> str:
    if not runs:  # One for all validations, whose functions are compiled once.
      runs.append(run_lib.Run(few, vocab, (), task, params, {}, ''))
    (run,) = runs
    run.params = params
    (text,) = run.sample(1)
    return f'  a sample: {text}'

  return write


def _by_line(
  run: run_lib.Run,
  lines: Sequence[str],
  function: Callable[[Sequence[str]], Any],
  blank: Any,
) -> list[Any]:
  """A function of texts for each line, `blank` for those that are no text."""
  kept = [i for i, line in enumerate(lines) if run.is_read(line)]
  results = [blank] * len(lines)
  if kept:
    found = function([lines[i] for i in kept])
    for i, result in zip(kept, found, strict=True):
      results[i] = result
  return results


def _check_search(config: Any, key: str) -> None:
  """Raises ValueError for a beam search at a temperature, config.generate.KEY.

  The samples that end a training are not refused: they are drawn.
  """
  generate = config.generate
  if generate.beam_size > 1 and generate[key] > 0:
    raise ValueError(
      f'config.generate.beam_size = {generate.beam_size} searches, it does not '
      f'draw: it needs config.generate.{key} = 0.'
    )


def _between(run: run_lib.Run, ends: np.ndarray) -> list[list[str]]:
  """The texts on the lines from z 0 to 1, 2 to 3 and so on."""
  generate = run.config.generate
  steps = generate.interpolation_steps
  texts = run.decode(
    run.between(ends[::2], ends[1::2], steps), generate.reconstruct_temperature
  )
  return [texts[i : i + steps] for i in range(0, len(texts), steps)]


def _ways_as_lines(ways: Sequence[Sequence[str]]) -> list[str]:
  """A blank line ends a way, so that an empty sentence needs a name."""
  lines: list[str] = []
  for way in ways:
    lines += [text or '(empty)' for text in way]
    lines.append('')
  return lines[:-1]


def _say_how(run: run_lib.Run, scores: Sequence[run_lib.Score]) -> None:
  """Logs what the nats are, and what flatters them."""
  if run.estimator == 'exact':
    logging.info('Nats are exact.')
  else:
    logging.info('Nats are an upper bound: %s.', run.estimator)
  tokens = sum(s.tokens for s in scores)
  unknown = sum(s.unknown for s in scores)
  if tokens:
    for warning in run.task.warnings({'unknown_share': unknown / tokens}):
      logging.warning('%s', warning)


def _score_rows(scores: Sequence[run_lib.Score]) -> Iterator[str]:
  yield records.row('nats', 'tokens', 'unknown', 'text')
  for s in scores:
    nats = '' if s.nats is None else f'{s.nats:.4f}'
    yield records.row(nats, s.tokens, s.unknown, s.text)


def _token_rows(scores: Sequence[run_lib.Score]) -> Iterator[str]:
  yield records.row('line', 'nats', 'token')
  for number, s in enumerate(scores, 1):
    for token, nats in s.by_token:
      yield records.row(number, f'{nats:.4f}', token)


def _score_record(s: run_lib.Score, per_token: bool) -> dict[str, Any]:
  record = s._asdict()
  by_token = record.pop('by_token')
  if per_token:
    record['by_token'] = [
      {'token': token, 'nats': nats} for token, nats in by_token
    ]
  return record
