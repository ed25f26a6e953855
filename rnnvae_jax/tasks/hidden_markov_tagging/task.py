"""A hidden Markov model as a task: counted in one pass, used like others.

Given the words it is a random field, whose emissions are log p(word | tag). So
probabilities of tags are exact, and compared with those of other taggers.
"""

from collections.abc import Mapping, Sequence
import os
from typing import Any
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpora, schemes, spellings
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.ops import crf
from rnnvae_jax.tasks import _tags, base
from rnnvae_jax.tasks.hidden_markov_tagging import counts

_FILE = 'hidden_markov.npz'


@schema.fragment('model.hidden_markov')
class HiddenMarkovConfig:
  """How words are counted."""

  smoothing: float = schema.field(
    0.1,
    'How many occurrences with the shares of all tags are added to those of '
    'each word.',
    low=1e-6,
  )
  longest_ending: int = schema.field(
    8, 'Last characters of an unknown word that its tag follows from.', low=0
  )
  rare: int = schema.field(
    10, 'Endings are counted of words that occur at most so often.', low=1
  )


class HiddenMarkovTagging(base.Fitted, base.Tags):
  """The tags of a sentence's words, by counts of tags and words."""

  FRAGMENTS = (HiddenMarkovConfig, schemes.TagConfig)
  FIGURES = _tags.FIGURES
  FIELDS = ('tags', spellings.FIELD)
  PER_TOKEN = frozenset({'predicted'})

  def __init__(
    self,
    model: counts.HiddenMarkov,
    labels: Sequence[str],
    speller: spellings.Speller,
    scheme: str,
  ):
    """Creates the task.

    Args:
      model: the counts.
      labels: names of the tags, in the order of their ids.
      speller: turns words into characters.
      scheme: how tags mark spans.
    """
    self.labels = tuple(labels)
    self.speller = speller
    self.scheme = scheme
    self._model = model
    arrays = model.transitions, model.start, model.end
    self._weights = crf.Weights(*map(jnp.asarray, arrays))

  @classmethod
  def check(cls, config: Any) -> None:
    _tags.check_sentences(config)

  @classmethod
  def shrink(cls, config: Any) -> None:
    _tags.shrink(config, cls.TINY_CORPUS)

  @classmethod
  def fit(cls, config: Any, corpus: corpora.Corpus) -> 'HiddenMarkovTagging':
    _tags.check_labels(config, corpus.labels)
    split = corpus.splits['train']
    assert split.spellings is not None
    index = split.fields[spellings.INDEX]
    settings = config.model.hidden_markov
    model = counts.HiddenMarkov.fit(
      split.tokens,
      split.fields['tags'],
      split.spellings.chars[index],
      split.spellings.lengths[index],
      len(corpus.labels),
      len(corpus.vocab),
      smoothing=settings.smoothing,
      longest_ending=settings.longest_ending,
      rare=settings.rare,
    )
    return cls(model, corpus.labels, *_tags.reading(config, corpus.vocab))

  def save(self, workdir: str) -> None:
    """Saves the model; a kill leaves either the old or the new file."""
    path = os.path.join(workdir, _FILE)
    model = self._model
    keys = list(model.endings.keys)
    with open(f'{path}.partial', 'wb') as file:
      np.savez(
        file,
        transitions=model.transitions,
        start=model.start,
        end=model.end,
        words=model.words,
        prior=model.prior,
        longest=model.endings.longest,
        shares=model.endings.shares,
        ending_lengths=np.array([len(key) for key in keys]),
        ending_chars=np.array([c for key in keys for c in key], np.int32),
      )
    os.replace(f'{path}.partial', path)

  @classmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'HiddenMarkovTagging':
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
      raise FileNotFoundError(
        f'The run in {workdir!r} has no counts yet: {path} does not exist. '
        'The command that began it makes them.'
      )
    try:
      with np.load(path, allow_pickle=False) as arrays:
        parts = np.split(
          arrays['ending_chars'], np.cumsum(arrays['ending_lengths'])[:-1]
        )
        keys = {tuple(p.tolist()): row for row, p in enumerate(parts)}
        endings = counts.Endings(int(arrays['longest']), keys, arrays['shares'])
        model = counts.HiddenMarkov(
          arrays['transitions'],
          arrays['start'],
          arrays['end'],
          arrays['words'],
          endings,
          arrays['prior'],
        )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
      raise ValueError(f'{path} is damaged: {error}.') from error
    return cls(model, labels, *_tags.reading(config, vocab))

  @classmethod
  def is_fitted(cls, workdir: str) -> bool:
    return os.path.exists(os.path.join(workdir, _FILE))

  def describe(self) -> str:
    return (
      f'tags: {len(self.labels)}; words: {len(self._model.words):,}; endings: '
      f'{len(self._model.endings.keys):,}'
    )

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """See `_tags.values`."""
    del params, key, extras, samples
    words = _tags.words_of(batch)
    return _tags.values(
      self._emissions(words), self._weights, words.mask, batch['tags']
    )

  def summarise(self, values, split, config, final=False):
    del config, final
    return _tags.summary(values, split, self.labels, self.scheme)

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _tags.warnings(figures)

  def tag(self, params, batch, extras, count=1):
    del params, extras
    words = _tags.words_of(batch)
    return _tags.tagged(
      self._emissions(words), self._weights, words.mask, count
    )

  def _emissions(self, words) -> jax.Array:
    """log p(word | tag), up to a constant of each word: float32[B, T, K]."""

    def call(ids, mask, chars, chars_mask):
      mask = np.asarray(mask)
      found = np.zeros((*mask.shape, len(self.labels)), np.float32)
      lengths = np.asarray(chars_mask).sum(axis=2)
      found[mask] = self._model.emissions(
        np.asarray(ids)[mask], np.asarray(chars)[mask], lengths[mask]
      )
      return found

    shape = (*words.ids.shape, len(self.labels))
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.pure_callback(call, result, *words)
