"""Writes sentences with a trained run."""

from rnnvae_jax.commands import _lines, _search, base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base

_DRAWS = schema.Condition(
  lambda flat: bool(
    flat['generate.temperature'] or flat.get('generate.reconstruct_temperature')
  ),
  lambda flat: 'at config.generate.temperature = 0 nothing is drawn',
  '`generate.temperature` is above 0',
)


@schema.fragment('generate', free=schema.Free.ALWAYS)
class GenerateConfig:
  """How text is drawn."""

  num_samples: int = schema.field(
    20, 'How many texts are written.', low=1, tiny=5
  )
  prime: str = schema.field('', 'Text that samples continue.')
  seed: int = schema.field(0, 'Seed of the samples.', low=0, high=2**31 - 1)
  temperature: float = schema.field(
    1.0, 'Temperature of samples; 0: the most likely token.', low=0, high=1e3
  )
  top_k: int = schema.field(
    0,
    'Samples are drawn from this many most likely tokens; 0: from all.',
    low=0,
    only_if=_DRAWS,
  )
  top_p: float = schema.field(
    1.0,
    'Samples are drawn from the most likely tokens that together have this '
    'probability.',
    low=0,
    high=1,
    only_if=_DRAWS,
  )


@schema.fragment('generate', free=schema.Free.ALWAYS)
class ClampConfig:
  """A unit that text is steered with."""

  clamp: str = schema.field(
    '',
    'UNIT=VALUE: samples of a recurrent language model are written with this '
    "unit of the last layer's state (c of an LSTM) held at a value; '': none.",
  )


HELP = 'texts that the model writes'
NEEDS = 'run'
CAPABILITY = tasks_base.Generates
SETTINGS = (
  (tasks_base.Generates, GenerateConfig),
  (tasks_base.Generates, _search.SearchConfig),
  (tasks_base.Generates, _lines.LinesConfig),
  (tasks_base.CarriesState, ClampConfig),
)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.sample(context.config, context.workdir)
