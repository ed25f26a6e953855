"""What the latents of a run know of its sentences -> the folder `latents`."""

import os
import re
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.analysis import information, probes
from rnnvae_jax.analysis import latents as analysis
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data import word_vectors
from rnnvae_jax.inference import (
  latent_sample,
  latent_tables,
  loading,
  moves,
  shifts,
)
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.objectives import posteriors
from rnnvae_jax.training import preparation, writers

FOLDER, FILE = 'latents', 'latents.json'
MEANS = 'latent means'
_VALUES = (-2.0, -1.0, 0.0, 1.0, 2.0)  # Of a latent that is traversed.
_READ = 64  # Sentences over which changes of words are averaged.


def study(config: Any, workdir: str) -> dict[str, Any]:
  """Measures the latents of sentences of a split, and draws their map.

  Writes into the folder `latents` of the workdir: `latents.json`; `map.parquet`
  with texts, labels and places in the plane, and `map.npz` with the points, see
  `moves.Atlas`; and `map-LABEL.png`.

  Args:
    config: of the run; its `latents` keys say how much is measured.
    workdir: its folder.

  Returns:
    What latents.json has.

  Raises:
    ValueError: the corpus has no such split, or word vectors do not fit.
  """
  import threadpoolctl

  # Of small products one thread is as fast as many, and on a busy machine many
  # times faster; its sums do not depend on the number of cores. XLA's threads
  # are not limited.
  with threadpoolctl.threadpool_limits(1):
    return _study(config, workdir)


def _study(config: Any, workdir: str) -> dict[str, Any]:
  run = loading.open_run(config, workdir)
  corpus = preparation.build_corpus(config, run.vocab, run.labels)
  settings = config.latents
  sample = latent_sample.take(run, corpus)
  labels = latent_sample.labelled(sample, settings.folds)
  for name in sorted(set(sample.labels) - set(labels)):
    logging.info(
      'Label %r is not asked about: 2 to 50 of its values have to occur in %d '
      'different sentences each.',
      name,
      settings.folds,
    )
  kl = kl_per_latent(run, sample)
  asked, nats = _probes(run, sample, labels)
  attributes, judges = shifts.measure(
    run, sample, labels, corpus.splits['train']
  )
  result = {
    'split': settings.split,
    'sentences': len(sample.texts),
    'different_sentences': len(np.unique(sample.groups)),
    'checkpoint': run.checkpoint,
    'kl': kl,
    'probes': asked,
    'mutual_information': _information(sample, labels, nats),
    'judges': judges,
    'attributes': attributes,
    'traversals': _traversals(run, sample, kl),
    'neighbours': _neighbours(run, sample),
    'homotopies': _homotopies(run, sample),
  }
  folder = os.path.join(workdir, FOLDER)
  os.makedirs(folder, exist_ok=True)
  writers.write_json(os.path.join(folder, FILE), result)
  atlas = moves.Atlas(
    sample.texts,
    sample.labels,
    sample.points,
    analysis.coordinates(sample.means, settings.seed),
  )
  atlas.save(folder)
  _draw(atlas, folder, f'{corpus.name}, {settings.split}')
  latent_tables.show(result)
  logging.info('Written to %s.', folder)
  return result


def kl_per_latent(
  run: run_lib.Run, sample: latent_sample.Sample
) -> list[float]:
  """The mean KL of each latent to the family's own prior, in nats.

  Empty where the KL is not a sum over latents or has no closed form.
  """
  family = run.task.latents.family
  if family.kl is None:
    return []
  posterior = posteriors.Posterior(
    jnp.asarray(sample.means), jnp.asarray(sample.log_variances)
  )
  kl = np.asarray(family.kl(posterior), np.float64)
  if kl.shape != sample.means.shape:
    return []
  return kl.mean(axis=0).tolist()


def representations(
  run: run_lib.Run, sample: latent_sample.Sample
) -> dict[str, Any]:
  """What labels are read off: the latent means, and what they compare with.

  Returns:
    float[N, F] by name, dense or sparse: 'latent means', 'bag of words', 'mean
    GloVe' where word vectors are found, and 'untrained encoder', the means by
    the run's initial weights.
  """
  source = run.config.latents.word_vectors
  words = [ids[ids != vocab_lib.EOS] for ids in sample.sentences]
  found = {
    MEANS: sample.means,
    'bag of words': probes.bag_of_words(words, len(run.vocab)),
  }
  if source and run.vocab.kind == 'word':
    try:
      vectors = word_vectors.read(source, run.vocab, np.concatenate(words))
      found['mean GloVe'] = probes.mean_vectors(
        words, vectors.rows, vectors.values
      )
    except ImportError as error:
      logging.info('%s Mean vectors are left out.', error)
  first = run.task.init(jax.random.key(run.config.seed))
  found['untrained encoder'] = run.programs.encode(
    first, run.task.initial_extras(), sample.sentences, run.begin_mark
  )[0]
  return found


def _probes(
  run: run_lib.Run,
  sample: latent_sample.Sample,
  labels: dict[str, latent_sample.Labelled],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
  """Entries of latents.json; and by label the nats of the probe of the means.

  The nats float64[M] are those of the linear probe.
  """
  settings = run.config.latents
  entries, nats = [], {}
  features = representations(run, sample) if labels else {}
  for label, of in labels.items():
    groups = sample.groups[of.rows]
    folds = analysis.folds(of.classes, groups, settings.folds, settings.seed)
    for name, array in features.items():
      for kind in probes.KINDS:
        guesses = probes.cross_validate(
          kind, array[of.rows], of.classes, folds, settings.neighbours
        )
        if (name, kind) == (MEANS, probes.LINEAR):
          nats[label] = guesses.nats
        share = probes.accuracy(guesses.labels, of.classes, groups)
        entries.append(
          {
            'label': label,
            'features': name,
            'probe': kind,
            'accuracy': share.value,
            'low': share.low,
            'high': share.high,
            'chance': probes.chance(of.classes),
            'classes': len(of.names),
          }
        )
    logging.info('Probed for %r.', label)
  return entries, nats


def _information(
  sample: latent_sample.Sample,
  labels: dict[str, latent_sample.Labelled],
  nats: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
  """Two estimates for each label, of different sentences."""
  entries = []
  for label, of in labels.items():
    heads = analysis.firsts(sample.groups[of.rows])
    classes = of.classes[heads]
    estimates = {
      information.PROBE: information.lower_bound(classes, nats[label][heads]),
      information.ROSS: information.by_neighbours(
        sample.means[of.rows[heads]], classes
      ),
    }
    entropy = information.entropy(classes)
    entries += [
      {'label': label, 'nats': value, 'entropy': entropy, 'estimator': name}
      for name, value in estimates.items()
    ]
  return entries


def _traversals(
  run: run_lib.Run, sample: latent_sample.Sample, kl: list[float]
) -> list[dict[str, Any]]:
  """The most active latents, by KL or else by the variance of the means."""
  settings = run.config.latents
  activity = kl or sample.points.var(axis=0).tolist()
  order = np.argsort(-np.array(activity), kind='stable')
  rows = latent_sample.drawn(len(sample.texts), _READ, settings.seed)
  points = sample.points[rows]
  sentences = [sample.sentences[i] for i in rows]
  typical, _ = analysis.nearest(
    sample.points.mean(axis=0)[None], sample.points, 1
  )
  base = sample.points[typical[0, 0]]
  entries = []
  for latent in order[: settings.traversals].tolist():
    low, high = (
      moves.with_latent(run, points, latent, _VALUES[i]) for i in (0, -1)
    )
    changes = moves.word_changes(run, sentences, low, high, settings.words)
    entries.append(
      {
        'latent': latent,
        'kl': kl[latent] if kl else None,
        'words': [{'word': w, 'change': c} for w, c in changes],
        'values': list(_VALUES),
        'sentences': moves.traverse(run, base, latent, _VALUES),
      }
    )
  return entries


def _neighbours(
  run: run_lib.Run, sample: latent_sample.Sample
) -> list[dict[str, Any]]:
  """A few sentences with those nearest to them, duplicates left out."""
  settings = run.config.latents
  heads = analysis.firsts(sample.groups)
  asked = heads[latent_sample.drawn(len(heads), settings.examples, 1)]
  count = min(settings.neighbours + 1, len(heads))
  places, apart = analysis.nearest(
    sample.points[asked], sample.points[heads], count
  )
  return [
    {
      'text': sample.texts[row],
      'nearest': [
        {'text': sample.texts[other], 'distance': distance}
        for other, distance in zip(
          heads[near].tolist(), far.tolist(), strict=True
        )
        if other != row
      ],
    }
    for row, near, far in zip(asked.tolist(), places, apart, strict=True)
  ]


def _homotopies(
  run: run_lib.Run, sample: latent_sample.Sample
) -> list[dict[str, Any]]:
  """The ways between a few pairs of different sentences."""
  settings = run.config.latents
  heads = analysis.firsts(sample.groups)
  rng = np.random.default_rng(settings.seed)
  pairs = rng.permutation(heads)[: 2 * settings.examples]
  pairs = pairs[: len(pairs) // 2 * 2].reshape(-1, 2)
  if not len(pairs):
    return []
  steps = run.config.generate.interpolation_steps
  first, second = (sample.points[pairs[:, i]] for i in (0, 1))
  written = run.decode(run.between(first, second, steps))
  return [
    {
      'from': sample.texts[pair[0]],
      'to': sample.texts[pair[1]],
      'texts': written[steps * number :][:steps],
    }
    for number, pair in enumerate(pairs)
  ]


def _draw(atlas: moves.Atlas, folder: str, title: str) -> None:
  """A figure for each label, or one without labels."""
  for label in atlas.labels or ('',):
    values = atlas.labels.get(label, np.full(len(atlas.texts), '')).tolist()
    ending = re.sub(r'\W', '_', label)
    analysis.draw(
      atlas.places,
      values,
      f'{title}: {label}' if label else title,
      os.path.join(folder, f'map-{ending}.png' if ending else 'map.png'),
    )
