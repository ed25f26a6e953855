"""The config keys of a sentence VAE itself, and its loss's static choices."""

from typing import Any, NamedTuple

from rnnvae_jax.config import schema


@schema.fragment('train')
class TrainConfig:
  """Phases of a VAE's training, and the figure that chooses its checkpoint."""

  pretrain_steps: int = schema.field(
    0,
    'Number of first updates that train an autoencoder; then the decoder is '
    'initialised again (Li et al., arXiv:1909.00868).',
    low=0,
    traced=True,
  )
  inner_steps: int = schema.field(
    0,
    'Largest number of encoder updates before a decoder update, until mutual '
    'information falls (He et al., arXiv:1901.05534); 0: both are updated '
    'together.',
    low=0,
  )
  select_by: str = schema.field(
    'nll_per_sentence',
    'The validation figure whose lowest value chooses the checkpoint: the '
    'negative ELBO, unweighted, or the reconstruction.',
    choices=('nll_per_sentence', 'reconstruction'),
  )


@schema.fragment('evaluate', free=schema.Free.ALWAYS)
class EvaluateConfig:
  """Estimation of the importance-weighted bound and of mutual information."""

  iw_samples: int = schema.field(
    100, 'Number of posterior samples of a sentence.', low=1, tiny=4
  )
  chunk: int = schema.field(
    4, 'Samples decoded at a time, which bounds the memory.', low=1
  )
  mutual_information_group: int = schema.field(
    32, 'Group size of the mutual information in batches.', low=2
  )


@schema.fragment('objective')
class PriorConfig:
  """How a learnt prior is trained."""

  fit_prior: bool = schema.field(
    False,
    'The loss has the KL to the standard prior, and the learnt prior is fitted '
    'to draws of the posterior, which it does not change; evaluation and '
    'samples use it.',
    only_if=schema.one_of('model.prior', 'mixture'),
  )


class Choices(NamedTuple):
  """The static choices of the loss; its scalars are hyperparameters.

  Attributes:
    free_bits_per: what free bits are compared with; see `free_bits`.
    rate_control: name of the rate control.
    kl_schedule: shape of the KL weight's schedule.
    inner_steps: largest number of updates of the encoder alone.
    fit_prior: whether a learnt prior is only fitted to the posterior.
  """

  free_bits_per: str = 'sentence'
  rate_control: str = 'none'
  kl_schedule: Any = 'constant'
  inner_steps: int = 0
  fit_prior: bool = False
