"""Measures what the latents of a model know of its sentences."""

from rnnvae_jax.analysis import attributes
from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('latents', free=schema.Free.ALWAYS)
class LatentsConfig:
  """Which sentences are asked about, and how much is measured."""

  split: str = schema.field(
    'valid', 'Its split.', choices=('train', 'valid', 'test')
  )
  sentences: int = schema.field(
    2_000, 'Sentences, drawn at random; 0: all.', low=0, tiny=40
  )
  seed: int = schema.field(0, 'Of all that is drawn.', low=0)
  folds: int = schema.field(
    5, 'Parts of a cross-validation of probes.', low=2, tiny=2
  )
  neighbours: int = schema.field(
    10, 'Neighbours that vote, and that are listed.', low=1, tiny=3
  )
  word_vectors: str = schema.field(
    'glove',
    "Word vectors of a baseline: a file, or 'glove', which is left out where "
    "its extra is not installed; '': none.",
  )
  direction: str = schema.field(
    attributes.MEANS,
    'From one label to another: the difference of the means, or the normal of '
    'a linear probe.',
    choices=attributes.DIRECTIONS,
  )
  amounts: tuple[float, ...] = schema.field(
    (0.0, 1.0, 2.0, 3.0),
    'How far sentences are shifted: 1 moves the mean of a label as far as that '
    'of the other.',
  )
  shifted: int = schema.field(
    100, 'Sentences that are shifted from each label.', low=1, tiny=4
  )
  classes: int = schema.field(
    3,
    'Sentences are shifted between so many values of a label, the most '
    'frequent ones.',
    low=2,
    tiny=2,
  )
  traversals: int = schema.field(
    5, 'Latents that are traversed, those of the largest KL.', low=1, tiny=2
  )
  words: int = schema.field(8, 'Words listed of each of them.', low=1, tiny=3)
  examples: int = schema.field(
    3, 'Examples of shifts, of neighbours and of homotopies.', low=1, tiny=2
  )

  def check(self) -> None:
    """Raises ValueError without an amount."""
    if not self.amounts:
      raise ValueError(
        'config.latents.amounts = () shifts nothing. Legal: one or more '
        'numbers, such as (0.0, 1.0).'
      )


HELP = 'what latents know of labels, maps, attributes -> latents/'
NEEDS = 'run'
CAPABILITY = tasks_base.HasLatents
SETTINGS = ((tasks_base.HasLatents, LatentsConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import latent_study

  latent_study.study(context.config, context.workdir)
