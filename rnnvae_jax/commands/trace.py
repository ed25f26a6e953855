"""Shows what single units of a character model follow."""

from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('trace', free=schema.Free.ALWAYS)
class TraceConfig:
  """Which text is followed, and how much of it is shown."""

  input: str = schema.field(
    '', 'File of the text to follow; empty: the validation split.'
  )
  length: int = schema.field(
    20_000, 'Characters that units are ranked over.', low=2
  )
  page: int = schema.field(3_000, 'Of these, on the page.', low=1)
  units: int = schema.field(10, 'Units shown for each property.', low=1)


HELP = 'what single units of a character model follow -> trace.html'
NEEDS = 'run'
CAPABILITY = tasks_base.CarriesState
SETTINGS = ((tasks_base.CarriesState, TraceConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import trace

  trace.trace(context.config, context.workdir)
