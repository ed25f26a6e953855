"""What a trained model has learnt, and how gradients flow, with plots."""

import os
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import (
  activations,
  agreement,
  gradients,
  lstm_backward,
  plots,
)
from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import runs, writers

_MARKS = {vocab_lib.UNK: '\N{REPLACEMENT CHARACTER}', vocab_lib.EOS: '\n'}
_ROWS = 256  # Sentences whose agreement is tested at a time.


def trace(config: Any, workdir: str) -> dict[str, Any]:
  """Follows every unit over a text -> trace.html, trace.json and a table.

  The text is `config.trace.input`, or the validation split's beginning.

  Returns:
    By property, its best units with their correlations.

  Raises:
    ValueError: not a language model of a stream of characters or bytes.
  """
  run = runs.open_run(config, workdir)
  is_recurrent = (
    run.task.read is not None and config.model.cell != 'feed_forward'
  )
  is_stream = config.corpus.stream
  if not (is_recurrent and is_stream) or run.vocab.kind == 'word':
    raise ValueError(
      'A trace is of recurrent language models of a stream of characters or '
      f'bytes, such as configs/char_lm.py; this run has config.model.kind = '
      f'{config.model.kind!r}, config.model.cell = {config.model.cell!r}, '
      f'config.corpus.stream = {is_stream} and {run.vocab.kind}s.'
    )
  settings = config.trace
  if settings.input:
    text = '\n'.join(corpora.read_lines(settings.input))
    tokens = run.vocab.encode(runs.protocol(run).tokenise(text))
  else:
    split = runs.build_corpus(config, run.vocab).splits['valid']
    tokens = split.tokens
  tokens = tokens[: settings.length]
  # One character each, so that text and traces keep step.
  spelt = dict(enumerate(run.vocab.tokens)) | _MARKS
  text = ''.join(spelt[i] for i in tokens.tolist())
  names, traces = _states(run, tokens)
  properties = activations.properties(text)
  ranked = activations.ranking(traces, properties, settings.units)
  absent = [name for name in properties if name not in ranked]
  if absent:
    logging.info('Not in this text: %s.', ', '.join(absent).replace('_', ' '))
  shown = text[: settings.page]
  writers.write_text(
    os.path.join(workdir, 'trace.html'),
    activations.page(shown, traces[: len(shown)], names, ranked),
  )
  result = {
    name: [{'unit': names[u], 'correlation': r} for u, r in best]
    for name, best in ranked.items()
  }
  writers.write_json(os.path.join(workdir, 'trace.json'), result)
  table = rich_table.Table(
    title=f'{len(names):,} units over {len(text):,} characters'
  )
  for column in ('property', 'best unit', 'r', 'next', 'r'):
    table.add_column(column, justify='right' if column == 'r' else 'left')
  for name, best in result.items():
    cells = [name.replace('_', ' ')]
    for unit in best[:2]:
      cells += [unit['unit'], f'{unit["correlation"]:+.3f}']
    table.add_row(*cells)
  rich_console.Console().print(table)
  logging.info('Written to %s.', os.path.join(workdir, 'trace.html'))
  return result


def _states(run: runs.Run, tokens: np.ndarray):
  """Names of all units, and float32[N, U], their states after each token."""

  @jax.jit
  def follow(params, tokens):
    def step(carry, token):
      carry, _ = run.task.step(params, carry, token[None], None)
      return carry, jnp.concatenate(jax.tree.leaves(carry), axis=1)[0]

    return jax.lax.scan(step, run.task.start(params, 1, None), tokens)[1]

  start = run.task.start(run.params, 1, None)
  names = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(start):
    layer, _, state = (part.idx for part in path)
    kind = 'hc'[state]
    names += [f'layer {layer} {kind}[{u}]' for u in range(leaf.shape[1])]
  return names, np.asarray(follow(run.params, jnp.asarray(tokens)))


def agree(config: Any, workdir: str) -> list[dict[str, float]]:
  """Subject-verb agreement -> agreement.json, agreement.png and a table.

  Returns:
    What `analysis.agreement.measure` does.

  Raises:
    ValueError: not a language model of words, or the vocabulary has too few of
      the test's words.
  """
  run = runs.open_run(config, workdir)
  if run.task.latents is not None or run.vocab.kind != 'word':
    raise ValueError('Agreement is tested of language models of words.')
  items = agreement.items(run.vocab.tokens)
  begin = corpora.begin_mark(run.vocab, config.corpus.stream)

  @jax.jit
  def last_log_probs(params, tokens):
    def step(loop, token):
      carry, _ = loop
      return run.task.step(params, carry, token, None), None

    start = run.task.start(params, len(tokens), None), None
    first, _ = step(start, tokens[:, 0])
    (_, logits), _ = jax.lax.scan(step, first, tokens[:, 1:].T)
    return jax.nn.log_softmax(logits, axis=-1)

  def log_odds(items: list[agreement.Item]) -> np.ndarray:
    values = np.empty(len(items))
    lengths = np.array([len(item.words) for item in items])
    for length in np.unique(lengths):
      of_length = np.flatnonzero(lengths == length)
      for first in range(0, len(of_length), _ROWS):
        some = of_length[first : first + _ROWS].tolist()
        # As many as in any chunk, so that they share a program.
        padded = np.resize(some, min(_ROWS, len(of_length))).tolist()
        words = [run.vocab.encode(items[i].words) for i in padded]
        tokens = np.insert(np.array(words), 0, begin, axis=1)
        scores = np.asarray(last_log_probs(run.params, jnp.asarray(tokens)))
        for row, i in enumerate(some):
          right, wrong = run.vocab.encode([items[i].right, items[i].wrong])
          values[i] = scores[row, right] - scores[row, wrong]
    return values

  measured = agreement.measure(items, log_odds)
  writers.write_json(os.path.join(workdir, 'agreement.json'), measured)
  table = rich_table.Table(title='the PLAN of the companies IS, never ARE')
  for column in measured[0]:
    table.add_column(column.replace('_', ' '), justify='right')
  for group in measured:
    table.add_row(
      *(f'{v:,}' if isinstance(v, int) else f'{v:.3f}' for v in group.values())
    )
  rich_console.Console().print(table)
  path = os.path.join(workdir, 'agreement.png')
  _plot_agreement(measured, path)
  logging.info('Drawn in %s.', path)
  return measured


def _plot_agreement(measured, path: str) -> None:
  pyplot = plots.pyplot()
  figure, axes = pyplot.subplots(figsize=(7, 4.5), layout='constrained')
  for between in sorted({group['between'] for group in measured}):
    of = [group for group in measured if group['between'] == between]
    (line,) = axes.plot(
      [group['attractors'] for group in of],
      [group['log_odds'] for group in of],
      marker='o',
      label=f'{between} noun' + ('' if between == 1 else 's') + ' in between',
    )
    for group in of:
      axes.annotate(
        f'{group["accuracy"]:.0%}',
        (group['attractors'], group['log_odds']),
        xytext=(6, 6 if between < 2 else -14),
        textcoords='offset points',
        fontsize=8,
        color=line.get_color(),
      )
  axes.axhline(0.0, color='grey', linewidth=0.8)
  axes.set_xticks(sorted({group['attractors'] for group in measured}))
  axes.set_xlabel('nouns in between of the other number')
  axes.set_ylabel('log-odds of the right verb, nats')
  axes.set_title('Subject-verb agreement; labels: share of right verbs')
  axes.margins(0.12)
  plots.legend(axes)
  plots.save(figure, path)


_RADII = (0.9, 1.0, 1.1)
_SIZE, _STEPS = 32, 60
# Of the descent beside a cliff: where it starts, rate, steps, clipping.
_START, _RATE, _DESCENT, _THRESHOLD = (5.0, -3.0), 0.5, 100, 0.1


def gradient_flow(workdir: str) -> dict[str, Any]:
  """How gradients go through time -> gradients.json, gradients.png, a table.

  Returns:
    'through_time': by cell and spectral radius the norms of the last state's
    gradient by the states before it, their slope, and where there is one its
    closed form; of linear cells also the norms of the recurrent matrix's
    gradient, by length. 'clipping': descents with and without. 'lstm_backward':
    gradients of an LSTM's inputs by hand and by `jax.grad`, norms by step, and
    the largest difference to the largest of each array.
  """
  result = {
    'through_time': _through_time(),
    'clipping': _clipping(),
    'lstm_backward': _lstm_backward(),
  }
  os.makedirs(workdir, exist_ok=True)
  writers.write_json(os.path.join(workdir, 'gradients.json'), result)
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
  path = os.path.join(workdir, 'gradients.png')
  _plot_gradients(result, path)
  logging.info('Drawn in %s.', path)
  return result


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
    of_matrix = gradients.matrix_gradient_norms(matrix, zeros, inputs)
    result[f'linear_{radius}']['matrix_gradient'] = of_matrix.tolist()
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
  """Gradients of the last output's sum."""
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


def _plot_gradients(result, path: str) -> None:
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
  """The error over both weights, and the ways that descents take on it."""
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
