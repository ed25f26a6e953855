"""Text out of a trained run: sample, reconstruct, interpolate, score."""

from collections.abc import Callable, Iterable
import functools
import os
import sys
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches, corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.ops import noise, sampling
from rnnvae_jax.tasks import base
from rnnvae_jax.training import validation, writers

# Rows decoded at a time: bounds the memory of their logits.
_ROWS = 256
_PREVIEW = 40  # Tokens of a sample that is shown during training.

_NO_LATENTS = (
  'This run is a language model: it has no latents. Reconstruction and '
  "interpolation want config.model.kind = 'sentence_vae'."
)


def sample(config: Any, workdir: str) -> None:
  """Writes `generate.num_samples` sentences drawn from the model."""
  _check_search(config, 'temperature')
  run = run_lib.open_run(config, workdir)
  _write(config, _spelt(run, prior_samples(run, config.generate.num_samples)))


def reconstruct(config: Any, workdir: str) -> None:
  """Writes each input line as the VAE sees it, a tab, its reconstruction."""
  _check_search(config, 'reconstruct_temperature')
  run = run_lib.open_run(config, workdir)
  split = _read(run)
  sentences = decode(
    run, posterior(run, split), config.generate.reconstruct_temperature
  )
  lines = zip(_texts(run, split), _spelt(run, sentences), strict=True)
  _write(config, ('\t'.join(pair) for pair in lines))


def interpolate(config: Any, workdir: str) -> None:
  """Writes the way from each line to the next of a pair, a blank line after.

  Lines 1 and 2, 3 and 4 and so on of `generate.input` are the pairs, seen
  through the posterior; without an input, samples of the prior are.
  """
  _check_search(config, 'reconstruct_temperature')
  run = run_lib.open_run(config, workdir)
  if config.generate.input:
    split = _read(run)
    if len(split) % 2:
      raise ValueError(
        'Interpolation goes between pairs of lines, got an odd number: '
        f'{len(split)}.'
      )
    ends = posterior(run, split)
  else:
    ends = _prior_latents(run, 2 * config.generate.num_samples, 'ends')
  _write(config, _between(run, ends))


def score(config: Any, workdir: str) -> None:
  """Writes nats, tokens (eos counted) and text of each input line.

  Exact for a language model; for a VAE the importance-weighted bound with
  `evaluate.iw_samples` samples.
  """
  run = run_lib.open_run(config, workdir)
  split = _read(run)
  evaluator = validation.make_sentence_evaluator(
    config, run.task, split, run.task.samples(config)
  )
  key = jax.random.key(config.seed)
  values = evaluator(run.params, run.extras, key)
  nats = values[run.task.score]
  rows = zip(nats, split.lengths, _texts(run, split), strict=True)
  _write(config, (f'{nll:.4f}\t{count}\t{text}' for nll, count, text in rows))


def _check_search(config: Any, key: str) -> None:
  """Raises ValueError for a beam search at a temperature, config.generate.KEY.

  That of training's own samples is not refused: they are drawn.
  """
  generate = config.generate
  if generate.beam_size > 1 and generate[key] > 0:
    raise ValueError(
      f'config.generate.beam_size = {generate.beam_size} searches, it does not '
      f'draw: it wants config.generate.{key} = 0.'
    )


MODES = {
  'sample': sample,
  'reconstruct': reconstruct,
  'interpolate': interpolate,
  'score': score,
}


def showcase(config: Any, workdir: str) -> None:
  """samples.txt: what a trained run writes, for a first look."""
  run = run_lib.open_run(config, workdir)
  count = config.generate.num_samples
  title = f'Samples at temperature {config.generate.temperature}'
  lines = [title, '', *_spelt(run, prior_samples(run, count))]
  if isinstance(run.task, base.HasLatents):
    ends = _prior_latents(run, 2 * min(count, 3), 'ends')
    temperature = config.generate.reconstruct_temperature
    how = f'at temperature {temperature}' if temperature else 'most likely'
    lines += ['', f'Interpolations between samples of the prior, {how}', '']
    lines += _between(run, ends)
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

  def write(task, params, vocab) -> str:
    run = run_lib.Run(few, vocab, (), task, params, {}, '')
    (text,) = _spelt(run, prior_samples(run, 1))
    return f'  a sample: {text}'

  return write


def prior_samples(
  run: run_lib.Run,
  count: int,
  temperature: float | None = None,
  forbid_unk: bool | None = None,
) -> list[np.ndarray]:
  """`count` sentences, z from the prior; see `decode`.

  Args:
    run: a trained one.
    count: how many.
    temperature: `generate.temperature` if None.
    forbid_unk: `generate.forbid_unk` if None.
  """
  latents = _prior_latents(run, count, 'prior')
  if temperature is None:
    temperature = run.config.generate.temperature
  prime = run.config.generate.prime
  return decode(run, latents, temperature, forbid_unk, prime)


def posterior(run: run_lib.Run, split: corpora.Split) -> jax.Array:
  """z of each sentence, float[N, Z]: the posterior's mean, or a sample of it.

  Raises:
    ValueError: the model has no latents.
  """
  latents = _latents(run)
  family = latents.family
  length = int(max(split.lengths))
  corpus = batches.put(split)

  @jax.jit
  def encode(rows):
    batch = batches.gather(corpus, rows, batches.Bucket(length))
    of_rows = latents.encode(run.params, batch, run.extras)
    if not run.config.generate.posterior_sample:
      return family.center(of_rows)
    keys = noise.row_keys(_key(run), rows)
    draws = noise.normal(keys, 'posterior', (family.noise_size,))
    return family.draw(draws, of_rows)[0]

  return jnp.concatenate(
    [encode(rows)[:count] for rows, count in _chunks(len(split))]
  )


def decode(
  run: run_lib.Run,
  latents: jax.Array,
  temperature: float,
  forbid_unk: bool | None = None,
  prime: str = '',
) -> list[np.ndarray]:
  """The ids of a sentence for each z float[N, Z]; Z is 0 for a language model.

  At temperature 0 greedy, or by beam search with `generate.beam_size` beams. A
  sentence cut at `generate.max_length`, which does not count the `prime` that
  all of them begin with, has no eos.
  """
  generate = run.config.generate
  max_length = generate.max_length or run.config.corpus.max_length
  if forbid_unk is None:
    forbid_unk = generate.forbid_unk
  beam_size = generate.beam_size if temperature == 0 else 1
  length_penalty = jnp.float32(generate.length_penalty)
  settings = sampling.Settings(
    temperature=jnp.float32(temperature),
    top_k=jnp.int32(generate.top_k),
    top_p=jnp.float32(generate.top_p),
  )
  forbidden = np.zeros(len(run.vocab), bool)
  forbidden[[vocab_lib.PAD, vocab_lib.BOS]] = True
  forbidden[vocab_lib.UNK] = forbid_unk
  if run.config.corpus.stream and run.vocab.kind != 'word':
    forbidden[vocab_lib.EOS] = True  # Which the text has none of.
  begun = run.vocab.encode(run.protocol.tokenise(prime))
  if vocab_lib.UNK in begun:
    logging.warning('Of %r some is not in the vocabulary.', prime)
  bos = corpora.begin_mark(run.vocab, run.config.corpus.stream)
  marked = np.concatenate([[bos], begun])

  @functools.partial(jax.jit, static_argnames='max_length')
  def decode_rows(params, rows, latents, settings, max_length):
    some = None if not isinstance(run.task, base.HasLatents) else latents

    def step(carry, tokens):
      states, some = carry
      states, logits = run.task.step(params, states, tokens, some)
      return (states, some), logits

    count = latents.shape[0]
    carry = run.task.start(params, count, some), some
    for_all = lambda token: jnp.full(count, token)
    carry, _ = jax.lax.scan(
      lambda carry, token: (step(carry, for_all(token))[0], None),
      carry,
      jnp.asarray(marked[:-1], jnp.int32),
    )
    if beam_size > 1:
      return sampling.beam_search(
        step,
        carry,
        rows=latents.shape[0],
        beam_size=beam_size,
        length_penalty=length_penalty,
        forbidden=jnp.asarray(forbidden),
        max_length=max_length,
        bos=int(marked[-1]),
        eos=vocab_lib.EOS,
      )
    return sampling.decode(
      step,
      carry,
      noise.site_keys(noise.row_keys(_key(run), rows), 'decode'),
      settings,
      forbidden=jnp.asarray(forbidden),
      max_length=max_length,
      bos=int(marked[-1]),
      eos=vocab_lib.EOS,
    )

  sentences = []
  for rows, count in _chunks(len(latents)):
    tokens, lengths = decode_rows(
      run.params,
      rows,
      latents[rows],
      settings,
      max_length,
    )
    for ids, length in zip(
      np.asarray(tokens)[:count], np.asarray(lengths)[:count], strict=True
    ):
      sentences.append(np.concatenate([begun, ids[:length]]))
  cut = sum(ids[-1] != vocab_lib.EOS for ids in sentences)
  if cut and not forbidden[vocab_lib.EOS]:
    logging.info(
      '%d of %d sentences did not end within %d tokens: raise '
      'config.generate.max_length.',
      cut,
      len(sentences),
      max_length,
    )
  return sentences


def _between(run: run_lib.Run, ends: jax.Array) -> list[str]:
  """The sentences on the straight lines from z 0 to 1, 2 to 3 and so on.

  Drawn onto the sphere, where that is where the latents are.
  """
  steps = run.config.generate.interpolation_steps
  way = jnp.linspace(0.0, 1.0, steps)[None, :, None]
  left, right = ends[::2, None], ends[1::2, None]
  latents = (1 - way) * left + way * right
  onto_support = _latents(run).family.onto_support
  sentences = decode(
    run,
    onto_support(latents.reshape(-1, ends.shape[1])),
    run.config.generate.reconstruct_temperature,
  )
  texts = _spelt(run, sentences)
  lines = []
  for start in range(0, len(texts), steps):
    # A blank line ends a way, so that an empty sentence needs a name.
    lines += [text or '(empty)' for text in texts[start : start + steps]]
    lines.append('')
  return lines[:-1]


def _chunks(count: int):
  """Row numbers in equal static shapes, and how many of each are wanted."""
  size = min(count, _ROWS)
  for start in range(0, count, size):
    rows = np.minimum(np.arange(start, start + size), count - 1)
    yield jnp.asarray(rows, jnp.int32), min(size, count - start)


def _prior_latents(run: run_lib.Run, count: int, site: str) -> jax.Array:
  """z float[count, Z], of a language model with Z = 0."""
  if not isinstance(run.task, base.HasLatents):
    return jnp.zeros((count, 0))
  keys = noise.row_keys(_key(run), jnp.arange(count))
  return jax.jit(run.task.latents.draw_prior, static_argnums=2)(
    run.params, keys, site
  )


def _latents(run: run_lib.Run) -> base.Latents:
  """What a VAE has; ValueError for a language model."""
  if not isinstance(run.task, base.HasLatents):
    raise ValueError(_NO_LATENTS)
  return run.task.latents


def _key(run: run_lib.Run) -> jax.Array:
  return jax.random.key(run.config.generate.seed)


def _read(run: run_lib.Run) -> corpora.Split:
  """The input lines through the run's protocol and vocabulary, uncut."""
  source = run.config.generate.input
  if source == '-' and sys.stdin.isatty():
    print('Lines from the terminal; Ctrl-D ends them.', file=sys.stderr)
  return corpora.encode_lines(
    corpora.read_lines(source),
    run.protocol.name,
    run.vocab,
    stream=run.config.corpus.stream,
  )


def _texts(run: run_lib.Run, split: corpora.Split) -> Iterable[str]:
  for start, length in zip(split.offsets, split.lengths, strict=True):
    yield _text(run, split.tokens[start : start + length])


def _spelt(run: run_lib.Run, sentences: Iterable[np.ndarray]) -> list[str]:
  return [_text(run, ids) for ids in sentences]


def _text(run: run_lib.Run, ids) -> str:
  return run.protocol.join(run.vocab.decode(ids))


def _write(config: Any, lines: Iterable[str]) -> None:
  if config.generate.output == '-':
    for line in lines:
      print(line)
    sys.stdout.flush()
  else:
    writers.write_text(config.generate.output, '\n'.join(lines) + '\n')
