r"""Training steps: the GRU sentence VAE here, in PyTorch and in plain Flax.

  python -m benchmarks.step_throughput --json=step_throughput.json
  python -m benchmarks.step_throughput --hidden_size=1024 --precision=bfloat16

Each turn is 20 steps on the same 640 sentences of a shuffled epoch:

  ours         one program for the 20 steps, with the text on the device
  ours_X       the same with the recurrence on backend X, for each of --also
  torch_eager  the usual PyTorch script, with batches of mixed lengths, not
               sorted by length
  torch_best   our batches and PyTorch's fastest code (see `torch_best`)
  flax_rnn     nn.RNN and a jitted step, on the batches of torch_eager
  flax_sorted  flax_rnn on our batches

All start from equal weights and minimise the same loss with the same optimiser.
Only real target tokens are counted, eos included, no padding. The limit is the
time that the matrix products of the real tokens would take at this machine's
rate for large products, plus Adam's reads and writes at its rate of copying.
The share of the limit that a contestant reaches can be compared between
machines.
"""

from absl import app, flags
import numpy as np

from benchmarks import (
  flax_peer,
  harness,
  limits,
  ours,
  recipe,
)

torch_best = harness.with_torch('benchmarks.torch_best')
torch_peers = harness.with_torch('benchmarks.torch_peers')

_COMPILE = flags.DEFINE_bool(
  'torch_compile', True, 'Whether torch_best uses torch.compile.'
)
_ALSO = flags.DEFINE_list('also', [], 'Backends that are timed beside ours.')


def main(_) -> None:
  torch_threads = torch_peers.set_threads() if torch_peers else None
  config = ours.make_config(
    ours.CORPUS.value,
    ours.HIDDEN_SIZE.value,
    ours.BATCH_SIZE.value,
    harness.PRECISION.value,
  )
  config.model.backend = ours.BACKEND.value
  trainer = ours.make_trainer(config)
  runs = {'ours': trainer.run}
  for backend in _ALSO.value:
    config.model.backend = backend
    runs[f'ours_{backend}'] = ours.make_trainer(config).run
  blocks = [trainer.block(k) for k in range(harness.REPETITIONS.value)]
  rng = np.random.default_rng(0)
  mixed = [recipe.shuffle(block, rng) for block in blocks]
  weights, precision = trainer.weights, harness.PRECISION.value
  notes = {}

  def best():
    run, found = torch_best.make(weights, blocks, precision, _COMPILE.value)
    notes.update(found)
    return run

  peers = harness.peers(
    {
      'torch_eager': lambda: torch_peers.eager(weights, mixed),
      'torch_best': best,
      'flax_rnn': lambda: flax_peer.make(weights, mixed, precision),
      'flax_sorted': lambda: flax_peer.make(weights, blocks, precision),
    }
  )
  timings = harness.interleave({**runs, **peers}, len(blocks))

  rates = limits.measure()
  tokens = np.array([recipe.num_tokens(block) for block in blocks])
  flops = np.array([recipe.flops(weights, block) for block in blocks])
  bound = flops / (1e9 * rates[precision])
  bound += (
    recipe.STEPS_PER_BLOCK * recipe.adam_bytes(weights) / (1e9 * rates['copy'])
  )
  figures = {
    name: {
      'tokens_per_second': harness.spread(tokens / timing.turns),
      'milliseconds_per_step': harness.spread(
        1e3 * timing.turns / recipe.STEPS_PER_BLOCK
      ),
      'gigaflops': float(np.median(1e-9 * flops / timing.turns)),
      'share_of_limit': float(np.median(bound / timing.turns)),
      'first_pass_seconds': timing.first,
    }
    for name, timing in timings.items()
  }
  if notes:
    figures['torch_best'] |= notes
  _publish(figures, timings, rates, weights, torch_threads)


def _publish(figures, timings, rates, weights, torch_threads) -> None:
  ratios = {
    name: harness.ratio(timing, timings['ours'])
    for name, timing in timings.items()
  }
  rows = {
    name: {
      'tokens/s': f'{figure["tokens_per_second"]["median"]:,.0f}',
      'ms a step': harness.brief(figure['milliseconds_per_step']),
      'GFLOP/s': f'{figure["gigaflops"]:.1f}',
      'of the limit': f'{figure["share_of_limit"]:.0%}',
      'first pass, s': f'{figure["first_pass_seconds"]:.1f}',
      'time over ours': f'{ratios[name]:.2f}',
    }
    for name, figure in figures.items()
  }
  report = {
    'ours': figures.pop('ours'),
    'peers': figures,
    'ratio': {name: ratios[name] for name in figures},
    'environment': harness.environment(
      corpus=ours.CORPUS.value,
      vocab_size=len(weights['embedding']),
      hidden_size=ours.HIDDEN_SIZE.value,
      batch_size=ours.BATCH_SIZE.value,
      precision=harness.PRECISION.value,
      limits=rates,
      backend=ours.BACKEND.value,
      torch_threads=torch_threads,
    ),
  }
  harness.publish('Training step of the GRU sentence VAE', rows, report)


if __name__ == '__main__':
  app.run(main)
