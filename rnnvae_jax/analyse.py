"""What a trained model has learnt, and how gradients flow, with plots."""

import os
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax import data
from rnnvae_jax.analysis import activations, agreement, gradients, plots
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
    text = '\n'.join(data.read_lines(settings.input))
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
  begin = data.begin_mark(run.vocab, config.corpus.stream)

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
  axes.legend()
  plots.save(figure, path)


_RADII = (0.9, 1.0, 1.1)
_SIZE, _STEPS, _THRESHOLD = 32, 60, 5.0


def gradient_flow(workdir: str) -> dict[str, Any]:
  """Norms of gradients through time -> gradients.json and gradients.png.

  Returns:
    By cell and spectral radius the norms, their slope, and where there is one
    its closed form.
  """
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
    matrix = np.asarray(
      gradients.matrix_gradient_norms(
        radius * jax.random.orthogonal(key, _SIZE), zeros, inputs
      )
    )
    clipped = gradients.clipped(matrix, _THRESHOLD)
    result[f'linear_{radius}'] |= {
      'matrix_gradient': matrix.tolist(),
      'matrix_gradient_clipped': clipped.tolist(),
    }
  os.makedirs(workdir, exist_ok=True)
  writers.write_json(os.path.join(workdir, 'gradients.json'), result)
  table = rich_table.Table(title='log ||dh_T / dh_T-k||, slope over k')
  for column in ('cell', 'slope', 'closed form'):
    table.add_column(column, justify='right')
  for name, values in result.items():
    closed = values['closed_form']
    table.add_row(
      name.replace('_', ' '),
      f'{values["slope"]:+.4f}',
      '' if closed is None else f'{closed:+.4f}',
    )
  rich_console.Console().print(table)
  path = os.path.join(workdir, 'gradients.png')
  _plot_gradients(result, path)
  logging.info('Drawn in %s.', path)
  return result


def _plot_gradients(result, path: str) -> None:
  pyplot = plots.pyplot()
  figure, (left, right) = pyplot.subplots(
    1, 2, figsize=(12, 5), layout='constrained'
  )
  colours = dict(zip(_RADII, ('C0', 'C1', 'C3'), strict=True))
  lines = {'linear': ':', 'elman': '-', 'lstm': '--', 'lstm_forget_3': '-.'}
  for name, values in result.items():
    cell, _, radius = name.rpartition('_')
    left.semilogy(
      values['norms'],
      lines[cell],
      color=colours[float(radius)],
      label=f'{cell.replace("_", " ")}, radius {radius}',
    )
  left.set_xlabel('steps back in time, k')
  left.set_ylabel('norm of dh_T / dh_T-k')
  left.set_title('Gradients through time (linear: radius to the power of k)')
  left.grid(alpha=0.3)
  left.legend(fontsize=7)
  for radius in _RADII:
    values = result[f'linear_{radius}']
    lengths = range(1, _STEPS + 1)
    right.semilogy(
      lengths,
      values['matrix_gradient'],
      ':',
      color=colours[radius],
      label=f'radius {radius}, not clipped',
    )
    right.semilogy(
      lengths,
      values['matrix_gradient_clipped'],
      color=colours[radius],
      label=f'radius {radius}, clipped at {_THRESHOLD:g}',
    )
  right.set_xlabel('length of the sequence')
  right.set_ylabel("norm of the recurrent matrix's gradient, linear cell")
  right.set_title('What clipping does: length no longer sets the step')
  right.grid(alpha=0.3)
  right.legend(fontsize=8)
  plots.save(figure, path)
