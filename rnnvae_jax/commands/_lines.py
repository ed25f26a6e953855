"""Lines in and records out, of the commands that read and write text."""

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
