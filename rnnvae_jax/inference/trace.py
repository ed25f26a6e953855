"""What single units of a character model follow -> trace.html, trace.json."""

import os
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import activations
from rnnvae_jax.data import formats
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import loading
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import preparation, writers

_MARKS = {vocab_lib.UNK: '\N{REPLACEMENT CHARACTER}', vocab_lib.EOS: '\n'}


def trace(config: Any, workdir: str) -> dict[str, Any]:
  """Follows every unit over a text -> trace.html, trace.json and a table.

  The text is `config.trace.input`, or the validation split's beginning.

  Returns:
    By property, its best units with their correlations.

  Raises:
    ValueError: the run is no recurrent language model of a stream of characters
      or bytes.
  """
  run = loading.open_run(config, workdir)
  cell = config.model.get('cell', 'none')
  is_recurrent = (
    isinstance(run.task, base.CarriesState) and cell != 'feed_forward'
  )
  is_stream = config.corpus.stream
  if not (is_recurrent and is_stream) or run.vocab.kind == 'word':
    raise ValueError(
      'A trace follows recurrent language models of a stream of characters or '
      f'bytes, such as configs/char_lm.py; this run has config.model.kind = '
      f'{config.model.kind!r}, config.model.cell = {cell!r}, '
      f'config.corpus.stream = {is_stream} and {run.vocab.kind}s.'
    )
  settings = config.trace
  if settings.input:
    text = '\n'.join(formats.read_lines(settings.input))
    tokens = run.vocab.encode(run.protocol.tokenise(text))
  else:
    split = preparation.build_corpus(config, run.vocab).splits['valid']
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


def _states(run: run_lib.Run, tokens: np.ndarray):
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
