"""Units of a language model that follow the labels of texts -> units.json.

Radford et al., arXiv:1704.01444.
"""

from collections.abc import Mapping, Sequence
import hashlib
import os
from typing import Any, NamedTuple

from absl import logging
import jax
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import activations, intervals
from rnnvae_jax.analysis import units as analysis
from rnnvae_jax.data import corpora
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data.sources import base as sources
from rnnvae_jax.inference import loading, states, steering
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers

FILE = 'units.json'
_SPLITS = ('train', 'valid', 'test')


class Texts(NamedTuple):
  """The texts of a split and which of them are positive, bool[N]."""

  texts: list[str]
  positive: np.ndarray


class Labelled(NamedTuple):
  """A corpus of two classes.

  Attributes:
    name: of the corpus, or the path of its folder.
    labels: the negative and the positive one.
    splits: train, valid and test.
  """

  name: str
  labels: tuple[str, str]
  splits: dict[str, Texts]


def units(config: Any, workdir: str) -> dict[str, Any]:
  """Measures the units of the best checkpoint on a labelled corpus.

  The features of a text are the last layer's states after it: see
  `inference.states`. Writes, beside units.json, `units-CORPUS` with the endings
  .npz (the features), .png (the best unit's histogram) and .html (test texts,
  coloured by units).

  Args:
    config: the run's; its `units` keys name the corpus.
    workdir: its folder.

  Returns:
    What units.json has of this corpus, for the trained model and for one of
    initial weights: the test accuracy of all units (L1 logistic regression), of
    one unit (a threshold; both the unit and the threshold are those of the best
    training accuracy), and of a random unit (the mean over all units, with the
    interval of the mean and the middle 95 % of the units).

  Raises:
    ValueError: the run is no recurrent language model, or the corpus does not
      have two labels and three splits.
  """
  run = loading.open_run(config, workdir)
  states.check(run)
  corpus = read(config)
  name = os.path.basename(os.path.normpath(corpus.name))
  base_path = os.path.join(workdir, f'units-{name}')
  features = _features(run, corpus, f'{base_path}.npz')
  positive = {s: texts.positive for s, texts in corpus.splits.items()}
  result: dict[str, Any] = {
    'checkpoint': run.checkpoint,
    'labels': list(corpus.labels),
    'texts': {s: len(texts.texts) for s, texts in corpus.splits.items()},
    'positive': {s: float(p.mean()) for s, p in positive.items()},
    'trained': measure(features['trained'], positive, config.units.shown),
    'untrained': measure(features['untrained'], positive, config.units.shown),
  }
  best = result['trained']['one_unit']
  test = features['trained']['test'][:, best['unit']]
  analysis.plot(
    test,
    positive['test'],
    best['threshold'],
    corpus.labels,
    f'Unit {best["unit"]} after test texts of {name}',
    f'{base_path}.png',
  )
  writers.write_text(
    f'{base_path}.html',
    _page(run, corpus, result['trained']['ranking'], config.units.page),
  )
  path = os.path.join(workdir, FILE)
  kept = workdir_lib.read_json(path) if os.path.exists(path) else {}
  writers.write_json(path, {**kept, corpus.name: result})
  if config.units.classifier:
    values = features['trained']['train'][:, best['unit']]
    result['steering'] = steer(run, corpus.labels, best, values)
    writers.write_json(path, {**kept, corpus.name: result})
  _print(result, name)
  logging.info('Written to %s and %s.*.', path, base_path)
  return result


def read(config: Any) -> Labelled:
  """Reads the labelled texts that `config.units` describes.

  Raises:
    FileNotFoundError: see `corpora.read`.
    ValueError: the corpus lacks a split or labels, or does not have two of
      them.
  """
  settings = config.units
  name = settings.corpus or config.corpus.name
  is_folder = name not in sources.names()
  records = corpora.read(
    name, config.data.dir or None, labelled=is_folder and settings.labelled
  )
  missing = [split for split in _SPLITS if split not in records]
  if missing:
    raise ValueError(
      f'config.units.corpus = {name!r} has no split {missing[0]!r}. Wanted: '
      f'{", ".join(_SPLITS)}.'
    )
  records = {
    split: [r for r in records[split] if r['text'].strip()] for split in _SPLITS
  }
  column = settings.label_column or sources.default_label(name)
  labels_lib.check_column(name, records, column)
  labels = sorted({record[column] for record in records['train']})
  if len(labels) != 2:
    raise ValueError(
      f'{name} has {len(labels)} different values of {column!r} in its '
      f'training texts: {", ".join(map(repr, labels[:5]))}. A threshold tells '
      'two apart.'
    )
  if settings.positive:
    if settings.positive not in labels:
      raise ValueError(
        f'config.units.positive = {settings.positive!r} is no label of {name}. '
        f'Legal: {", ".join(labels)}.'
      )
    labels.sort(key=lambda label: label == settings.positive)
  splits = {}
  for number, split in enumerate(_SPLITS):
    kept = records[split]
    labels_lib.encode(
      f'{name}, {split}', column, [(r[column],) for r in kept], labels
    )
    if settings.texts:
      rng = np.random.default_rng((config.seed, number))
      order = rng.permutation(len(kept))[: settings.texts]
      kept = [kept[i] for i in order]
    splits[split] = Texts(
      [r['text'] for r in kept],
      np.array([r[column] == labels[1] for r in kept]),
    )
  return Labelled(name, (labels[0], labels[1]), splits)


def measure(
  features: Mapping[str, np.ndarray],
  positive: Mapping[str, np.ndarray],
  shown: int = 10,
) -> dict[str, Any]:
  """Accuracies of all units, of the best one and of a random one.

  Args:
    features: float[N, U] of train, valid and test.
    positive: bool[N] of the same.
    shown: units that the ranking lists.
  """
  fitted = analysis.thresholds(features['train'], positive['train'])
  right = analysis.correct(fitted, features['test'], positive['test'])
  by_unit = right.mean(axis=0)
  probe = analysis.fit_probe(
    features['train'],
    positive['train'],
    features['valid'],
    positive['valid'],
  )
  correlation = analysis.correlations(features['train'], positive['train'])
  order = np.argsort(-fitted.accuracy, kind='stable')

  def described(unit):
    return {
      'unit': int(unit),
      'threshold': float(fitted.value[unit]),
      'sign': int(fitted.sign[unit]),
      'train_accuracy': float(fitted.accuracy[unit]),
      'test_accuracy': float(by_unit[unit]),
      'correlation': float(correlation[unit]),
      'weight': float(probe.weights[unit]),
    }

  spread = intervals.Z_95 * by_unit.std(ddof=1) / np.sqrt(len(by_unit))
  return {
    'units': len(by_unit),
    'all_units': {
      **_accuracy(probe.correct(features['test'], positive['test'])),
      'valid_accuracy': float(
        probe.correct(features['valid'], positive['valid']).mean()
      ),
      'weights_not_0': int(np.count_nonzero(probe.weights)),
      'strength': probe.strength,
    },
    'one_unit': {**described(order[0]), **_accuracy(right[:, order[0]])},
    'random_unit': {
      'test_accuracy': float(by_unit.mean()),
      'low': float(by_unit.mean() - spread),
      'high': float(by_unit.mean() + spread),
      'middle_95_percent': np.quantile(by_unit, (0.025, 0.975)).tolist(),
    },
    'ranking': [described(unit) for unit in order[:shown]],
  }


def steer(
  run: run_lib.Run,
  labels: tuple[str, str],
  unit: Mapping[str, Any],
  values: np.ndarray,
) -> dict[str, Any]:
  """Judges texts that are written while a unit is held at values.

  Args:
    run: the language model; its `config.units` names the judge.
    labels: the negative and the positive one.
    unit: an entry of `measure`.
    values: float[N], of the unit after training texts.

  Returns:
    For 'free' (not held), 'negative', 'mean' and 'positive' the value, the
    share of texts that the classifier labels positive with its interval, and
    the first text; and the difference between positive and negative.

  Raises:
    ValueError: the classifier does not predict these labels.
  """
  settings = run.config.units
  judge = loading.load(settings.classifier)
  if not isinstance(judge.task, base.Predicts):
    raise ValueError(
      f'config.units.classifier = {settings.classifier!r} predicts no labels.'
    )
  if labels[1] not in judge.task.labels:
    raise ValueError(
      f'config.units.classifier = {settings.classifier!r} does not know the '
      f'label {labels[1]!r}. Known: {", ".join(judge.task.labels)}.'
    )
  positive = judge.task.labels.index(labels[1])
  mean, deviation = float(values.mean()), float(values.std())
  step = unit['sign'] * settings.strength * deviation
  held = steering.clamped(run, unit['unit'], mean)
  result: dict[str, Any] = {
    'unit': unit['unit'],
    'standard_deviations': settings.strength,
    'classifier': judge.config.model.kind,
    'max_length': run.config.generate.max_length,
    'conditions': {},
  }
  shares = {}
  for number, (name, value) in enumerate(
    (
      ('free', None),
      ('negative', mean - step),
      ('mean', mean),
      ('positive', mean + step),
    )
  ):
    writer = run
    if value is not None:
      steering.set_value(held, value)
      writer = held
    # Other noise for each, so that the samples are independent.
    seed = run.config.generate.seed + number
    written = writer.sample(settings.samples, seed=seed)
    texts = [' '.join(text.split()) for text in written]
    texts = [text for text in texts if text]
    if not texts:
      raise ValueError('all texts that the model wrote are blank.')
    predicted = judge.predict(texts).argmax(axis=1)
    shares[name] = intervals.wilson(
      int(np.sum(predicted == positive)), len(texts)
    )
    result['conditions'][name] = {
      'value': value,
      'texts': len(texts),
      **_named(shares[name], 'share_positive'),
      'first_text': texts[0],
    }
  effect = intervals.difference(shares['positive'], shares['negative'])
  result['positive_less_negative'] = _named(effect, 'difference')
  return result


def _features(
  run: run_lib.Run, corpus: Labelled, path: str
) -> dict[str, dict[str, np.ndarray]]:
  """By model ('trained', 'untrained') and split float32[N, U]; kept in a file.

  What the file has is read again if weights and texts are the same.
  """
  digest = hashlib.sha256(str(run.config.seed).encode())
  for leaf in jax.tree.leaves(run.params):
    digest.update(np.asarray(leaf).tobytes())
  for texts in corpus.splits.values():
    for text in texts.texts:
      digest.update(states.shown(run, text).encode() + b'\n')
  key = digest.hexdigest()
  found: dict[str, dict[str, np.ndarray]] = {'trained': {}, 'untrained': {}}
  if os.path.exists(path):
    with np.load(path) as saved:
      if str(saved['key']) == key:
        for model, by_split in found.items():
          for split in corpus.splits:
            by_split[split] = saved[f'{model}_{split}']
        return found
  reader = states.Reader(run.task)
  untrained = run.task.init(jax.random.key(run.config.seed))
  for split, texts in corpus.splits.items():
    ids = states.inputs(run, texts.texts)
    logging.info(
      'Reading %d texts, %d tokens of %s.',
      len(ids),
      sum(map(len, ids)),
      split,
    )
    found['trained'][split] = reader.after(run.params, ids)
    found['untrained'][split] = reader.after(untrained, ids)
  arrays: dict[str, Any] = {
    f'{model}_{split}': array
    for model, by_split in found.items()
    for split, array in by_split.items()
  }
  for split, texts in corpus.splits.items():
    arrays[f'positive_{split}'] = texts.positive
  with writers.replacing(path) as file:
    np.savez(file, key=np.array(key), **arrays)
  return found


def _page(
  run: run_lib.Run,
  corpus: Labelled,
  ranking: Sequence[Mapping[str, Any]],
  length: int,
) -> str:
  """Test texts of both classes in turn, coloured by the units of a ranking."""
  test = corpus.splits['test']
  by_class = [np.flatnonzero(test.positive == kind) for kind in (True, False)]
  chosen: list[int] = []
  for pair in zip(*by_class, strict=False):
    chosen += map(int, pair)
    if sum(len(test.texts[i]) for i in chosen) >= length:
      break
  texts = [test.texts[i] for i in chosen or range(len(test.texts))[:1]]
  numbers = [unit['unit'] for unit in ranking]
  ids = states.inputs(run, texts)
  followed = states.Reader(run.task).during(run.params, ids)
  spelt, traces = [], []
  for text, values in zip(texts, followed, strict=True):
    characters, places = spelling(run, text)
    spelt.append(f'{characters}\n')
    traces.append(values[np.append(places, places[-1])][:, numbers])
  names = [f'unit {number}' for number in numbers]
  ranked = {
    f'label {corpus.labels[1]}': [
      (place, unit['correlation']) for place, unit in enumerate(ranking)
    ]
  }
  return activations.page(
    ''.join(spelt)[:length], np.concatenate(traces)[:length], names, ranked
  )


def spelling(run: run_lib.Run, text: str) -> tuple[str, np.ndarray]:
  """A text as it is shown, and for each character its token in `states.inputs`.

  Of a character of several bytes it is the last one; a space after a word
  belongs to the word.
  """
  text = states.shown(run, text)
  if run.vocab.kind == 'byte':
    return text, np.cumsum([len(c.encode()) for c in text])
  if run.vocab.kind == 'character':
    return text, np.arange(1, len(text) + 1)
  words = [f'{word} ' for word in run.protocol.tokenise(text)]
  sizes = [len(word) for word in words]
  return ''.join(words), np.repeat(np.arange(1, len(words) + 1), sizes)


def _accuracy(right: np.ndarray) -> dict[str, float]:
  """The share of the texts that are right, with its interval."""
  return _named(intervals.wilson(int(right.sum()), len(right)), 'test_accuracy')


def _named(share: intervals.Share, name: str) -> dict[str, float]:
  return {name: share.value, 'low': share.low, 'high': share.high}


def _print(result: Mapping[str, Any], name: str) -> None:
  table = rich_table.Table(title=f'{name}: % of test texts, 95 % intervals')
  for column in ('', 'trained', 'untrained'):
    table.add_column(column, justify='right' if column else 'left')
  cell = lambda share: (
    f'{100 * share["test_accuracy"]:.1f} '
    f'({100 * share["low"]:.1f} to {100 * share["high"]:.1f})'
  )
  models = [result['trained'], result['untrained']]
  for kind in ('all_units', 'one_unit', 'random_unit'):
    title = kind.replace('_', ' ')
    table.add_row(title, *(cell(model[kind]) for model in models))
  rows: dict[str, list[str]] = {
    'weights not 0': [
      f'{m["all_units"]["weights_not_0"]} of {m["units"]}' for m in models
    ],
    'the one unit': [str(m['one_unit']['unit']) for m in models],
  }
  for title, cells in rows.items():
    table.add_row(title, *cells)
  console = rich_console.Console()
  console.print(table)
  if 'steering' not in result:
    return
  steered = result['steering']
  table = rich_table.Table(
    title=f'Unit {steered["unit"]} held: % of texts judged '
    f'{result["labels"][1]}'
  )
  for column in ('unit', 'value', 'share'):
    table.add_column(column, justify='left' if column == 'unit' else 'right')
  for condition, found in steered['conditions'].items():
    value = '' if found['value'] is None else f'{found["value"]:.3f}'
    share = (
      f'{100 * found["share_positive"]:.1f} '
      f'({100 * found["low"]:.1f} to {100 * found["high"]:.1f})'
    )
    table.add_row(condition, value, share)
  console.print(table)
