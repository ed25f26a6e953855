"""Config keys of all commands that write sentences token by token."""

from rnnvae_jax.config import schema


@schema.fragment('generate', free=schema.Free.ALWAYS)
class SearchConfig:
  """How long a written sentence may be, and how the likeliest is searched."""

  max_length: int = schema.field(
    0,
    'Tokens of a sentence at most, end mark counted; 0: corpus.max_length.',
    low=0,
    tiny=13,
  )
  beam_size: int = schema.field(
    1, 'Beams of a search at temperature 0; 1: greedy.', low=1
  )
  length_penalty: float = schema.field(
    0.0,
    'Exponent of the length that a beam search divides by.',
    low=0,
    only_if=schema.none_of('generate.beam_size', 1),
  )
  forbid_unk: bool = schema.field(True, 'Whether <unk> is never written.')
