r"""Drawing sentences from the sentence VAE's prior, against PyTorch.

  python -m benchmarks.decode --json=decode.json

Contestants draw `--sentences` sentences together, token by token, from models
with equal random weights; each stops when all have ended:

  ours             one compiled loop (see `ops.sampling.decode`)
  torch_eager      nn.GRU a step at a time, softmax and torch.multinomial
  torch_gumbel     torch_eager, but draws by the argmax of p over exponential
                   noise, without the cumulative sums of torch.multinomial

The bias of eos is raised so that a sentence has about 22 tokens, as in Penn
Treebank; with random weights alone, sentences would hardly ever end. The
contestants draw different sentences of the same distribution of lengths; the
mean length of each is in the figures.
"""

from collections.abc import Callable
import contextlib
import functools
import math
from typing import Any

from absl import app, flags
import numpy as np

from benchmarks import harness, ours, recipe
from rnnvae_jax.data import vocab

torch = harness.with_torch('torch')
torch_peers = harness.with_torch('benchmarks.torch_peers')

_SENTENCES = flags.DEFINE_integer('sentences', 256, 'Drawn together.')
_MAX_LENGTH = flags.DEFINE_integer('max_length', 60, 'Tokens, eos counted.')

_VOCAB_SIZE = 9_877  # As Penn Treebank under the `tweet` protocol.
_END = 1 / 24  # Probability of eos: a mean of 22 tokens when cut at 60.


def main(_) -> None:
  torch_threads = torch_peers.set_threads() if torch_peers else None
  count, max_length = _SENTENCES.value, _MAX_LENGTH.value
  config = ours.make_config(hidden_size=ours.HIDDEN_SIZE.value)
  run, weights = ours.make_sampler(
    config, _VOCAB_SIZE, count, max_length, raise_end
  )

  def torch_with(draw):
    model = torch_peers.SentenceVae(weights)
    return sampler(model, count, max_length, draw)

  contestants = {'ours': run} | harness.peers(
    {
      'torch_eager': lambda: torch_with(multinomial),
      'torch_gumbel': lambda: torch_with(gumbel),
    }
  )
  drawn: dict[str, dict[int, np.ndarray]] = {name: {} for name in contestants}

  def keep(name, k):
    drawn[name][k] = np.asarray(contestants[name](k))

  exact = contextlib.nullcontext()
  if torch_peers:
    exact = torch_peers.at_precision('float32')
  with exact:
    timings = harness.interleave(
      {name: functools.partial(keep, name) for name in contestants},
      harness.REPETITIONS.value,
    )
  figures, rows, ratios = {}, {}, {}
  for name, timing in timings.items():
    lengths = np.stack([drawn[name][k] for k in range(len(timing.turns))])
    figure = {
      'milliseconds': harness.spread(1e3 * timing.turns),
      'tokens_per_second': harness.spread(lengths.sum(axis=1) / timing.turns),
      'mean_length': float(lengths.mean()),
      'first_pass_seconds': timing.first,
    }
    ratios[name] = harness.ratio(timing, timings['ours'])
    rows[name] = {
      'ms': harness.brief(figure['milliseconds']),
      'tokens/s': f'{figure["tokens_per_second"]["median"]:,.0f}',
      'mean length': f'{figure["mean_length"]:.1f}',
      'time over ours': f'{ratios[name]:.2f}',
    }
    figures[name] = figure
  report = {
    'ours': figures.pop('ours'),
    'peers': figures,
    'ratio': {name: ratios[name] for name in figures},
    'environment': harness.environment(
      sentences=count,
      max_length=max_length,
      vocab_size=_VOCAB_SIZE,
      hidden_size=ours.HIDDEN_SIZE.value,
      torch_threads=torch_threads,
    ),
  }
  harness.publish(f'Drawing {count} sentences', rows, report)


def raise_end(weights: recipe.Weights) -> recipe.Weights:
  """Sets the bias of eos such that its probability is `_END`.

  All other logits are near 0 with random weights.
  """
  bias = weights['output_bias'].copy()
  bias[vocab.EOS] = math.log((len(bias) - 1) * _END / (1 - _END))
  return {**weights, 'output_bias': bias}


def multinomial(probabilities: Any) -> Any:
  return torch.multinomial(probabilities, 1)[:, 0]


def gumbel(probabilities: Any) -> Any:
  noise = torch.empty_like(probabilities).exponential_()
  return torch.argmax(probabilities / noise, dim=-1)


def sampler(
  model: Any,
  count: int,
  max_length: int,
  draw: Callable[[Any], Any],
) -> Callable[[int], np.ndarray]:
  """Returns `run(k)`: the lengths int[count] of sentences drawn with seed k.

  Args:
    model: a `torch_peers.SentenceVae`.
    count: sentences.
    max_length: tokens of a sentence.
    draw: draws words from probabilities, Tensor[count, V] -> Tensor[count].
  """
  device = torch_peers.device()

  @torch.no_grad()
  def run(k):
    torch.manual_seed(k)
    latents = torch.randn((count, model.initial.in_features), device=device)
    states = torch.tanh(model.initial(latents))[None]
    tokens = torch.full((count,), vocab.BOS, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    sentences = []
    for _ in range(max_length):
      hidden, states = model.decoder(model.embedding(tokens)[:, None], states)
      probabilities = torch.softmax(model.output(hidden[:, 0]), dim=-1)
      tokens = torch.where(ended, vocab.EOS, draw(probabilities))
      sentences.append(tokens)
      ended |= tokens == vocab.EOS
      if ended.all():
        break
    words = (torch.stack(sentences, dim=1) != vocab.EOS).sum(dim=1)
    return (words + ended).cpu().numpy()

  return run


if __name__ == '__main__':
  app.run(main)
