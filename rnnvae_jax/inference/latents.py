"""Latent vectors of texts as files: NumPy arrays and tables."""

import os
from typing import Any

from absl import logging
import numpy as np

from rnnvae_jax.inference import loading, records
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.training import preparation, writers

ARRAYS, VECTORS, METADATA = 'latents.npz', 'vectors.tsv', 'metadata.tsv'


def encode(config: Any, workdir: str) -> str:
  """Writes the posteriors of lines, or of a split, into a folder.

  `latents.npz` has the arrays `means` and `log_variances` float32[N, Z],
  `texts` and `lines` (numbers, from 1) and one for each label by its name.
  `vectors.tsv` has the means, a row each without a header; `metadata.tsv` has
  the rest with a header. TensorBoard's projector and pandas read both.

  The texts are those of `generate.input` where that names a file, else of the
  split `encode.split`, or of standard input if that is ''.

  Returns:
    The folder.
  """
  run = loading.open_run(config, workdir)
  lines, sentences, texts, labels = _texts(run)
  means, log_variances, _ = run.encode_ids(sentences)
  folder = config.encode.folder or os.path.join(workdir, 'latents')
  os.makedirs(folder, exist_ok=True)
  path = os.path.join(folder, ARRAYS)
  with writers.replacing(path) as file:
    arrays: dict[str, Any] = {
      'means': means,
      'log_variances': log_variances,
      'texts': np.array(texts),
      'lines': np.array(lines),
      **{name: np.array(values) for name, values in labels.items()},
    }
    np.savez(file, **arrays)
  vectors = ['\t'.join(f'{x:.7g}' for x in mean) for mean in means]
  writers.write_text(os.path.join(folder, VECTORS), '\n'.join(vectors) + '\n')
  names = ['line', *labels, 'text']
  columns = zip(lines, *labels.values(), texts, strict=True)
  rows = [records.row(*names), *(records.row(*cells) for cells in columns)]
  writers.write_text(os.path.join(folder, METADATA), '\n'.join(rows) + '\n')
  logging.info(
    'Latents of %s texts, of size %d, are written to %s.',
    f'{len(means):,}',
    means.shape[1],
    folder,
  )
  return folder


def _texts(run: run_lib.Run):
  """Numbers, ids and texts of what is encoded, and its labels by name."""
  config = run.config
  source, name = config.generate.input, config.encode.split
  if source != '-' or not name:
    texts = records.read_lines(source)
    ids = run.ids(texts)
    kept = [i for i, sentence in enumerate(ids) if sentence is not None]
    if not kept:
      raise ValueError(f'None of the {len(texts)} lines holds a sentence.')
    return (
      [i + 1 for i in kept],
      [ids[i] for i in kept],
      [texts[i] for i in kept],
      {},
    )
  corpus = preparation.build_corpus(config, run.vocab, run.labels)
  if name not in corpus.splits:
    raise ValueError(
      f'config.encode.split = {name!r}: {corpus.name} has no such split. '
      f"Legal: {', '.join(corpus.splits)}; '' reads config.generate.input."
    )
  split = corpus.splits[name]
  sentences = [split.sentence(i) for i in range(len(split))]
  taken = {'means', 'log_variances', 'texts', 'lines', 'file'}
  labels = {
    f'label_{key}' if key in taken else key: values
    for key, values in split.labels.items()
  }
  texts = [run.text(ids) for ids in sentences]
  return list(range(1, len(split) + 1)), sentences, texts, labels
