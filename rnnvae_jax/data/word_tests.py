"""Test sets of word vectors: rated pairs of words, and analogies.

gensim ships WordSim-353 (Finkelstein et al. 2002), SimLex-999 (Hill et al.
2015) and Google's analogies (Mikolov et al. 2013). MEN (Bruni et al. 2014) is
read from the data folder. Any other file is read by its path.
"""

from collections.abc import Iterable
import importlib.util
import os
from typing import NamedTuple

from rnnvae_jax import errors

_IN_GENSIM = {
  'google': 'questions-words.txt',
  'simlex999': 'simlex999.txt',
  'wordsim353': 'wordsim353.tsv',
}
_MEN = ('MEN_dataset_natural_form_full', 'EN-MEN-TR-3k.txt')
_MEN_FOLDERS = ('', 'men', 'MEN', os.path.join('word_eval', 'word-sim'))
NAMES = ('wordsim353', 'simlex999', 'men', 'google')
# Google's sections whose questions are about grammar begin so.
_GRAMMAR = 'gram'


class Pairs(NamedTuple):
  """Pairs of words with people's ratings.

  Attributes:
    words: N pairs.
    ratings: N numbers; the larger, the more similar or related.
  """

  words: tuple[tuple[str, str], ...]
  ratings: tuple[float, ...]


class Analogies(NamedTuple):
  """Questions "a is to b as c is to d".

  Attributes:
    sections: by their names, in the order of the file; each of questions
      (a, b, c, d).
  """

  sections: dict[str, tuple[tuple[str, str, str, str], ...]]

  def groups(self) -> dict[str, tuple[str, ...]]:
    """Names of the sections of each group.

    Where some sections begin with 'gram', as Google's on grammar do, they are
    'syntactic' and the others 'semantic'; all are 'total'.
    """
    grammar = tuple(n for n in self.sections if n.startswith(_GRAMMAR))
    others = tuple(n for n in self.sections if n not in grammar)
    both = {'semantic': others, 'syntactic': grammar}
    return {**(both if grammar and others else {}), 'total': (*self.sections,)}


def find(name: str, folder: str | None = None) -> str:
  """The path of a test set.

  Args:
    name: one of `NAMES`, or a path.
    folder: where 'men' is looked for; None: $RNNVAE_DATA_DIR.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: there is no such name.
  """
  if name in _IN_GENSIM:
    spec = importlib.util.find_spec('gensim')
    assert spec is not None and spec.submodule_search_locations
    root = spec.submodule_search_locations[0]
    return os.path.join(root, 'test', 'test_data', _IN_GENSIM[name])
  if name == 'men':
    root = folder or os.environ.get('RNNVAE_DATA_DIR') or '.'
    for place in _MEN_FOLDERS:
      for file in _MEN:
        path = os.path.join(root, place, file)
        if os.path.isfile(path):
          return path
    raise FileNotFoundError(
      f'MEN is not in {root}: no file {" or ".join(_MEN)}. Name its path.'
    )
  if os.path.isfile(name):
    return name
  if os.sep in name or '.' in name:
    raise FileNotFoundError(f'Test of word vectors: {name!r} is no file.')
  raise ValueError(errors.unknown('test of word vectors', name, NAMES))


def read(path: str) -> Pairs | Analogies:
  """Reads a test set.

  Args:
    path: of a file with two words and a number a line (or a comma or tabs in
      between), or with four words a line and before each section a line
      ': NAME'. Lines that begin with # are not read.

  Raises:
    ValueError: a line is of neither form; the message names it.
  """
  with open(path, encoding='utf-8') as file:
    try:
      lines = [
        (number, line.strip())
        for number, line in enumerate(file, 1)
        if line.strip() and not line.startswith('#')
      ]
    except UnicodeDecodeError as error:
      raise ValueError(f'{path} is not UTF-8: {error}.') from error
  if not lines:
    raise ValueError(f'{path} is empty.')
  first = lines[0][1]
  if first.startswith(':') or len(first.split()) == 4:
    return _analogies(path, lines)
  return _pairs(path, lines)


def _pairs(path: str, lines: Iterable[tuple[int, str]]) -> Pairs:
  words: list[tuple[str, str]] = []
  ratings: list[float] = []
  for number, line in lines:
    fields = _fields(line)
    try:
      first, second, rating = fields
      ratings.append(float(rating))
    except ValueError:
      if not words and number == 1:
        continue  # Names of the columns.
      raise ValueError(
        f'{path}, line {number}: {line!r} is not two words and a number.'
      ) from None
    words.append((first, second))
  if len(words) < 2:
    raise ValueError(f'{path} has fewer than two pairs of words.')
  return Pairs(tuple(words), tuple(ratings))


def _fields(line: str) -> list[str]:
  mark = next((mark for mark in '\t,' if mark in line), None)
  return [field.strip() for field in line.split(mark)]


def _analogies(path: str, lines: Iterable[tuple[int, str]]) -> Analogies:
  sections: dict[str, list[tuple[str, str, str, str]]] = {}
  name = ''
  for number, line in lines:
    if line.startswith(':'):
      name = line.lstrip(': ')
      continue
    words = line.split()
    if len(words) != 4:
      raise ValueError(
        f'{path}, line {number}: {line!r} is not four words, nor a section '
        "that begins with ':'."
      )
    a, b, c, d = words
    sections.setdefault(name or 'all', []).append((a, b, c, d))
  if not sections:
    raise ValueError(f'{path} has no questions.')
  return Analogies({key: tuple(asked) for key, asked in sections.items()})
