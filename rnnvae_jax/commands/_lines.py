"""Config keys of the commands that read and write text."""

from rnnvae_jax.config import schema


@schema.fragment('generate', free=schema.Free.ALWAYS)
class LinesConfig:
  """Where lines are read from, and where results are written to."""

  input: str = schema.field(
    '-', "File of the lines to read; '-': standard input."
  )
  output: str = schema.field('-', "File to write to; '-': standard output.")
  format: str = schema.field(
    'text',
    'Plain text, or a JSON object a line for programs.',
    choices=('text', 'jsonl'),
  )


@schema.fragment('generate', free=schema.Free.ALWAYS)
class CandidatesConfig:
  """How many tokens or words are listed."""

  candidates: int = schema.field(
    10, 'Candidates that the modes next and fill list.', low=1
  )
