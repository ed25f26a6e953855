"""Untrained runs of each kind for the explorer, and landmarks of one."""

from typing import Any

import jax
import numpy as np

from rnnvae_jax.analysis import latents as analysis
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks.hidden_markov_tagging import task as hidden_markov
from rnnvae_jax.web import landmarks as landmarks_lib

WORDS = ('a', 'b', 'c', 'd', 'e')
LATENTS = 5
# Another one for each reader.
TEXTS = tuple(
  f'{x} {y} {z}' for x in WORDS for y in ('b', 'd e') for z in ('a', 'c')
)
_TAGGED = 'Anna B-PER\nsaw O\nOslo B-LOC\n\nBerg B-PER\nleft O\n'
_SIZES = {
  'corpus.protocol': 'mikolov',
  'corpus.max_length': 90,
  'model.cell': 'gru',
  'model.embedding_size': 6,
  'model.hidden_size': 7,
  'model.latent_size': LATENTS,
  'model.encoder_hidden_size': 10,
  'model.latent_every_step': True,
}


def make_run(
  kind: str, labels: tuple[str, ...] = (), **changes: Any
) -> run_lib.Run:
  """A run whose weights are large enough for texts to differ."""
  config = config_build.default(kind)
  known = config_build.flatten(config)
  config.update_from_flattened_dict(
    {key: x for key, x in (_SIZES | changes).items() if key in known}
  )
  words = vocab.Vocabulary('word', (*vocab.SPECIALS, *WORDS))
  task = config_build.task(kind).build(config, words, labels)
  params = jax.jit(task.init)(jax.random.key(0))
  params = jax.tree.map(lambda x: 3 * x, params)
  return run_lib.Run(
    config, words, labels, task, params, task.initial_extras(), 'none'
  )


def make_tagger(folder: Any) -> run_lib.Run:
  """A fitted tagger; its text is written into a folder of absltest."""
  for split in ('train', 'valid', 'test'):
    folder.create_file(f'{split}.txt', _TAGGED)
  config = config_build.default('hidden_markov_tagging')
  config.update_from_flattened_dict(
    {
      'corpus.columns': True,
      'corpus.name': folder.full_path,
      'corpus.protocol': 'mikolov',
      'corpus.tag_scheme': 'bio',
    }
  )
  settings = dict(config.corpus)
  fields = hidden_markov.HiddenMarkovTagging.FIELDS
  corpus = corpora.build(settings.pop('name'), fields=fields, **settings)
  task = hidden_markov.HiddenMarkovTagging.fit(config, corpus)
  return run_lib.Run(
    config, corpus.vocab, corpus.labels, task, {}, {}, 'fitted'
  )


def make_landmarks(run: run_lib.Run) -> landmarks_lib.Landmarks:
  """The texts above as landmarks; the first half is of another author."""
  points = run.latents_of(run.sentences(TEXTS))
  centre = points.mean(axis=0, dtype=np.float64)
  places = analysis.pca(points)
  authors = np.repeat(['x', 'y'], len(TEXTS) // 2)
  way = points[authors == 'y'].mean(0) - points[authors == 'x'].mean(0)
  return landmarks_lib.Landmarks(
    TEXTS,
    {'author': authors},
    points,
    places,
    centre,
    np.linalg.lstsq(points - centre, places, rcond=None)[0],
    (),
    {'author: x → y': way},
  )
