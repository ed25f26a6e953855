"""Code shared by the tasks that compute a likelihood of text."""

from collections.abc import Callable, Mapping
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import build as model_build
from rnnvae_jax.objectives import likelihoods
from rnnvae_jax.ops import rows
from rnnvae_jax.tasks import base


@schema.fragment('train')
class SelectConfig:
  """Which validation figure chooses the checkpoint."""

  select_by: str = schema.field(
    'nll_per_sentence',
    'The validation figure whose lowest value chooses the checkpoint.',
    choices=('nll_per_sentence',),
  )


def _bound(figures: Mapping[str, Any]) -> str:
  return ' (bound: ELBO)' if figures['estimator'] == 'elbo' else ' (exact)'


def _perplexity_label(figures: Mapping[str, Any]) -> str:
  ends = ', eos counted' if 'perplexity_without_eos' in figures else ''
  return f'perplexity{ends}{_bound(figures)}'


def _by_sentence(label: str, figures: Mapping[str, Any]) -> str:
  """A label, or none where all of the text is one sentence."""
  return label if 'perplexity_without_eos' in figures else ''


FIGURES = (
  base.Figure(
    'sentences', functools.partial(_by_sentence, 'sentences'), '{:,}'
  ),
  base.Figure('tokens', 'tokens', '{:,}'),
  base.Figure('unknown_share', 'unknown tokens', '{:.2%}'),
  base.Figure(
    'nll_per_sentence',
    lambda f: _by_sentence(f'nll{_bound(f)}', f),
    '{:.3f}',
    'NLL',
  ),
  base.Figure('perplexity', _perplexity_label, '{:.2f}', 'perplexity'),
  base.Figure(
    'perplexity_without_eos',
    lambda f: f'perplexity, words only{_bound(f)}',
    '{:.2f}',
  ),
  base.Figure('backward_nll_per_sentence', 'nll, words in reverse', '{:.3f}'),
  base.Figure('backward_perplexity', 'perplexity, words in reverse', '{:.2f}'),
  base.Figure(
    'reset_nll_per_sentence', 'nll, state reset at each sentence', '{:.3f}'
  ),
  base.Figure(
    'reset_perplexity',
    'perplexity, state reset at each sentence',
    '{:.2f}',
    'perplexity, state reset',
  ),
  base.Figure('nll_per_token', 'nll a token', '{:.4f}', 'NLL a token'),
  base.Figure('bits_per_token', 'bits a token', '{:.4f}', 'bits a token'),
  base.Figure(
    'bits_per_character',
    'bits a character',
    '{:.4f}',
    'bits a character',
  ),
)


def unknown_warnings(figures: Mapping[str, Any]) -> list[str]:
  """Warns if unknown tokens make the likelihood look better than it is."""
  share = figures.get('unknown_share') or 0.0
  if share <= _UNKNOWN_SHARE:
    return []
  return [
    f'{share:.1%} of the tokens are unknown to the vocabulary. <unk> is easy '
    'to predict, so this likelihood says little and compares with no other.'
  ]


# Penn Treebank has 6 % of unknown tokens under the protocol `tweet`.
_UNKNOWN_SHARE = 0.15


def report(figures: Mapping[str, Any]) -> str:
  """Describes the likelihood of a validation, for the log."""
  if 'perplexity_without_eos' not in figures:  # No sentence ends.
    line = f'{figures["nll_per_token"]:.4f} nats a token'
  else:
    line = f'{figures["nll_per_sentence"]:.3f} nats a sentence'
  return f'{line}, perplexity {figures["perplexity"]:.2f}'


def unknown_share(split: corpora.Split) -> float:
  """The share of a split's tokens that its vocabulary does not know."""
  return likelihoods.unknown_share(split.tokens, vocab_lib.UNK)


def exact_figures(
  values: base.Values,
  split: corpora.Split,
  vocab: vocab_lib.Vocabulary | None = None,
) -> dict[str, Any]:
  """The exact likelihood of a split.

  Args:
    values: 'nll' of each sentence, nats, and 'backward_nll' if a second model
      reads in reverse.
    split: the split that was evaluated.
    vocab: vocabulary of the split, to count characters in bytes.

  Returns:
    The figures of `likelihoods.likelihood_figures` and `backward_figures`; for
    a stream of characters or bytes also bits_per_character.
  """
  figures = likelihoods.likelihood_figures(
    values['nll'],
    split.lengths,
    split.ends,
    unknown_share=unknown_share(split),
  )
  if 'backward_nll' in values:
    figures |= likelihoods.backward_figures(
      values['backward_nll'], split.lengths
    )
  if not split.ends and vocab is not None and vocab.kind != 'word':
    bits = figures['bits_per_token'] * figures['tokens']
    figures['bits_per_character'] = bits / _count_characters(vocab, split)
  return figures


def _count_characters(vocab: vocab_lib.Vocabulary, split: corpora.Split) -> int:
  """The number of characters in a text of characters or UTF-8 bytes."""
  if vocab.kind == 'character':
    return len(split.tokens)
  continues = [len(t) == 1 and 0x80 <= ord(t) < 0xC0 for t in vocab.tokens]
  return int(np.sum(~np.array(continues)[split.tokens]))


def initialiser(config: Any) -> Callable[[Any, jax.Array], Any] | None:
  """Returns the config's initialiser, or None if it has none.

  It maps (params, key) to parameters drawn from the config's distribution.
  """
  model = config.model
  if not (model.init_scale or model.embedding_init_scale):
    return None
  return functools.partial(model_build.initialised, config)


def init(
  model: nn.Module,
  arrays: tuple[Any, ...],
  initialise: Callable[[Any, jax.Array], Any] | None,
  key: jax.Array,
) -> Any:
  """A model's initial parameters.

  Args:
    model: a Flax module.
    arrays: the arguments of its call.
    initialise: see `initialiser`; None: parameters as the modules draw them.
    key: random key.
  """
  if initialise is None:
    return model.init(key, *arrays)
  model_key, scale_key = jax.random.split(key)
  return initialise(model.init(model_key, *arrays), scale_key)


class Recurrent(base.Trained):
  """Code shared by trained tasks with a recurrence."""

  @classmethod
  def for_population(cls, config: Any) -> None:
    if config.model.backend == 'auto':
      # Others run trials one after another.
      config.model.backend = 'fused'

  @classmethod
  def population_refusal(cls, config: Any) -> str:
    if config.train.get('inner_steps'):
      return (
        'config.train.inner_steps: trials would wait for the longest inner '
        'loop. Legal for a population: 0.'
      )
    if config.corpus.stream and config.train.unroll_spread:
      return (
        f'config.train.unroll_spread = {config.train.unroll_spread}: windows '
        'of random lengths differ from seed to seed, and the members of a '
        'population read windows of one length. Legal: 0.'
      )
    return ''


def arrays(batch: base.Batch):
  """The arrays of a batch that a language model reads."""
  return batch['inputs'], batch['targets'], batch['mask']


def counts(batch: base.Batch) -> dict[str, jax.Array]:
  """Sentences (at least 1, to divide by) and tokens of a batch."""
  return {
    'sentences': jnp.maximum(rows.total(jnp.sum(batch['weights'])), 1.0),
    'tokens': rows.total(jnp.sum(batch['mask'], dtype=jnp.float32)),
  }


def tiny_batch() -> base.Batch:
  """The smallest possible batch, to initialise parameters with."""
  ids = jnp.zeros((1, 1), jnp.int32)
  return {'inputs': ids, 'targets': ids, 'mask': jnp.ones((1, 1), bool)}
