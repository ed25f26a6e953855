"""Texts for source texts: compiled functions and figures."""

from collections.abc import Iterator, Sequence
import functools
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.analysis import overlap
from rnnvae_jax.data import corpora, parallel
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import decoding as decoding_lib
from rnnvae_jax.inference import padding
from rnnvae_jax.inference import texts as texts_lib
from rnnvae_jax.ops import noise, sampling

_ROWS = 64  # Sources that are read at a time, at most.


class Translation(NamedTuple):
  """What a model writes for a source.

  Attributes:
    source: the text that was given.
    text: what was written; '' for a blank source.
    nats: its negative log-likelihood given the source; None for a blank one.
    tokens: that were written, the end mark counted unless it was cut.
  """

  source: str
  text: str
  nats: float | None
  tokens: int


class Translator:
  """The compiled functions of a task that `Translates`.

  Sources are read in order of length, padded to a few static sizes. A row's
  result does not depend on the other rows.
  """

  def __init__(self, task: Any):
    """`task` fulfils the contracts of `Scores` and `Translates`."""
    self._task = task
    self._write = jax.jit(
      functools.partial(_write, task),
      static_argnames=('beam_size', 'max_length'),
    )
    self._evaluate = jax.jit(
      lambda params, batch: task.evaluate(
        params, batch | {'token_counts': ()}, jax.random.key(0), {}
      )
    )

  def write(
    self,
    params: Any,
    sources: Sequence[np.ndarray],
    forbidden: np.ndarray,
    decoding: decoding_lib.Decoding,
  ) -> list[np.ndarray]:
    """The likeliest sentence that a search finds for each source.

    Args:
      params: of the task.
      sources: int[S] each, eos at the end.
      forbidden: bool[V], ids that are never written.
      decoding: how it is searched; nothing is drawn.

    Returns:
      int32[<= max_length] each, eos included unless it was cut.
    """
    written: list[np.ndarray] = [np.zeros(0, np.int32)] * len(sources)
    for numbers, batch in _batches(sources):
      ids, lengths = jax.device_get(
        self._write(
          params,
          batch,
          forbidden,
          np.float32(decoding.length_penalty),
          beam_size=decoding.beam_size,
          max_length=decoding.max_length,
        )
      )
      for row, number in enumerate(numbers):
        written[number] = ids[row, : lengths[row]]
    return written

  def nats(
    self,
    params: Any,
    sources: Sequence[np.ndarray],
    sentences: Sequence[np.ndarray],
  ) -> np.ndarray:
    """Nats of each sentence given its source: float64[N].

    Args:
      params: of the task.
      sources: int[S] each, eos at the end.
      sentences: int[T] each, at least one id.
    """
    nats = np.zeros(len(sources))
    for numbers, batch in _batches(sources, sentences):
      values = jax.device_get(self._evaluate(params, batch))
      nats[numbers] = values[self._task.score][: len(numbers)]
    return nats


def _write(
  task, params, batch, forbidden, length_penalty, *, beam_size, max_length
):
  """Reads sources, then writes: int32[B, max_length] and int32[B] lengths."""
  encoded = task.encode(params, batch)
  rows = len(batch['source'])
  marks: Any = {
    'max_length': max_length,
    'bos': vocab_lib.BOS,
    'eos': vocab_lib.EOS,
    'forbidden': forbidden,
  }
  if beam_size > 1:
    # All beams of a row read the same, so it does not travel with them.
    wide = jax.tree.map(lambda x: jnp.repeat(x, beam_size, axis=0), encoded)
    return sampling.beam_search(
      lambda carry, tokens: task.follow(params, carry, tokens, wide),
      task.begin(encoded),
      rows=rows,
      beam_size=beam_size,
      length_penalty=length_penalty,
      **marks,
    )

  def step(loop, tokens):
    carry, encoded = loop
    carry, logits = task.follow(params, carry, tokens, encoded)
    return (carry, encoded), logits

  keys = noise.row_keys(jax.random.key(0), jnp.arange(rows))
  greedy = sampling.Settings(jnp.float32(0), jnp.int32(0), jnp.float32(1))
  loop = task.begin(encoded), encoded
  return sampling.decode(step, loop, keys, greedy, **marks)


def _batches(
  sources: Sequence[np.ndarray], sentences: Sequence[np.ndarray] = ()
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
  """The numbers of some rows, and a batch of them; padding repeats the last."""
  longest = [len(ids) for ids in sources]
  if sentences:
    longest = [max(a, len(b)) for a, b in zip(longest, sentences, strict=True)]
  order = np.argsort(longest, kind='stable')
  for start in range(0, len(order), _ROWS):
    numbers = order[start : start + _ROWS]
    size = padding.static_rows(len(numbers))
    rows = np.concatenate([numbers, np.full(size - len(numbers), numbers[-1])])
    batch = dict(_padded([sources[i] for i in rows], 'source', 'source_mask'))
    if sentences:
      batch |= _padded([sentences[i] for i in rows], 'targets', 'mask')
      begin = np.full((size, 1), vocab_lib.BOS, np.int32)
      inputs = np.concatenate([begin, batch['targets'][:, :-1]], axis=1)
      batch['inputs'] = np.where(batch['mask'], inputs, vocab_lib.PAD)
    yield numbers, batch


def _padded(
  sequences: Sequence[np.ndarray], name: str, mask_name: str
) -> dict[str, np.ndarray]:
  length = padding.static_length(max(map(len, sequences)))
  tokens = np.zeros((len(sequences), length), np.int32)
  lengths = np.array([len(ids) for ids in sequences])
  mask = np.arange(length)[None, :] < lengths[:, None]
  tokens[mask] = np.concatenate(sequences)
  return {name: tokens, mask_name: mask}


# -- of a run ------------------------------------------------------------------


def of_texts(
  run: Any, texts: Sequence[str], **options: Any
) -> list[Translation]:
  """What a run writes for each text; see `Run.translate`."""
  ids = source_ids(run, texts)
  kept = [i for i, source in enumerate(ids) if source is not None]
  sources = [source for source in ids if source is not None]
  written = write(run, sources, **options)
  nats = run.translator.nats(run.params, sources, written)
  found = [Translation(text, '', None, 0) for text in texts]
  for number, i in enumerate(kept):
    sentence = written[number]
    found[i] = Translation(
      texts[i], run.text(sentence), float(nats[number]), len(sentence)
    )
  return found


def write(
  run: Any, sources: Sequence[np.ndarray], **options: Any
) -> list[np.ndarray]:
  """The ids that a run writes for each source; logs how many were cut.

  Args:
    run: an `inference.run.Run`.
    sources: int[S] each, eos at the end.
    **options: `beam_size`, `length_penalty`, `max_length` and `forbid_unk`; of
      what is not given, the run's config has the value.
  """
  generate = run.config.generate
  known = 'beam_size', 'length_penalty', 'max_length', 'forbid_unk'
  if strange := sorted({*options} - {*known}):
    raise ValueError(f'{strange[0]!r} is no option. Known: {", ".join(known)}.')
  values = {name: generate[name] for name in known} | options
  values['max_length'] = values['max_length'] or run.config.corpus.max_length
  forbidden = np.zeros(len(run.vocab), bool)
  forbidden[[vocab_lib.PAD, vocab_lib.BOS]] = True
  forbidden[vocab_lib.UNK] = values['forbid_unk']
  written = run.translator.write(
    run.params, sources, forbidden, decoding_lib.Decoding(**values)
  )
  cut = sum(ids[-1] != vocab_lib.EOS for ids in written)
  if cut:
    logging.info(
      '%d of %d sentences did not end within %d tokens: raise '
      'config.generate.max_length.',
      cut,
      len(written),
      values['max_length'],
    )
  return written


def source_ids(run: Any, texts: Sequence[str]) -> list[np.ndarray | None]:
  """The ids of each source text, uncut; see `Texts.ids`."""
  vocab = parallel.source_vocabulary(run.vocab)
  return texts_lib.Texts(run.config, vocab).ids(texts)


def score_pairs(
  run: Any, lines: Sequence[str]
) -> tuple[list[float | None], list[np.ndarray | None]]:
  """Nats and ids of the sentences of lines: a source, a tab and the sentence.

  A line of an autoencoder may be the sentence alone. A blank one has None.

  Raises:
    ValueError: a line is not a pair; the message has its number.
  """
  pairs: list[tuple[str, str]] = []
  for number, line in enumerate(lines, 1):
    parts = line.split('\t')
    if len(parts) == 1 and (run.config.corpus.autoencoder or not line.strip()):
      parts = [line, line]
    if len(parts) != 2 or bool(parts[0].strip()) != bool(parts[1].strip()):
      raise ValueError(
        f'line {number}: {line!r} is not a source, one tab and a sentence.'
      )
    pairs.append((parts[0], parts[1]))
  sources = source_ids(run, [source for source, _ in pairs])
  sentences = run.ids([sentence for _, sentence in pairs])
  kept = [i for i, source in enumerate(sources) if source is not None]
  nats: list[float | None] = [None] * len(lines)
  values = run.translator.nats(
    run.params, [sources[i] for i in kept], [sentences[i] for i in kept]
  )
  for i, value in zip(kept, values.tolist(), strict=True):
    nats[i] = value
  return nats, sentences


def figures(run: Any, split: corpora.Split) -> dict[str, Any]:
  """How what a run writes for a split's sources compares with its sentences.

  Returns:
    bleu, 0 to 100, of detokenised text against the text as it was given, with
    sacrebleu's signature; exact_match, the share of sentences that are written
    without an error; and how they were searched.
  """
  if split.source is None:
    return {}
  sources = [split.source.sentence(i) for i in range(len(split))]
  # The longest that is right must not be cut.
  generate = run.config.generate
  longest = max(
    generate.max_length or run.config.corpus.max_length,
    int(np.max(split.lengths)),
  )
  written = write(run, sources, max_length=longest)
  right = [
    np.array_equal(ids, split.sentence(i)) and vocab_lib.UNK not in ids
    for i, ids in enumerate(written)
  ]
  folds = run.protocol.join(run.protocol.tokenise('A')) == 'a'
  bleu, signature = overlap.text_bleu(
    [run.text(ids) for ids in written],
    split.references,
    lowercase=folds,
    by_character=run.vocab.kind != 'word',
  )
  return {
    'exact_match': float(np.mean(right)),
    'bleu': bleu,
    'bleu_signature': signature,
    'beam_size': generate.beam_size,
    'length_penalty': generate.length_penalty,
  }
