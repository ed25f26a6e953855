"""Code shared by taggers: what they read, their values and their figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import corpora, schemes, spellings
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import tagger
from rnnvae_jax.ops import crf
from rnnvae_jax.tasks import base

_MOST_CONFUSED = 10  # Pairs of tags that are kept.


def check_sentences(config: Any) -> None:
  """Raises ValueError for a stream, which has no sentences to be tagged."""
  if config.corpus.stream:
    raise ValueError(
      'config.corpus.stream = True: a stream has no sentences to be tagged. '
      'Legal: False.'
    )


def check_labels(config: Any, labels: Sequence[str]) -> None:
  """Raises ValueError unless there are tags to tell apart."""
  if len(labels) < 2:
    raise ValueError(
      f'A tagger needs at least 2 tags; those of {config.corpus.name!r} are '
      f'{list(labels)}.'
    )


def shrink(config: Any, tiny_corpus: str) -> None:
  """The columns and the scheme of the corpus of `:tiny`."""
  if config.corpus.name == tiny_corpus:
    config.corpus.columns, config.corpus.tag_scheme = False, 'bio'


def reading(
  config: Any, vocab: vocab_lib.Vocabulary
) -> tuple[spellings.Speller, str]:
  """What turns words into characters, and the scheme of the tags."""
  corpus = config.corpus
  speller = spellings.Speller(vocab, corpus.max_characters)
  return speller, corpus.learnt_scheme or corpus.tag_scheme


def words_of(batch: base.Batch) -> tagger.Words:
  """The words of a batch: its targets without the end mark of each row.

  That mark has no tag, and layers that read backwards need none to begin.
  """
  ids, mask = batch['targets'], batch['mask']
  follows = jnp.concatenate([mask[:, 1:], jnp.zeros_like(mask[:, :1])], axis=1)
  ids = jnp.where(follows, ids, vocab_lib.PAD)
  arrays = ids, follows, batch['chars'], batch['chars_mask']
  return tagger.Words(*map(without_end, arrays))


def without_end(array: jax.Array) -> jax.Array:
  """[B, T, ...] -> [B, T - 1, ...], or one column if T is 1."""
  return array[:, : max(array.shape[1] - 1, 1)]


def values(
  emissions: jax.Array,
  weights: crf.Weights | None,
  mask: jax.Array,
  tags: jax.Array,
) -> dict[str, jax.Array]:
  """What an evaluation of tags returns of each row.

  Args:
    emissions: float[B, T - 1, K].
    weights: scores of tags beside each other; None: there are none.
    mask: bool[B, T - 1], True on words.
    tags: int[B, T], those of a batch.

  Returns:
    nll float[B], nats of the tags; known bool[B], whether all tags have an id
    below K, without which nll means nothing; and predicted int[B, T - 1], the
    best tags.
  """
  tags, count = without_end(tags), emissions.shape[2]
  predicted, _ = crf.viterbi(emissions, mask, weights)
  return {
    'nll': crf.nll(emissions, jnp.minimum(tags, count - 1), mask, weights),
    'known': jnp.all(jnp.where(mask, tags < count, True), axis=1),
    'predicted': predicted,
  }


def tagged(
  emissions: jax.Array,
  weights: crf.Weights | None,
  mask: jax.Array,
  count: int,
) -> base.Tagged:
  """The `count` best sequences of tags; see `values` for the arguments."""
  if count == 1:
    tags, totals = crf.viterbi(emissions, mask, weights)
    tags, totals = tags[:, None], totals[:, None]
  else:
    tags, totals = crf.n_best(emissions, mask, weights, count)
  logs = crf.log_partition(emissions, mask, weights)
  shares = crf.marginals(emissions, mask, weights)
  return base.Tagged(tags, totals - logs[:, None], shares)


def summary(
  values: base.Values,
  split: corpora.Split,
  names: Sequence[str],
  scheme: str,
) -> dict[str, Any]:
  """The figures of a split.

  Args:
    values: what `values` returned of all rows. Sentences with a tag that the
      training text does not have are left out of the nats.
    split: the split, with its tags.
    names: of the tags that can be predicted.
    scheme: how they mark spans.

  Returns:
    sentences; tokens, its words; unknown_share of these; nll_per_token, nats
    of a tag; accuracy and error_percent; unknown_accuracy, of unknown words;
    unseen_tags, how many tokens have a tag that the training text does not
    have; confused, the commonest wrong tags: [tag, predicted, count]; and where
    tags mark spans, those of `schemes.span_figures`.
  """
  all_names = (*names, *split.unseen)
  words = word_mask(split)
  gold = split.fields['tags'][words]
  predicted = flat_predicted(values, split)
  is_right = gold == predicted
  unknown = split.tokens[words] == vocab_lib.UNK
  counts = split.lengths - 1
  has_nats = values['known'] != 0
  scored = int(counts[has_nats].sum())
  figures: dict[str, Any] = {
    'sentences': len(split),
    'tokens': len(gold),
    'unknown_share': float(np.mean(unknown)),
    'accuracy': float(np.mean(is_right)),
    'error_percent': float(100 * np.mean(~is_right)),
    'unseen_tags': int(np.sum(gold >= len(names))),
    'confused': _confused(gold, predicted, all_names),
  }
  if scored:
    figures['nll_per_token'] = float(values['nll'][has_nats].sum() / scored)
  if unknown.any():
    figures['unknown_accuracy'] = float(np.mean(is_right[unknown]))
  if scheme != 'none':
    figures |= schemes.span_figures(
      by_sentence(gold, counts, all_names),
      by_sentence(predicted, counts, all_names),
    )
  return figures


def word_mask(split: corpora.Split) -> np.ndarray:
  """bool[total], which of a split's tokens are words, not end marks."""
  found = np.ones(len(split.tokens), bool)
  found[split.offsets + split.lengths - 1] = False
  return found


def flat_predicted(values: base.Values, split: corpora.Split) -> np.ndarray:
  """int64[words], the predicted tags of a split's words."""
  table = values['predicted']
  is_word = np.arange(table.shape[1])[None] < (split.lengths - 1)[:, None]
  return table[is_word].astype(np.int64)


def by_sentence(
  ids: np.ndarray, counts: np.ndarray, names: Sequence[str]
) -> list[list[str]]:
  """The tags of each sentence, from those of all words."""
  tags = [names[i] for i in ids.tolist()]
  ends = np.cumsum(counts).tolist()
  return [
    tags[end - count : end]
    for end, count in zip(ends, counts.tolist(), strict=True)
  ]


def _confused(gold, predicted, names) -> list[list[Any]]:
  """The commonest wrong tags: [tag, predicted, count], by count."""
  wrong = gold != predicted
  pairs = gold[wrong] * len(names) + predicted[wrong]
  kinds, counts = np.unique(pairs, return_counts=True)
  order = np.argsort(-counts, kind='stable')[:_MOST_CONFUSED]
  return [
    [
      names[kinds[i] // len(names)],
      names[kinds[i] % len(names)],
      int(counts[i]),
    ]
    for i in order
  ]


def warnings(figures: Mapping[str, Any]) -> list[str]:
  """Says which tags no model that was trained on this text could predict."""
  count = figures['unseen_tags']
  if not count:
    return []
  return [
    f'{count:,} of {figures["tokens"]:,} tokens have a tag that the training '
    'text does not have; they count as wrong.'
  ]


def report(figures: Mapping[str, Any]) -> str:
  """Describes the figures of a validation, for the log."""
  line = f'accuracy {figures["accuracy"]:.2%}'
  if 'f1' in figures:
    line += f', F1 {figures["f1"]:.2f}'
  if 'nll_per_token' in figures:
    line += f', {figures["nll_per_token"]:.4f} nats a tag'
  return line


def _span_lines(by_type: Mapping[str, Mapping[str, Any]]) -> str:
  lines = (
    f'{kind}: F1 {f["f1"]:.2f}, precision {f["precision"]:.2f}, recall '
    f'{f["recall"]:.2f} of {f["count"]:,}'
    for kind, f in by_type.items()
  )
  return '\n'.join(lines)


def _mistake_lines(counts: Mapping[str, int]) -> str:
  return '\n'.join(f'{kind}: {count:,}' for kind, count in counts.items())


def _confused_lines(pairs: Sequence[Sequence[Any]]) -> str:
  return '\n'.join(f'{a} as {b}: {count:,}' for a, b, count in pairs)


FIGURES = (
  base.Figure('sentences', 'sentences', '{:,}'),
  base.Figure('tokens', 'words', '{:,}'),
  base.Figure('unknown_share', 'unknown words', '{:.2%}'),
  # The title is that of the same figure of language models, a column of tables.
  base.Figure('nll_per_token', 'nll of a tag', '{:.4f}', 'NLL a token'),
  base.Figure('accuracy', 'accuracy', '{:.2%}', 'accuracy'),
  base.Figure('error_percent', '', '{:.2f}', 'error, %'),
  base.Figure('unknown_accuracy', 'accuracy of unknown words', '{:.2%}'),
  base.Figure('unseen_tags', 'tokens with an unseen tag', '{:,}'),
  base.Figure('precision', 'precision of spans, %', '{:.2f}', 'precision'),
  base.Figure('recall', 'recall of spans, %', '{:.2f}', 'recall'),
  base.Figure('f1', 'F1 of spans, %', '{:.2f}', 'F1'),
  base.Figure('spans', 'by type', _span_lines),
  base.Figure('mistakes', 'wrong spans', _mistake_lines),
  base.Figure('confused', 'commonest wrong tags', _confused_lines),
)
