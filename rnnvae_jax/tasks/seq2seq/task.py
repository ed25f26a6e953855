"""Maximum likelihood of sentences given their sources."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import parallel
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import encoder_decoder
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.objectives import losses
from rnnvae_jax.ops import noise, rows
from rnnvae_jax.tasks import _likelihood, _metrics, base
from rnnvae_jax.tasks.seq2seq import settings

# Parts of the decoder that are the encoder's, by what is shared.
_SHARED = {
  'none': (),
  'embeddings': ('embedding',),
  'all': ('embedding', 'recurrent'),
}
_LIKELIHOODS = (
  *('sentences', 'tokens', 'unknown_share', 'nll_per_sentence'),
  *('perplexity', 'nll_per_token'),
)


class Seq2Seq(_likelihood.Recurrent, base.Scores, base.Translates):
  """A language model of sentences that is given their sources."""

  FRAGMENTS = (
    model_build.RecurrentConfig,
    settings.Seq2SeqConfig,
    *cells.fragments(),
    model_build.DropoutConfig,
    losses.LabelSmoothingConfig,
    settings.SelectConfig,
    parallel.ParallelConfig,
  )
  FIGURES = (
    *(f for f in _likelihood.FIGURES if f.name in _LIKELIHOODS),
    base.Figure('token_accuracy', 'right tokens, given those before', '{:.2%}'),
    base.Figure(
      'sequence_accuracy',
      'right sentences, greedily',
      '{:.2%}',
      'sequence accuracy',
    ),
    base.Figure('exact_match', 'right sentences, as written', '{:.2%}'),
    base.Figure('bleu', 'BLEU', '{:.2f}', 'BLEU'),
    base.Figure('beam_size', 'beams', '{}'),
  )
  FIELDS = (parallel.FIELD,)
  TINY_CORPUS = 'reversal'

  def __init__(
    self,
    model: encoder_decoder.EncoderDecoder,
    *,
    vocab: vocab_lib.Vocabulary | None = None,
    shared_weights: str = 'none',
    forbid_unk: bool = True,
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: the Flax module.
      vocab: vocabulary of the sentences, for figures per character.
      shared_weights: what the decoder takes from the encoder, one of
        `settings.SHARED`.
      forbid_unk: whether <unk> is never written.
      initialise: (params, key) -> initial params; None: those of the modules.
    """
    self.model = model
    self.metrics = _metrics.LanguageModelMetrics
    self.backend = model.encoder.backend
    self.backend_reason = model.encoder.backend_reason
    self._vocab = vocab
    self._shared = _SHARED[shared_weights]
    self._forbid_unk = forbid_unk
    self._initialise = initialise

  @classmethod
  def check(cls, config: Any) -> None:
    settings.check(config)

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'Seq2Seq':
    del labels
    sources = parallel.source_vocabulary(vocab)
    return cls(
      settings.build(config, len(vocab), len(sources)),
      vocab=vocab,
      shared_weights=config.model.shared_weights,
      forbid_unk=config.generate.forbid_unk,
      initialise=_likelihood.initialiser(config),
    )

  def init(self, key: jax.Array) -> Any:
    params = _likelihood.init(
      self.model, _arrays(_tiny_batch()), self._initialise, key
    )
    tree = dict(params['params'])
    tree['decoder'] = {
      name: part
      for name, part in tree['decoder'].items()
      if name not in self._shared
    }
    return {'params': tree}

  def loss(self, params, batch, hyperparameters, key, extras):
    rates = noise.rates(hyperparameters.dropout)
    reading: Any = self.model.apply(
      self._whole(noise.drop_weights(params, rates.weight, key, 'recurrent')),
      *_arrays(batch),
      rates=rates,
      keys=noise.row_keys(key, batch['index']),
      token_counts=batch['token_counts'],
      smoothing=hyperparameters.objective.label_smoothing,
    )
    sums = {
      'reconstruction': rows.total(jnp.sum(reading.nll)),
      **_likelihood.counts(batch),
    }
    return rows.total(reading.total) / sums['sentences'], (sums, extras)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats, and right int[B], the tokens that are the likeliest.

    Each token is given the right ones before it. <unk> is never right, since it
    is not what the text says.
    """
    del key, extras, samples  # The likelihood is exact.
    forbidden = np.zeros(self.model.decoder.vocab_size, bool)
    forbidden[[vocab_lib.PAD, vocab_lib.BOS]] = True
    forbidden[vocab_lib.UNK] = self._forbid_unk
    nll, likeliest = self.model.apply(
      self._whole(params),
      *_arrays(batch),
      forbidden,
      token_counts=batch['token_counts'],
      method='read',
    )
    targets, mask = batch['targets'], batch['mask']
    right = (likeliest == targets) & (targets != vocab_lib.UNK) & mask
    return {'nll': jnp.sum(nll, axis=1), 'right': jnp.sum(right, axis=1)}

  def summarise(self, values, split, config, final=False):
    del config, final
    right = values['right']
    return {
      **_likelihood.exact_figures(values, split, self._vocab),
      'token_accuracy': float(np.sum(right) / np.sum(split.lengths)),
      'sequence_accuracy': float(np.mean(right == split.lengths)),
    }

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _likelihood.unknown_warnings(figures)

  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    name = config.train.select_by
    sign = 1 if name == 'nll_per_sentence' else -1
    return sign * float(figures[name])

  def report(self, figures: Mapping[str, Any]) -> str:
    return (
      f'{_likelihood.report(figures)}, {figures["token_accuracy"]:.2%} of the '
      f'tokens and {figures["sequence_accuracy"]:.2%} of the sentences right'
    )

  def encode(self, params, batch):
    return self.model.apply(
      self._whole(params),
      batch['source'],
      batch['source_mask'],
      method='encode',
    )

  def begin(self, encoded):
    return encoded.carry

  def follow(self, params, carry, tokens, encoded):
    return self.model.apply(
      self._whole(params), carry, tokens, encoded, method='step'
    )

  def _whole(self, params):
    """The parameters of the module: with those that the decoder shares."""
    if not self._shared:
      return params
    tree = params['params']
    shared = {name: tree[name] for name in self._shared}
    return {'params': {**tree, 'decoder': {**tree['decoder'], **shared}}}


def _arrays(batch: base.Batch):
  """The arrays of a batch that the model reads."""
  names = 'source', 'source_mask', 'inputs', 'targets', 'mask'
  return tuple(batch[name] for name in names)


def _tiny_batch() -> base.Batch:
  batch = _likelihood.tiny_batch()
  return batch | {'source': batch['inputs'], 'source_mask': batch['mask']}
