"""Writing token by token, as one program."""

from typing import Any, NamedTuple

import jax

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import padding
from rnnvae_jax.ops import noise, sampling


class Decoding(NamedTuple):
  """How ids are chosen.

  Attributes:
    temperature: 0: the likeliest token.
    top_k: only so many of the likeliest tokens are drawn from; 0: all.
    top_p: only the likeliest tokens of this probability mass are drawn from.
    beam_size: beams of a search at temperature 0; 1: greedy.
    length_penalty: exponent of the length that a beam search divides by.
    max_length: tokens written, eos counted.
    forbid_unk: whether <unk> is never written.
    seed: of what is drawn.
  """

  temperature: float = 0.0
  top_k: int = 0
  top_p: float = 1.0
  beam_size: int = 1
  length_penalty: float = 0.0
  max_length: int = 60
  forbid_unk: bool = True
  seed: int = 0


def decode(
  task,
  params,
  numbers,
  latents,
  context,
  key,
  settings,
  length_penalty,
  forbidden,
  *,
  beam_size,
  max_length,
):
  """Reads contexts, then writes: see `Programs.decode`.

  Args:
    task: what is asked token by token.
    params: of the task.
    numbers: int32[B], of the rows, which their noise is keyed by.
    latents: float[B, Z] or None.
    context: int32[B, P] and bool[B, P], read first, and int32[B], the first
      input of what is written.
    key: key[], of the noise.
    settings: how a token is chosen.
    length_penalty: float[], of a beam search.
    forbidden: bool[V].
    beam_size: static; 1: no search.
    max_length: static.
  """
  tokens, mask, first = context
  rows = len(numbers)

  def step(loop, token):
    carry, latents = loop
    carry, logits = task.step(params, carry, token, latents)
    return (carry, latents), logits

  def read(carry, now):
    token, valid = now
    new, _ = task.step(params, carry, token, latents)
    return padding.choose(valid, new, carry), None

  carry = task.start(params, rows, latents)
  carry, _ = jax.lax.scan(read, carry, (tokens.T, mask.T))
  marks: Any = {'max_length': max_length, 'eos': vocab_lib.EOS}
  if beam_size > 1:
    marks['bos'] = first[:, None]
    return sampling.beam_search(
      step,
      (carry, latents),
      rows=rows,
      beam_size=beam_size,
      length_penalty=length_penalty,
      forbidden=forbidden,
      **marks,
    )
  marks['bos'] = first
  keys = noise.site_keys(noise.row_keys(key, numbers), 'decode')
  return sampling.decode(
    step, (carry, latents), keys, settings, forbidden=forbidden, **marks
  )
