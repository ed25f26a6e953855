"""How gradients flow through time, in Elman networks and in LSTMs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import gradients, lstm_backward, plots

_RADII = (0.9, 1.0, 1.1)
_SIZE, _STEPS = 32, 60
# The descent beside a cliff: start, learning rate, steps and clipping norm.
_START, _RATE, _DESCENT, _THRESHOLD = (5.0, -3.0), 0.5, 100, 0.1


def measure() -> dict[str, Any]:
  """Measures how gradients flow through time.

  Returns:
    'through_time': for each cell and spectral radius, the norms of the last
    state's gradient with respect to earlier states, the slope of their
    logarithm, and its closed form if there is one; for linear cells also the
    norms of the recurrent matrix's gradient by length. 'clipping': gradient
    descents with and without clipping. 'lstm_backward': the norms by step of
    the gradients of an LSTM's inputs, derived by hand and by `jax.grad`, and
    their largest difference relative to each array's largest entry.
  """
  return {
    'through_time': _through_time(),
    'clipping': _clipping(),
    'lstm_backward': _lstm_backward(),
  }


def show(result: dict[str, Any]) -> None:
  """Prints what `measure` returned."""
  table = rich_table.Table(title='log ||dh_T / dh_T-k||, slope over k')
  for column in ('cell', 'slope', 'closed form'):
    table.add_column(column, justify='right')
  for name, values in result['through_time'].items():
    closed = values['closed_form']
    table.add_row(
      name.replace('_', ' '),
      f'{values["slope"]:+.4f}',
      '' if closed is None else f'{closed:+.4f}',
    )
  console = rich_console.Console()
  console.print(table)
  for name, descent in result['clipping'].items():
    console.print(f'Descent {name}: error {descent["errors"][-1]:.4f}')
  difference = result['lstm_backward']['largest_difference']
  console.print(f"LSTM's gradients by hand and by jax.grad: {difference:.1e}")


def _through_time() -> dict[str, Any]:
  key = jax.random.key(0)
  inputs = 0.1 * jax.random.normal(key, (_STEPS, _SIZE))
  zeros = jnp.zeros(_SIZE)
  result: dict[str, Any] = {}
  for radius in _RADII:
    steps = {
      'linear': gradients.elman_step(radius, _SIZE, 'linear', key),
      'elman': gradients.elman_step(radius, _SIZE, 'tanh', key),
      'lstm': gradients.lstm_step(radius, _SIZE, 1.0, key),
      'lstm_forget_3': gradients.lstm_step(radius, _SIZE, 3.0, key),
    }
    for name, step in steps.items():
      carry = (zeros,) * (2 if 'lstm' in name else 1)
      norms = np.asarray(gradients.norms(step, carry, inputs))
      result[f'{name}_{radius}'] = {
        'slope': gradients.slope(norms),
        'closed_form': float(np.log(radius)) if name == 'linear' else None,
        'norms': norms.tolist(),
      }
    matrix = radius * jax.random.orthogonal(key, _SIZE)
    matrix_norms = gradients.matrix_gradient_norms(matrix, zeros, inputs)
    result[f'linear_{radius}']['matrix_gradient'] = matrix_norms.tolist()
  return result


def _clipping() -> dict[str, Any]:
  result = {}
  for threshold in (np.inf, _THRESHOLD):
    way, values = gradients.descend(
      gradients.cliff_error, _START, _RATE, _DESCENT, threshold
    )
    name = 'not clipped' if threshold == np.inf else f'clipped at {threshold}'
    result[name] = {
      'weights': np.asarray(way).tolist(),
      'errors': np.asarray(values).tolist(),
    }
  return result


def _lstm_backward() -> dict[str, Any]:
  """Compares two gradients of the sum of an LSTM's last output."""
  rng = np.random.default_rng(0)
  params = lstm_backward.random_params(rng, _SIZE, _SIZE)
  x, d_outputs = rng.normal(size=(_STEPS, _SIZE)), np.zeros((_STEPS, _SIZE))
  d_outputs[-1] = 1.0
  stack = lstm_backward.layer(_SIZE)
  automatic = lstm_backward.automatic(stack, params, x, d_outputs)
  by_hand = lstm_backward.by_hand(params['params']['layer_0'], x, d_outputs)
  relative = lambda a, b: np.max(np.abs(a - b)) / np.max(np.abs(b))
  norms = lambda grads: np.linalg.norm(grads[1], axis=1).tolist()
  return {
    'by_hand': norms(by_hand),
    'automatic': norms(automatic),
    'largest_difference': float(
      max(jax.tree.leaves(jax.tree.map(relative, automatic, by_hand)))
    ),
  }


def plot(result: dict[str, Any], path: str) -> None:
  """Plots what `measure` returned, and saves the plot at `path`."""
  pyplot = plots.pyplot()
  figure, axes = pyplot.subplots(2, 2, figsize=(12, 10), layout='constrained')
  flow, matrix, cliff, lstm = axes.flat
  colours = dict(zip(_RADII, ('C0', 'C1', 'C3'), strict=True))
  lines = {'linear': ':', 'elman': '-', 'lstm': '--', 'lstm_forget_3': '-.'}
  for name, values in result['through_time'].items():
    cell, _, radius = name.rpartition('_')
    flow.semilogy(
      values['norms'],
      lines[cell],
      color=colours[float(radius)],
      label=f'{cell.replace("_", " ")}, radius {radius}',
    )
    if cell == 'linear':
      matrix.semilogy(
        range(1, _STEPS + 1),
        values['matrix_gradient'],
        color=colours[float(radius)],
        label=f'radius {radius}',
      )
  flow.set_xlabel('steps back in time, k')
  flow.set_ylabel('norm of dh_T / dh_T-k')
  flow.set_title('Gradients through time (linear: radius to the power of k)')
  matrix.set_xlabel('length of the sequence')
  matrix.set_ylabel("norm of the recurrent matrix's gradient")
  matrix.set_title('What they add up to, linear cell')
  _draw_cliff(cliff, result['clipping'])
  for name, line in (('by_hand', 'o'), ('automatic', '-')):
    norms = result['lstm_backward'][name]
    lstm.semilogy(norms, line, label=name.replace('_', ' '), markersize=4)
  lstm.set_xlabel('step')
  lstm.set_ylabel("norm of the input's gradient")
  lstm.set_title("An LSTM's backward equations and jax.grad")
  for panel in axes.flat:
    panel.grid(alpha=0.3)
    plots.legend(panel, fontsize=7)
  plots.save(figure, path)


def _draw_cliff(axes, descents) -> None:
  """Draws the error as a function of both weights, and the descents on it."""
  low, high = np.array([3.0, -4.5]), np.array([9.0, 4.5])
  w, b = np.meshgrid(*np.linspace(low, high, 200).T)
  errors = jax.jit(jax.vmap(gradients.cliff_error))(
    (jnp.float32(w.ravel()), jnp.float32(b.ravel()))
  )
  surface = axes.pcolormesh(w, b, np.reshape(errors, w.shape), cmap='Greys')
  axes.figure.colorbar(surface, ax=axes, label='squared error')
  for name, descent in descents.items():
    way = zip(*descent['weights'], strict=True)
    axes.plot(*way, marker='.', markersize=4, linewidth=1, label=name)
  axes.set_xlim(low[0], high[0])
  axes.set_ylim(low[1], high[1])
  axes.set_xlabel('w')
  axes.set_ylabel('b')
  axes.set_title('What clipping does: descents beside a cliff')
