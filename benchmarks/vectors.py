"""Word vectors: GloVe by gensim's evaluation, WEAT, and GloVe trained here.

  python -m benchmarks.vectors glove --json=benchmarks/results/vectors.json
  python -m benchmarks.vectors trained --json=benchmarks/results/vectors.json

`glove` needs the extra `glove`. It evaluates GloVe 6B of 50 dimensions here and
by gensim. `trained` trains GloVe (`configs/glove.py`) and gensim's word2vec on
the same sentences, one core each, one after the other: word2vec as many whole
epochs as fit GloVe's time. Each part is kept in the file beside the other.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import runpy
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
# Words that gensim's 3CosMul is compared on; all would take it an hour.
MULTIPLIED = 30_000
CONFIG = pathlib.Path(__file__).parent.parent / 'configs' / 'glove.py'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('part', choices=PARTS)
  parser.add_argument('--json', default='')
  parser.add_argument('--corpus', default='wikipedia_sample')
  parser.add_argument('--epochs', type=int, default=0, help='0: the default')
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
  del args
  from rnnvae_jax.data import word_tests, word_vectors
  from rnnvae_jax.inference import vectors, word_tables

  table = word_tables.Table('GloVe', *word_vectors.load('glove'))
  gensim = _in_gensim(table)
  ours: dict[str, Any] = {}
  theirs: dict[str, Any] = {}
  for name in TESTS:
    path = word_tests.find(name)
    start = time.perf_counter()
    ours[name] = vectors.measure(table, word_tests.read(path))
    ours[name]['seconds'] = time.perf_counter() - start
    theirs[name] = _gensim_measures(gensim, path, len(table.words))
  few = word_tables.Table(
    'GloVe', table.words[:MULTIPLIED], table.values[:MULTIPLIED]
  )
  google = word_tests.find('google')
  ours['google_multiply'] = vectors.measure(
    few, word_tests.read(google), 'multiply'
  )
  multiplied = _in_gensim(few)
  # gensim 4 ignores the argument that names the rule.
  multiplied.most_similar = multiplied.most_similar_cosmul
  theirs['google_multiply'] = _gensim_measures(multiplied, google, MULTIPLIED)
  with contextlib.suppress(FileNotFoundError):
    men = word_tests.find('men')
    ours['men'] = vectors.measure(table, word_tests.read(men))
    theirs['men'] = _gensim_measures(gensim, men, len(table.words))
  tests = vectors.association_tests(['all'])
  sums = [vectors._terms(text) for text in SUMS]
  questions = [vectors._question(text) for text in QUESTIONS]
  return {
    'words': len(table.words),
    'ours': ours,
    'gensim': theirs,
    'neighbours': {
      measure: vectors.neighbours(table, sums, 5, measure)
      for measure in ('euclidean', 'cosine')
    },
    'analogies': {
      rule: vectors.answers(table, questions, 5, rule)
      for rule in ('add', 'multiply')
    },
    'associations': {
      name: vectors.associate(table, test, 1_000_000)
      for name, test in tests.items()
    },
  }


def trained(args: argparse.Namespace) -> dict[str, Any]:
  """GloVe trained here against gensim's word2vec at equal time, on one core."""
  _on_one_core()
  from rnnvae_jax.data import vocab as vocab_lib
  from rnnvae_jax.data import word_tests
  from rnnvae_jax.inference import vectors, word_tables
  from rnnvae_jax.tasks.word_vectors import TASK
  from rnnvae_jax.training import preparation

  config = runpy.run_path(str(CONFIG))['get_config'](args.corpus)
  if args.epochs:
    config.model.glove.passes = args.epochs
  corpus = preparation.build_corpus(config)
  with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    fitted = TASK.fit_in(config, corpus, folder)
    seconds = time.perf_counter() - start
  ids, values = fitted.word_vectors()
  ours = word_tables.Table(
    'GloVe', [corpus.vocab.tokens[i] for i in ids], values
  )
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
  theirs, epochs, their_seconds = _word2vec(
    sentences, settings.vector_size, settings.window, seconds
  )
  peer = word_tables.Table('word2vec', *theirs)
  tests = {name: word_tests.read(word_tests.find(name)) for name in TESTS}
  with contextlib.suppress(FileNotFoundError):
    tests['men'] = word_tests.read(word_tests.find('men'))

  def measured(table):
    found = {}
    for name, test in tests.items():
      figures = vectors.measure(table, test)
      figures.pop('missing', None)
      found[name] = figures.get('groups', figures)
    return found

  return {
    'corpus': corpus.name,
    'words_of_text': sum(map(len, sentences)),
    'vocabulary': len(ids),
    'settings': settings.to_dict(),
    'ours': {
      'seconds': seconds,
      'epochs': settings.passes,
      'counts': fitted.entries,
      'losses': list(fitted.losses),
      'counts_a_second': fitted.entries * settings.passes / seconds,
      **measured(ours),
    },
    'word2vec': {
      'seconds': their_seconds,
      'epochs': epochs,
      'settings': 'skip-gram, 5 negative samples, 1 worker, gensim defaults',
      **measured(peer),
    },
  }


PARTS = {'glove': glove, 'trained': trained}


def _on_one_core() -> None:
  """Keeps this process, and XLA in it, on one core; before JAX is imported."""
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


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
      'correct': {s['section']: len(s['correct']) for s in sections},
      'with_vectors': {
        s['section']: len(s['correct']) + len(s['incorrect']) for s in sections
      },
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


def _word2vec(sentences, size: int, window: int, budget: float):
  """Words and vectors of skip-gram, its epochs, and the seconds they took."""
  from gensim.models import word2vec

  def train(epochs: int):
    start = time.perf_counter()
    model = word2vec.Word2Vec(
      sentences,
      vector_size=size,
      window=window,
      min_count=1,
      sg=1,
      workers=1,
      epochs=epochs,
      seed=0,
    )
    return model, time.perf_counter() - start

  # The time of an epoch, without that of reading the vocabulary.
  (_, one), (_, three) = train(1), train(3)
  epoch = (three - one) / 2
  epochs = max(1, round(1 + (budget - one) / epoch))
  model, seconds = train(epochs)
  vectors = model.wv
  return (list(vectors.index_to_key), vectors.vectors), epochs, seconds


if __name__ == '__main__':
  main()
