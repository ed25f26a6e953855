r"""How the time of an update grows with batch, length, width, words and trials.

  python -m benchmarks.scaling --json=scaling.json --plot=scaling.png

Times one update of the GRU sentence VAE of `recipe` on synthetic sentences, all
of length T. One size varies while the others have their base value. An exponent
is the slope of log time over log size, fitted to all sizes from a smallest one
on: 0 if overhead dominates, 1 if work does (2 for H in the recurrence). The
JSON has the exponent for every smallest size that leaves three points;
`exponent`, which the plot shows, is fitted to the larger half of the sizes.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, ours
from rnnvae_jax.analysis import plots
from rnnvae_jax.data import batches, vocab
from rnnvae_jax.training import optimizers, population
from rnnvae_jax.training import state as state_lib

_PLOT = flags.DEFINE_string('plot', '', 'PNG to draw.')
_UPDATES = flags.DEFINE_integer('updates', 3, 'A turn; more smooth the clock.')
_SCALE = flags.DEFINE_integer(
  'scale', 1, 'Divides all sizes, for a quick look.', lower_bound=1
)

BASE = {'B': 32, 'T': 24, 'H': 256, 'V': 10_000, 'N': 1}
SIZES = {
  'B': (8, 16, 32, 64, 128, 256),
  'T': (6, 12, 24, 48, 96),
  'H': (64, 128, 256, 512, 1_024),
  'V': (1_250, 2_500, 5_000, 10_000, 20_000, 40_000),
  'N': (1, 2, 4, 8),
}
_MEANING = {
  'B': 'rows',
  'T': 'time steps',
  'H': 'hidden units',
  'V': 'words',
  'N': 'trials',
}


def make_run(B, T, H, V, N) -> Callable[[int], Any]:
  """Returns `run(turn)`: updates of N trials on B sentences of T tokens."""
  config = ours.make_config(hidden_size=H, batch_size=B)
  task, tx = ours.make_task(config, V), optimizers.build(config)
  advance = population.make_population_step(
    task, tx, (batches.Bucket(T),), config.optimizer.schedule
  )
  stack = lambda tree: jax.tree.map(lambda x: jnp.stack([x] * N), tree)
  states = stack(state_lib.create(task, tx, 0))
  scalars = stack(ours.make_hyperparameters(config))
  rng = np.random.default_rng(0)
  corpus = batches.DeviceSplit(
    jnp.asarray(rng.integers(4, V, B * T), jnp.int32),
    jnp.arange(B, dtype=jnp.int32) * T,
    jnp.full(B, T, jnp.int32),
    jnp.arange(B, dtype=jnp.int32),
    jnp.int32(vocab.BOS),
  )
  updates = _UPDATES.value
  rows = jnp.broadcast_to(jnp.arange(B), (N, updates, B))

  def run(_):
    nonlocal states
    states, losses = advance(
      states,
      corpus,
      rows,
      jnp.zeros(updates, jnp.int32),
      scalars,
      jnp.ones(N, bool),
      jnp.int32(updates),
    )
    return losses

  return run


def measure(axis: str) -> dict[str, Any]:
  """Measures the time of an update over one size, and its exponent."""
  shrink = lambda name, size: (
    size if name == 'N' else max(4, size // _SCALE.value)
  )
  sizes = sorted({shrink(axis, size) for size in SIZES[axis]})
  base = {name: shrink(name, size) for name, size in BASE.items()}
  make = functools.partial(make_run, **{k: base[k] for k in base if k != axis})
  runs = {str(size): make(**{axis: size}) for size in sizes}
  timings = harness.interleave(runs, harness.REPETITIONS.value)
  milliseconds = [
    float(np.median(1e3 * timings[str(size)].turns) / _UPDATES.value)
    for size in sizes
  ]
  return {
    'sizes': sizes,
    'milliseconds_per_step': milliseconds,
    'exponent': exponent(sizes, milliseconds, sizes[len(sizes) // 2]),
    'exponents': exponents(sizes, milliseconds),
  }


def exponent(
  sizes: Sequence[float], milliseconds: Sequence[float], smallest: float
) -> float:
  """The slope of log time over log size, by least squares.

  Args:
    sizes: the sizes in increasing order.
    milliseconds: the time of each size.
    smallest: the smallest size that the fit uses.
  """
  points = [
    (size, time)
    for size, time in zip(sizes, milliseconds, strict=True)
    if size >= smallest
  ]
  slope, _ = np.polyfit(*np.log(points).T, 1)
  return float(slope)


def exponents(
  sizes: Sequence[float], milliseconds: Sequence[float]
) -> dict[str, float]:
  """The exponent for each smallest size that leaves at least three points."""
  return {str(size): exponent(sizes, milliseconds, size) for size in sizes[:-2]}


def draw(figures: dict[str, dict[str, Any]], path: str) -> None:
  """Plots a panel for each varied size, with logarithmic axes."""
  figure, panels = plots.pyplot().subplots(
    1, len(figures), figsize=(3 * len(figures), 3), sharey=True
  )
  for panel, (axis, values) in zip(panels, figures.items(), strict=True):
    panel.loglog(values['sizes'], values['milliseconds_per_step'], 'o-')
    panel.set_xticks(values['sizes'], [f'{x:,}' for x in values['sizes']])
    panel.minorticks_off()
    panel.tick_params(axis='x', labelrotation=60)
    panel.set_xlabel(f'{axis} ({_MEANING[axis]})')
    panel.set_title(f'exponent {values["exponent"]:.2f}')
  panels[0].set_ylabel('ms a step')
  figure.tight_layout()
  plots.save(figure, path)


def main(_) -> None:
  figures = {axis: measure(axis) for axis in SIZES}
  rows = {
    f'{axis}, {_MEANING[axis]}': {
      'sizes': ' '.join(f'{size:,}' for size in values['sizes']),
      'ms a step': ' '.join(
        f'{time:.1f}' for time in values['milliseconds_per_step']
      ),
      'exponent': f'{values["exponent"]:.2f}',
    }
    for axis, values in figures.items()
  }
  report = {
    'ours': figures,
    'peers': {},
    'ratio': {},
    'environment': harness.environment(base=BASE, updates=_UPDATES.value),
  }
  harness.publish('Time of an update against its sizes', rows, report)
  if _PLOT.value:
    draw(figures, _PLOT.value)


if __name__ == '__main__':
  app.run(main)
