"""Mode `vectors`: its answers, files and mistakes; gensim is the oracle."""

import contextlib
import gzip
import io
import json
import os
import pathlib
import runpy

from absl.testing import absltest, parameterized
from gensim.models import keyedvectors
import numpy as np
import pytest

from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import build
from rnnvae_jax.data import word_tests, word_vectors
from rnnvae_jax.inference import loading, vectors, word_tables
from rnnvae_jax.training import loop

pytestmark = [
  pytest.mark.usefixtures('compile_once'),
  # gensim's own, which its multiplicative rule calls.
  pytest.mark.filterwarnings('ignore:Call to deprecated .init_sims.'),
]

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
# Two spellings, of which gensim's evaluation takes the first.
WORDS = (
  *('king', 'queen', 'man', 'woman', 'King', 'cat', 'dog', 'nurse', 'doctor'),
  *('Paris', 'France', 'Rome', 'Italy', 'rome'),
)
FEATURES = 5
PAIRS = 'king\tqueen\t8\nman\twoman\t7\ncat\tdog\t7\nKing\tcat\t1\nx\tcat\t5\n'
QUESTIONS = """: capitals
Paris France Rome Italy
Rome Italy Paris France
Paris France x Italy
: gram-family
man king woman queen
king queen man woman
woman queen man king
"""


def table(seed=0):
  rng = np.random.default_rng(seed)
  values = np.float32(rng.normal(size=(len(WORDS), FEATURES)))
  return word_tables.Table('made up', WORDS, values)


def in_gensim(made):
  found = keyedvectors.KeyedVectors(made.values.shape[1])
  found.add_vectors(list(made.words), made.values)
  return found


class Case(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path

  def write(self, name, text):
    path = os.path.join(self.root, name)
    with open(path, 'w') as file:
      file.write(text)
    return path


class GensimTest(Case):
  @parameterized.parameters(*range(3))
  def test_similarity_is_that_of_gensim(self, seed):
    path = self.write('pairs.tsv', PAIRS)
    found = vectors.measure(table(seed), word_tests.read(path))
    pearson, spearman, missing = in_gensim(table(seed)).evaluate_word_pairs(
      path
    )
    self.assertAlmostEqual(found['spearman'], spearman[0], places=6)
    self.assertAlmostEqual(found['pearson'], pearson[0], places=6)
    self.assertEqual((found['pairs'], found['with_vectors']), (5, 4))
    self.assertEqual(missing, 20.0)
    self.assertEqual(found['missing'], ['x'])

  @parameterized.product(
    seed=(0, 1, 2),
    rule_name=(('add', 'most_similar'), ('multiply', 'most_similar_cosmul')),
  )
  def test_analogies_are_those_of_gensim(self, seed, rule_name):
    rule, name = rule_name
    path = self.write('questions.txt', QUESTIONS)
    found = vectors.measure(table(seed), word_tests.read(path), rule)
    gensim = in_gensim(table(seed))
    # gensim 4 takes the function's name and ignores it.
    gensim.most_similar = getattr(gensim, name)
    score, sections = gensim.evaluate_word_analogies(path)
    for section in sections[:-1]:
      ours = found['sections'][section['section']]
      self.assertEqual(ours['correct'], len(section['correct']))
      asked = len(section['correct']) + len(section['incorrect'])
      self.assertEqual(ours['with_vectors'], asked)
    total = found['groups']['total']
    self.assertEqual(total['accuracy'], score)
    self.assertEqual((total['questions'], total['with_vectors']), (6, 5))
    self.assertEqual(found['groups']['syntactic']['questions'], 3)

  @pytest.mark.slow
  @pytest.mark.corpus
  def test_glove_s_figures_are_those_of_gensim(self):
    path = os.path.join(
      os.environ['RNNVAE_DATA_DIR'], 'glove', 'glove.6B.50d.subset.txt'
    )
    if not os.path.exists(path):
      self.skipTest(f'{path} is not there')
    # So many that some words are missing.
    made = word_tables.Table('GloVe', *word_vectors.load(path, limit=8_000))
    gensim = in_gensim(made)
    for name in ('wordsim353', 'simlex999'):
      path = word_tests.find(name)
      found = vectors.measure(made, word_tests.read(path))
      _, spearman, missing = gensim.evaluate_word_pairs(path)
      self.assertAlmostEqual(found['spearman'], spearman[0], places=6)
      share = 1 - found['with_vectors'] / found['pairs']
      self.assertAlmostEqual(100 * share, missing, places=6)
    path = word_tests.find('google')
    found = vectors.measure(made, word_tests.read(path))
    score, sections = gensim.evaluate_word_analogies(path)
    self.assertEqual(
      [f['correct'] for f in found['sections'].values()],
      [len(section['correct']) for section in sections[:-1]],
    )
    self.assertEqual(found['groups']['total']['accuracy'], score)


class AnswersTest(Case):
  def test_neighbours_of_sums_are_not_the_sum_s_words(self):
    made = table()
    sums = [vectors._terms('king - man + woman'), vectors._terms('cat')]
    found = vectors.neighbours(made, sums, 99, 'euclidean')
    self.assertEqual(found[0]['of'], 'king - man + woman')
    target = made.values[0] - made.values[2] + made.values[3]
    far = np.linalg.norm(made.values - target, axis=1)
    order = [i for i in np.argsort(far) if i not in (0, 2, 3)]
    named = [entry['word'] for entry in found[0]['neighbours']]
    self.assertEqual(named, [WORDS[i] for i in order][: len(named)])
    self.assertNotIn('cat', [e['word'] for e in found[1]['neighbours']])

  def test_a_word_is_found_in_another_spelling_but_not_before_its_own(self):
    made = table()
    self.assertEqual(made.find('King'), 4)
    self.assertEqual(made.find('KING'), 0)
    self.assertEqual(made.find('paris'), 9)
    self.assertIsNone(made.find('xyzzy'))

  def test_sums_are_read(self):
    self.assertEqual(vectors._terms('a'), {'a': 1})
    self.assertEqual(vectors._terms('a-b + c - c'), {'a-b': 1, 'c': 0})
    with self.assertRaisesRegex(ValueError, 'is no sum of words'):
      vectors._terms('a +  - b')

  def test_associations_skip_words_without_vectors(self):
    path = self.write(
      'test.json',
      json.dumps(
        {
          'targets': {'x': ['king', 'man', 'zz'], 'y': ['queen', 'woman']},
          'attributes': {'a': ['doctor', 'cat'], 'b': ['nurse', 'dog']},
        }
      ),
    )
    (test,) = vectors.association_tests([path]).values()
    found = vectors.associate(table(), test, 10)
    self.assertEqual(found['words'], [2, 2, 2, 2])
    self.assertEqual(found['missing'], ['zz'])
    self.assertEqual(found['partitions'], 6)
    everything = vectors.association_tests(['all'])
    self.assertLen(everything, 10)
    refused = vectors.associate(table(), everything['flowers_insects'], 10)
    self.assertIn('a set of words is empty', refused['refused'])

  @parameterized.parameters('[]', '{"targets": {"x": ["a"]}}', '{')
  def test_what_is_no_association_test_is_named(self, text):
    with self.assertRaisesRegex(ValueError, 'no association test'):
      vectors.association_tests([self.write('bad.json', text)])


class ModeTest(Case):
  def ask(self, config=None, **keys):
    if config is None:
      config = build.default_of_all()
    config.update_from_flattened_dict(
      {f'vectors.{key}': value for key, value in keys.items()}
    )
    workdir = os.path.join(self.root, 'run')
    with contextlib.redirect_stdout(io.StringIO()) as out:
      commands.REGISTRY['vectors'].run(commands.Context(workdir, config))
    with open(os.path.join(workdir, 'vectors.json')) as file:
      return json.load(file), out.getvalue()

  def files(self):
    """The same vectors in all formats that are read."""
    made = table()
    gensim = in_gensim(made)
    paths = [os.path.join(self.root, f'v{i}') for i in range(2)]
    word_vectors.save(paths[0], made.words, made.values)
    gensim.save_word2vec_format(f'{paths[1]}.bin', binary=True)
    with open(paths[0], 'rb') as plain:
      lines = plain.readlines()
    with gzip.open(f'{paths[0]}.gz', 'wb') as packed:
      packed.writelines(lines[1:])  # As GloVe, without a header.
    return paths[0], f'{paths[0]}.gz', f'{paths[1]}.bin'

  def test_all_formats_have_the_same_vectors(self):
    for path in self.files():
      words, values = word_vectors.load(path)
      self.assertEqual(tuple(words), WORDS, path)
      np.testing.assert_array_equal(values, table().values, path)
      self.assertLen(word_vectors.load(path, limit=3)[0], 3)

  def test_gensim_reads_what_is_written(self):
    path = self.files()[0]
    read = keyedvectors.KeyedVectors.load_word2vec_format(path)
    self.assertEqual(tuple(read.index_to_key), WORDS)
    np.testing.assert_array_equal(read.vectors, table().values)
    with self.assertRaisesRegex(ValueError, "cannot hold the word 'a b'"):
      word_vectors.save(path, ['a b'], np.ones((1, 2)))

  def test_damaged_and_pickled_files_are_refused(self):
    for name, text, message in (
      ('v.bin', '1 1\nabcdefgh', "word2vec's binary format"),
      ('v.bin', '999999999 300\na', '999999999 vectors of 300 numbers do not'),
      ('v.bin', 'a 1 2\n', 'its first line is not two numbers'),
      ('v.txt', '3 2\na', 'holds no word vectors'),
      ('v.kv', '', 'a pickle can run any code'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        word_vectors.load(self.write(name, text))
    with self.assertRaises(FileNotFoundError):
      word_vectors.load(os.path.join(self.root, 'none.bin'))

  def test_answers_everything_at_once(self):
    result, out = self.ask(
      source=self.files()[2],
      words='king,king - man + woman',
      analogies='man:king::woman:?',
      pairs='cat:dog',
      tests=self.write('pairs.tsv', PAIRS),
      associations='career_family',
      count=2,
      rule='multiply',
      output=os.path.join(self.root, 'written.txt'),
    )
    self.assertLen(result['neighbours'], 2)
    self.assertLen(result['analogies'][0]['answers'], 2)
    self.assertEqual(result['analogies'][0]['rule'], 'multiply')
    want = in_gensim(table())
    self.assertAlmostEqual(
      result['pairs'][0]['cosine'], want.distance('cat', 'dog'), places=6
    )
    self.assertIn('refused', result['associations']['career_family'])
    best = result['analogies'][0]['answers'][0]['word']
    for text in ('man:king::woman:?', 'Spearman', 'and 12 more', best):
      self.assertIn(text, out)
    words, values = word_vectors.load(os.path.join(self.root, 'written.txt'))
    self.assertEqual(
      (tuple(words), values.tolist()), (WORDS, table().values.tolist())
    )

  def test_measures_all_if_nothing_is_asked(self):
    result, _ = self.ask(source=self.files()[0])
    self.assertEqual([*result['tests']], ['wordsim353', 'simlex999', 'google'])
    self.assertLen(result['associations'], 10)
    self.assertEqual(result['tests']['google']['groups']['total']['correct'], 0)

  @parameterized.parameters(
    ({'words': 'xyzzy'}, "'xyzzy' has no vector; .* has 14 words"),
    ({'analogies': 'man king woman'}, "not the form 'man:king::woman:"),
    ({'pairs': 'cat'}, "not the form 'cat:dog'"),
    ({'tests': 'simlex'}, "Did you mean 'simlex999'"),
    ({'associations': 'carer_family'}, "Did you mean 'career_family'"),
  )
  def test_mistakes_are_named(self, keys, message):
    with self.assertRaisesRegex(ValueError, message):
      self.ask(source=self.files()[0], **keys)

  def run_of(self, name, tail=''):
    config = runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config'](
      f'{tail}tiny'
    )
    if 'train' in config:
      config.train.num_steps = config.train.eval_every = 3
    with contextlib.redirect_stdout(io.StringIO()):
      loop.train(config, os.path.join(self.root, 'run'))
    return config

  def test_reads_vectors_that_were_trained_here(self):
    config = self.run_of('glove')
    written = os.path.join(self.root, 'glove.txt')
    result, _ = self.ask(config, words='the', output=written, count=3)
    run = loading.open_run(config, os.path.join(self.root, 'run'))
    words, values = word_vectors.load(written)
    self.assertEqual(words, list(run.vocab.tokens[4:]))
    np.testing.assert_array_equal(values, run.task.word_vectors()[1])
    self.assertEqual(result['size'], 6)
    with self.assertRaisesRegex(ValueError, 'one table alone'):
      self.ask(config, table='embedding')

  def test_an_embedding_is_a_table_of_the_vocabulary_s_size(self):
    table, other = np.ones((7, 3)), np.ones((6, 3))
    params = {
      'params': {
        'embedding': {'embedding': table},
        'decoder': {'words': {'embedding': table}},
        'case': {'embedding': other},
        'output': {'kernel': table},
      }
    }
    self.assertEqual(
      sorted(word_tables.embeddings(params, 7)), ['decoder/words', 'embedding']
    )

  @pytest.mark.slow
  def test_reads_the_embedding_of_any_trained_run(self):
    config = self.run_of('gru_lm')
    result, _ = self.ask(config, words='the', count=3)
    self.assertIn('language_model', result['source'])
    run = loading.open_run(config, os.path.join(self.root, 'run'))
    made = word_tables.open_table(config, os.path.join(self.root, 'run'))
    weights = np.asarray(run.params['params']['embedding']['embedding'])
    np.testing.assert_array_equal(made.values, weights[4:])
    with self.assertRaisesRegex(ValueError, "table = 'none' is unknown"):
      self.ask(config, words='the', table='none')

  def test_a_count_model_has_no_vectors(self):
    config = self.run_of('ptb_ngram')
    with self.assertRaisesRegex(ValueError, 'ngrams has no word vectors'):
      self.ask(config, words='the')


if __name__ == '__main__':
  absltest.main()
