"""Count models as a task: fitted in one pass, evaluated like all others."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import _likelihood, base
from rnnvae_jax.tasks.ngrams import counts as counts_lib
from rnnvae_jax.tasks.ngrams import scorer as scorer_lib

_FILE = 'ngrams.npz'
# Smallest log-probability of a token in sampling, in place of -inf.
_LEAST_LOG_PROB = -1e3


@schema.fragment('model.ngrams')
class NGramsConfig:
  """Order and smoothing of a count model."""

  order: int = schema.field(
    5,
    'Tokens of the longest n-gram; 0: the uniform distribution.',
    low=0,
    high=20,
  )
  smoothing: str = schema.field(
    'modified_kneser_ney',
    'How n-grams that were never seen get probability.',
    choices=counts_lib.SMOOTHINGS,
  )


class NGrams(base.Fitted, base.Scores, base.Generates):
  """A count model, which compiled programs call back on the host."""

  FRAGMENTS = (NGramsConfig,)
  FIGURES = _likelihood.FIGURES

  def __init__(
    self,
    scorer: scorer_lib.Scorer,
    vocab: vocab_lib.Vocabulary | None = None,
  ):
    """Creates the task.

    Args:
      scorer: the fitted model.
      vocab: vocabulary of its text, for figures per character.
    """
    self.scorer = scorer
    self._vocab = vocab

  @classmethod
  def fit(cls, config: Any, corpus: corpora.Corpus) -> 'NGrams':
    settings, vocab = config.model.ngrams, corpus.vocab
    split = corpus.splits['train']
    has_unknown = any(
      vocab_lib.UNK in split.tokens for split in corpus.splits.values()
    )
    counted = counts_lib.NGrams.fit(
      split.tokens,
      len(vocab),
      settings.order,
      settings.smoothing,
      # Contexts end at sentence boundaries, even in a stream of words.
      vocab_lib.BOS if vocab.kind == 'word' else split.bos,
      unknown=vocab.kind == 'word' or has_unknown,
    )
    return cls(counted, vocab)

  def save(self, workdir: str) -> None:
    self.scorer.save(os.path.join(workdir, _FILE))  # type: ignore[attr-defined]

  @classmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'NGrams':
    del config, labels
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
      raise FileNotFoundError(
        f'The run in {workdir!r} has no counts yet: {path} does not exist. '
        'The command that began it fits them.'
      )
    return cls(counts_lib.NGrams.load(path), vocab)

  @classmethod
  def is_fitted(cls, workdir: str) -> bool:
    return os.path.exists(os.path.join(workdir, _FILE))

  def describe(self) -> str:
    orders = self.scorer.orders  # type: ignore[attr-defined]
    counted = ', '.join(f'{len(order.keys):,}' for order in orders) or 'none'
    return f'distinct n-grams of each order: {counted}'

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats."""
    del params, key, extras, samples
    shape = jax.ShapeDtypeStruct(batch['index'].shape, jnp.float32)
    arrays = batch['targets'], batch['mask']
    return {'nll': jax.pure_callback(self._nats, shape, *arrays)}

  def summarise(self, values, split, config, final=False):
    del config, final
    return _likelihood.exact_figures(values, split, self._vocab)

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _likelihood.unknown_warnings(figures)

  def start(self, params, batch_size, latents=None):
    del params, latents
    return jnp.full((batch_size, self.scorer.context_size), vocab_lib.PAD)

  def step(self, params, carry, tokens, latents=None):
    del params, latents
    # After the end of a sentence the next one begins.
    tokens = jnp.where(tokens == vocab_lib.EOS, vocab_lib.BOS, tokens)
    contexts = jnp.concatenate([carry[:, 1:], tokens[:, None]], axis=1)
    shape = (len(tokens), self.scorer.vocab_size)
    logits = jax.pure_callback(
      self._next_log_probs, jax.ShapeDtypeStruct(shape, jnp.float32), contexts
    )
    return contexts, logits

  def _nats(self, targets, mask):
    rows = zip(np.asarray(targets), np.asarray(mask), strict=True)
    totals = [-np.sum(self.scorer.log_probs(ids[real])) for ids, real in rows]
    return np.array(totals, np.float32)

  def _next_log_probs(self, contexts):
    logits = self.scorer.next_log_probs(np.asarray(contexts))
    # Finite, so that sampling works even if all possible tokens are forbidden.
    return np.maximum(logits.astype(np.float32), _LEAST_LOG_PROB)
