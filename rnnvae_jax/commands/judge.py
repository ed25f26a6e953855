"""Measures what a trained model writes."""

from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('judge', free=schema.Free.ALWAYS)
class JudgeConfig:
  """How much is written, and how long critics are trained."""

  num_samples: int = schema.field(
    1_000, 'Sentences drawn from the model.', low=2, tiny=15
  )
  critic_steps: int = schema.field(
    0, 'Updates of each critic; 0: no critics.', low=0
  )
  classifier: str = schema.field(
    '',
    'Folder of the run of a classifier, which says of how many samples of each '
    "label it is theirs; '': none. For models whose texts have labels.",
  )


HELP = 'BLEU, diversity, novelty of what the model writes -> judged.json'
NEEDS = 'run'
CAPABILITY = tasks_base.Generates
SETTINGS = ((tasks_base.Generates, JudgeConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import judge

  judge.judge(context.config, context.workdir)
