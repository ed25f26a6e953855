"""What word vectors answer -> vectors.json and tables."""

from collections.abc import Mapping, Sequence
import json
import os
import re
from typing import Any

from absl import logging
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.analysis import association, association_words, word_vectors
from rnnvae_jax.data import word_tests
from rnnvae_jax.data import word_vectors as data_lib
from rnnvae_jax.inference import vector_answers, word_tables
from rnnvae_jax.training import writers

FILE = 'vectors.json'
_SHIPPED = 'wordsim353', 'simlex999', 'google'  # Tests that need no data.
_SIGN = re.compile(r'\s([+-])\s')
_QUESTION = re.compile(r'([^:]+):([^:]+)::([^:]+):\?')


def ask(config: Any, workdir: str) -> dict[str, Any]:
  """Asks the vectors what `config.vectors` says; writes and prints answers.

  Returns:
    What vectors.json has: the vectors' source, the number of words and their
    size, and `neighbours`, `analogies`, `pairs`, `tests` and `associations`, as
    far as they are asked for.

  Raises:
    ValueError: a question has a wrong form, or a word in it has no vector; or
      see `word_tables.open_table`.
  """
  settings = config.vectors
  # Questions are read before vectors, which may take a minute.
  sums = [_terms(text) for text in _listed(settings.words)]
  questions = [_question(text) for text in _listed(settings.analogies)]
  pairs = [_pair(text) for text in _listed(settings.pairs)]
  tests, associations = _listed(settings.tests), _listed(settings.associations)
  _check_output(settings.output)
  is_idle = not (sums or questions or pairs or tests or associations)
  if is_idle and not settings.output:
    tests, associations = list(_SHIPPED), ['all']
  folder = config.data.dir or None
  read = {
    name: word_tests.read(word_tests.find(name, folder)) for name in tests
  }
  lists = association_tests(associations)
  table = word_tables.open_table(config, workdir)
  result: dict[str, Any] = {
    'source': table.source,
    'words': len(table.words),
    'size': table.values.shape[1],
  }
  if sums:
    result['neighbours'] = neighbours(
      table, sums, settings.count, settings.distance
    )
  if questions:
    result['analogies'] = answers(
      table, questions, settings.count, settings.rule
    )
  if pairs:
    result['pairs'] = distances(table, pairs)
  if read:
    result['tests'] = {
      name: measure(table, test, settings.rule) for name, test in read.items()
    }
  if lists:
    result['associations'] = {
      name: associate(table, test, settings.partitions, config.seed)
      for name, test in lists.items()
    }
  os.makedirs(workdir, exist_ok=True)
  path = os.path.join(workdir, FILE)
  writers.write_json(path, result)
  vector_answers.show(result)
  if settings.output:
    data_lib.save(settings.output, table.words, table.values)
    logging.info('The vectors are in %s.', settings.output)
  logging.info('Written to %s.', path)
  return result


def neighbours(
  table: word_tables.Table,
  sums: Sequence[Mapping[str, int]],
  count: int,
  measure: str,
) -> list[dict[str, Any]]:
  """The words nearest to sums of vectors.

  Args:
    table: the vectors.
    sums: by word its factor: {'king': 1, 'man': -1, 'woman': 1}.
    count: neighbours of each; the words of a sum are none.
    measure: 'cosine' or 'euclidean'.
  """
  rows = [[_row(table, word) for word in terms] for terms in sums]
  queries = [
    np.array([*terms.values()], np.float32) @ table.values[found]
    for found, terms in zip(rows, sums, strict=True)
  ]
  near = word_vectors.neighbours(
    table.values, np.array(queries), count, measure, [*map(np.array, rows)]
  )
  return [
    {
      'of': _spelt(terms),
      'distance': measure,
      'neighbours': _named(table, found, 'distance', values),
    }
    for terms, found, values in zip(sums, *near, strict=True)
  ]


def answers(
  table: word_tables.Table,
  questions: Sequence[tuple[str, str, str]],
  count: int,
  rule: str,
) -> list[dict[str, Any]]:
  """The best answers to "a is to b as c is to ?"."""
  rows = [[_row(table, word) for word in question] for question in questions]
  found = word_vectors.analogies(
    table.values, np.array(rows), rule, count, table.spellings
  )
  return [
    {
      'question': '{}:{}::{}:?'.format(*question),
      'rule': rule,
      'answers': _named(table, best, 'score', scores),
    }
    for question, best, scores in zip(questions, *found, strict=True)
  ]


def distances(
  table: word_tables.Table, pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
  """Cosine and Euclidean distances of pairs of words."""
  rows = np.array([[_row(table, word) for word in pair] for pair in pairs])
  first, second = table.values[rows[:, 0]], table.values[rows[:, 1]]
  found = {
    name: word_vectors.distances(first, second, name)
    for name in word_vectors.MEASURES
  }
  return [
    {'words': list(pair), **{k: float(v[i]) for k, v in found.items()}}
    for i, pair in enumerate(pairs)
  ]


def measure(
  table: word_tables.Table,
  test: word_tests.Pairs | word_tests.Analogies,
  rule: str = 'add',
) -> dict[str, Any]:
  """The figures of a test; what has a word without a vector is left out.

  Upper and lower case make no difference, as in gensim's evaluation.

  Returns:
    Of pairs: Spearman's and Pearson's correlation of cosines and ratings, the
    pairs, those that have vectors, and the missing words. Of analogies: the
    rule, and for each section and group of sections the questions, those whose
    words have vectors, the right answers and their share.
  """
  if isinstance(test, word_tests.Pairs):
    return _measure_pairs(table, test)
  return _measure_analogies(table, test, rule)


def _measure_pairs(table, test) -> dict[str, Any]:
  rows = [[table.find_folded(word) for word in pair] for pair in test.words]
  has = [None not in pair for pair in rows]
  result: dict[str, Any] = {
    'pairs': len(rows),
    'with_vectors': sum(has),
    'missing': _missing(table, test.words),
  }
  if sum(has) < 2:
    return result | {'spearman': None, 'pearson': None}
  known = np.array([pair for pair, ok in zip(rows, has, strict=True) if ok])
  ratings = np.array(test.ratings)[has]
  return (
    result | word_vectors.similarity(table.values, known, ratings)._asdict()
  )


def _measure_analogies(table, test, rule: str) -> dict[str, Any]:
  asked, known = [], {}
  for name, section in test.sections.items():
    rows = [[table.find_folded(word) for word in words] for words in section]
    known[name] = [found for found in rows if None not in found]
    asked += known[name]
  right = np.zeros(0, bool)
  if asked:
    questions = np.array(asked)
    best = word_vectors.analogies(
      table.values, questions[:, :3], rule, same=table.spellings
    ).rows[:, 0]
    # gensim compares spellings, so any of the answer's words will do.
    spellings = table.spellings
    right = spellings[best] == spellings[questions[:, 3]]
  ends = np.cumsum([len(found) for found in known.values()])
  parts = dict(zip(known, np.split(right, ends[:-1]), strict=True))

  def figures(names):
    count = sum(len(parts[name]) for name in names)
    correct = int(sum(parts[name].sum() for name in names))
    return {
      'questions': sum(len(test.sections[name]) for name in names),
      'with_vectors': count,
      'correct': correct,
      'accuracy': correct / count if count else None,
    }

  return {
    'rule': rule,
    'sections': {name: figures([name]) for name in test.sections},
    'groups': {n: figures(names) for n, names in test.groups().items()},
  }


def associate(
  table: word_tables.Table,
  test: association_words.Test,
  samples: int,
  seed: int = 0,
) -> dict[str, Any]:
  """An association test of the words that have vectors."""
  sets = *test.targets, *test.attributes
  rows = [[table.find(word) for word in words.words] for words in sets]
  found = [
    table.values[[row for row in some if row is not None]] for some in rows
  ]
  result: dict[str, Any] = {
    'targets': [words.name for words in test.targets],
    'attributes': [words.name for words in test.attributes],
    'words': [len(vectors) for vectors in found],
    'missing': _missing(table, [words.words for words in sets]),
  }
  try:
    x, y, a, b = found
    measured = association.weat(x, y, a, b, samples, seed)
  except ValueError as error:
    return result | {'refused': str(error)}
  return result | measured._asdict()


def association_tests(
  names: Sequence[str],
) -> dict[str, association_words.Test]:
  """The tests of these names: 'all', one of the ten, or a JSON file.

  A file is {"targets": {"NAME": [words], "NAME": [words]}, "attributes": the
  same}.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: there is no such test, or the file is of another form.
  """
  tests: dict[str, association_words.Test] = {}
  for name in names:
    if name == 'all':
      tests |= association_words.TESTS
    elif name in association_words.TESTS:
      tests[name] = association_words.TESTS[name]
    elif name.endswith('.json'):
      tests[name] = _read_association(name)
    else:
      known = 'all', *association_words.TESTS
      raise ValueError(errors.unknown('association test', name, known))
  return tests


def _read_association(path: str) -> association_words.Test:
  try:
    with open(path, encoding='utf-8') as file:
      value = json.load(file)
    targets, attributes = (
      [
        association_words.Words(name, tuple(map(str, words)))
        for name, words in value[side].items()
      ]
      for side in ('targets', 'attributes')
    )
    (x, y), (a, b) = targets, attributes
  except FileNotFoundError:
    raise FileNotFoundError(f'Association test: {path!r} is no file.') from None
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f'{path} is no association test: {error!r}.') from error
  return association_words.Test((x, y), (a, b))


def _check_output(path: str) -> None:
  """Raises ValueError if the file would have no place in the end."""
  folder = os.path.dirname(os.path.realpath(path))
  if path and (os.path.isdir(path) or not os.path.isdir(folder)):
    raise ValueError(
      f'config.vectors.output = {path!r}: a file in a folder that exists is '
      'wanted.'
    )


def _listed(text: str) -> list[str]:
  return [part.strip() for part in text.split(',') if part.strip()]


def _terms(text: str) -> dict[str, int]:
  """'king - man + woman' as {'king': 1, 'man': -1, 'woman': 1}."""
  first, *rest = _SIGN.split(text)
  terms = {first.strip(): 1}
  for sign, word in zip(rest[::2], rest[1::2], strict=True):
    word = word.strip()
    terms[word] = terms.get(word, 0) + (1 if sign == '+' else -1)
  if not all(terms):
    raise ValueError(
      f'config.vectors.words: {text!r} is no sum of words. Legal: '
      "'king - man + woman'."
    )
  return terms


def _question(text: str) -> tuple[str, str, str]:
  found = _QUESTION.fullmatch(text)
  if not found:
    raise ValueError(
      f'config.vectors.analogies: {text!r} has not the form '
      "'man:king::woman:?'."
    )
  a, b, c = (word.strip() for word in found.groups())
  return a, b, c


def _pair(text: str) -> tuple[str, str]:
  words = [word.strip() for word in text.split(':')]
  if len(words) != 2 or not all(words):
    raise ValueError(
      f"config.vectors.pairs: {text!r} has not the form 'cat:dog'."
    )
  return words[0], words[1]


def _row(table: word_tables.Table, word: str) -> int:
  row = table.find(word)
  if row is None:
    raise ValueError(
      f'{word!r} has no vector; {table.source} has {len(table.words):,} words, '
      f'such as {", ".join(map(repr, table.words[:3]))}.'
    )
  return row


def _missing(table, groups) -> list[str]:
  words = dict.fromkeys(word for group in groups for word in group)
  return [word for word in words if table.find_folded(word) is None]


def _spelt(terms: Mapping[str, int]) -> str:
  text = ''
  for word, factor in terms.items():
    sign = '-' if factor < 0 else '+'
    times = '' if abs(factor) == 1 else f'{abs(factor)} '
    text += f' {sign} {times}{word}'
  return text.removeprefix(' + ')


def _named(table, rows, name: str, values) -> list[dict[str, Any]]:
  return [
    {'word': table.words[row], name: float(value)}
    for row, value in zip(rows, values, strict=True)
  ]
