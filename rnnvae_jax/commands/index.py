"""Indexes a text of any size, for training that reads it from disk."""

import os

from rnnvae_jax.commands import base

HELP = 'index the text of corpus.name into --workdir; training reads it there'
NEEDS = 'config'


def run(context: base.Context) -> None:
  """Writes the index of the config's text, or goes on with it."""
  from absl import logging

  from rnnvae_jax.data import indexing
  from rnnvae_jax.data.sources import base as sources
  from rnnvae_jax.training import preparation, progress
  from rnnvae_jax.training import workdir as workdir_lib

  corpus = context.config.corpus
  for key in ('labelled', 'columns'):
    if corpus.get(key):
      raise ValueError(
        f'config.corpus.{key} = True: an index is of text alone. Legal: False.'
      )
  source = context.config.train.init_from
  settings = indexing.Settings(
    corpus.name,
    corpus.protocol or sources.default_protocol(corpus.name),
    0 if corpus.stream else corpus.max_length,
    corpus.vocab_size,
    corpus.min_count,
    corpus.blank_lines,
    corpus.unknown_token,
    stream=corpus.stream,
  )
  os.makedirs(context.workdir, exist_ok=True)
  workdir_lib.check_place(context.workdir)
  with (
    workdir_lib.locked(context.workdir),
    progress.counter(f'Indexing {corpus.name}') as report,
  ):
    made = indexing.build(
      settings,
      context.workdir,
      preparation.vocabulary_of(source) if source else None,
      report,
    )
  for name, split in made['splits'].items():
    logging.info(
      '%s: %s sentences, %s tokens with end marks.',
      name,
      f'{split["sentences"]:,}',
      f'{split["tokens"]:,}',
    )
  for remark in made['remarks']:
    logging.warning('%s', remark)
  logging.info(
    'Train on it with --config.corpus.name=%s and the same config.',
    context.workdir,
  )
