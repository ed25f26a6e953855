"""Test sets of word vectors: what gensim ships, users' files, mistakes."""

import os

from absl.testing import absltest, parameterized

from rnnvae_jax.data import word_tests


class WordTestsTest(parameterized.TestCase):
  def write(self, text, name='test.txt'):
    path = os.path.join(self.create_tempdir().full_path, name)
    with open(path, 'w') as file:
      file.write(text)
    return path

  @parameterized.parameters(('wordsim353', 353), ('simlex999', 999))
  def test_gensim_s_pairs_are_complete(self, name, count):
    test = word_tests.read(word_tests.find(name))
    self.assertLen(test.words, count)
    self.assertLen(test.ratings, count)

  def test_google_s_analogies_are_complete(self):
    test = word_tests.read(word_tests.find('google'))
    self.assertLen(test.sections, 14)
    count = lambda names: sum(len(test.sections[name]) for name in names)
    # Mikolov et al. 2013, table 1.
    self.assertEqual(
      {name: count(names) for name, names in test.groups().items()},
      {'semantic': 8_869, 'syntactic': 10_675, 'total': 19_544},
    )
    self.assertEqual(
      test.sections['family'][0], ('boy', 'girl', 'brother', 'sister')
    )

  @parameterized.parameters('a\tb\t1\nc d\te\t2\n', 'a,b,1\nc d,e,2\n')
  def test_reads_tabs_and_commas(self, text):
    test = word_tests.read(self.write(text))
    self.assertEqual(test.words, (('a', 'b'), ('c d', 'e')))
    self.assertEqual(test.ratings, (1.0, 2.0))

  def test_reads_spaces_comments_and_names_of_columns(self):
    for head in ('', '# of words\n', 'one two mean\n'):
      test = word_tests.read(self.write(f'{head}a b 1\nc d 2\n'))
      self.assertEqual(test.words, (('a', 'b'), ('c', 'd')))

  def test_reads_questions_without_sections(self):
    test = word_tests.read(self.write('a b c d\ne f g h\n'))
    self.assertEqual(
      test.sections, {'all': (('a', 'b', 'c', 'd'), ('e', 'f', 'g', 'h'))}
    )
    self.assertEqual(test.groups(), {'total': ('all',)})

  @parameterized.parameters(
    ('a b 1\nc d x\n', "line 2: 'c d x' is not two words and a number"),
    ('a b 1\n', 'fewer than two pairs'),
    ('a b c d\ne f g\n', "line 2: 'e f g' is not four words"),
    (': only a section\n', 'has no questions'),
    ('\n', 'is empty'),
  )
  def test_a_mistake_is_named(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      word_tests.read(self.write(text))

  def test_men_is_found_in_the_data_folder(self):
    path = self.write('a b 1\nc d 2\n', 'EN-MEN-TR-3k.txt')
    self.assertEqual(word_tests.find('men', os.path.dirname(path)), path)
    with self.assertRaisesRegex(FileNotFoundError, 'MEN is not in'):
      word_tests.find('men', self.create_tempdir().full_path)

  def test_what_is_not_there_is_named(self):
    with self.assertRaisesRegex(ValueError, "Did you mean 'simlex999'"):
      word_tests.find('simlex99')
    with self.assertRaisesRegex(FileNotFoundError, 'no/test.txt'):
      word_tests.find('no/test.txt')


if __name__ == '__main__':
  absltest.main()
