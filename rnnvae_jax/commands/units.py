"""Measures which units of a language model follow the labels of texts."""

from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base

_STEERS = schema.is_set('units.classifier')


@schema.fragment('units', free=schema.Free.ALWAYS)
class UnitsConfig:
  """The labelled texts, and how text that a unit steers is judged."""

  corpus: str = schema.field(
    '',
    'Corpus of two labels: a named one, or a folder; empty: corpus.name.',
  )
  labelled: bool = schema.field(
    True,
    'Whether each line of a folder is a label, a tab and the text; False for '
    'tables.',
  )
  label_column: str = schema.field(
    '',
    "What of a text is its label; '': the first that the corpus has, of a "
    "folder 'label'.",
  )
  positive: str = schema.field(
    '', "The label that counts as positive; '': the last in order."
  )
  texts: int = schema.field(
    0, 'Texts of each split, drawn at random; 0: all.', low=0, tiny=20
  )
  shown: int = schema.field(10, 'Units that are listed.', low=1, tiny=3)
  page: int = schema.field(
    6_000, 'Characters of test texts on the page.', low=1, tiny=200
  )
  classifier: str = schema.field(
    '',
    'Folder of a run that predicts the same labels. If it is set, texts are '
    'written with the best unit held at values, and it judges them.',
  )
  strength: float = schema.field(
    2.0,
    "The unit's distance from its mean, in standard deviations.",
    low=0,
    only_if=_STEERS,
  )
  samples: int = schema.field(
    200,
    'Texts that are written at each value.',
    low=1,
    tiny=5,
    only_if=_STEERS,
  )


HELP = 'units that follow the labels of texts, and steering -> units.json'
NEEDS = 'run'
CAPABILITY = tasks_base.CarriesState
SETTINGS = ((tasks_base.CarriesState, UnitsConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import units

  units.units(context.config, context.workdir)
