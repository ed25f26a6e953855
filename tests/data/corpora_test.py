"""Corpora as arrays."""

import contextlib
import os
import subprocess
import sys

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.data import corpora, protocols
from rnnvae_jax.data import vocab as vocab_lib


def build(name, protocol, **kwargs):
  return corpora.build(
    name, protocol, data_dir=os.environ.get('RNNVAE_DATA_DIR'), **kwargs
  )


class FolderTest(parameterized.TestCase):
  def folder(self, train='a b\n\n a c d e\n', valid='b a', test='x a'):
    folder = self.create_tempdir()
    folder.create_file('train.txt', train)
    folder.create_file('valid.txt', valid)
    folder.create_file('test.txt', test)
    return folder.full_path

  def test_sentences_lie_one_after_the_other_with_their_eos(self):
    corpus = corpora.build(self.folder(), 'mikolov')
    self.assertEqual(corpus.vocab.tokens[4:], ('a', 'b', 'c', 'd', 'e'))
    train, test = corpus.splits['train'], corpus.splits['test']
    np.testing.assert_array_equal(train.tokens, [4, 5, 2, 4, 6, 7, 8, 2])
    np.testing.assert_array_equal(train.offsets, [0, 3])
    np.testing.assert_array_equal(train.lengths, [3, 5])
    np.testing.assert_array_equal(train.sentence(1), [4, 6, 7, 8, 2])
    np.testing.assert_array_equal(test.tokens, [vocab_lib.UNK, 4, 2])
    for array in (train.tokens, train.offsets, train.lengths):
      self.assertEqual(array.dtype, np.int32)
    self.assertLen(train, 2)
    self.assertEqual((train.num_truncated, train.num_empty), (0, 1))
    self.assertEmpty(train.labels)

  @parameterized.parameters((2, 2), (3, 1), (4, 1), (5, 0), (0, 0))
  def test_long_sentences_are_cut_and_counted(self, max_length, num_truncated):
    corpus = corpora.build(self.folder(), 'mikolov', max_length=max_length)
    train = corpus.splits['train']
    self.assertEqual(train.num_truncated, num_truncated)
    want = np.minimum([3, 5], max_length or 5)
    np.testing.assert_array_equal(train.lengths, want)
    for i, words in enumerate(([4, 5], [4, 6, 7, 8])):
      kept = [*words[: want[i] - 1], vocab_lib.EOS]
      np.testing.assert_array_equal(train.sentence(i), kept)

  def test_the_vocabulary_is_of_the_whole_training_text(self):
    cut = corpora.build(self.folder(), 'mikolov', max_length=3)
    self.assertEqual(cut.vocab, corpora.build(self.folder(), 'mikolov').vocab)

  def test_limits_the_vocabulary(self):
    build = corpora.build
    self.assertLen(build(self.folder(), 'mikolov', vocab_size=6).vocab, 6)
    self.assertLen(build(self.folder(), 'mikolov', min_count=2).vocab, 5)
    self.assertLen(build(self.folder(), 'tweet').vocab, 5)
    self.assertLen(build(self.folder(), 'bytes').vocab, 260)

  def test_uses_a_given_vocabulary(self):
    vocab = vocab_lib.Vocabulary.build('word', [['b', 'x']])
    corpus = corpora.build(self.folder(), 'mikolov', vocab=vocab)
    self.assertIs(corpus.vocab, vocab)
    np.testing.assert_array_equal(corpus.splits['test'].tokens, [5, 3, 2])

  def test_a_plain_line_may_be_a_paragraph(self):
    folder = self.folder(train='It is a cat. It sat.\n\nYes.\n')
    corpus = corpora.build(folder, min_count=1)
    self.assertEqual(corpus.protocol, 'plain')
    self.assertLen(corpus.splits['train'], 3)
    self.assertLen(corpora.build(folder, 'tweet').splits['train'], 2)

  def test_characters_are_code_points(self):
    folder = self.folder(train='é 日', valid='日', test='x')
    corpus = corpora.build(folder, 'characters')
    self.assertEqual(corpus.vocab.tokens[4:], (' ', 'é', '日'))
    np.testing.assert_array_equal(corpus.splits['train'].lengths, [4])

  def test_summary_has_a_line_for_each_split(self):
    summary = corpora.build(self.folder(), 'mikolov', max_length=3).summary()
    head, train, _, test = summary.split('\n')
    self.assertIn('(mikolov): 9 words', head)
    self.assertRegex(
      train, r'train +2 sentences +6 tokens, end .* 1 cut .*, 1 blank'
    )
    self.assertRegex(test, r'test +1 sentences +3 tokens, .*33\.33% unknown')

  def test_a_split_without_a_sentence_is_refused(self):
    # To NLTK that is a space.
    folder = self.folder(valid='&nbsp;\n')
    with self.assertRaisesRegex(ValueError, "valid: no sentence .*'tweet'"):
      corpora.build(folder, 'tweet')

  @parameterized.parameters(
    ({'protocol': 'mikolow'}, "Did you mean 'mikolov'"),
    ({'max_length': 1}, 'Nearest legal value: 2'),
    ({'max_length': -3}, 'max_length = -3'),
    ({'vocab_size': 3}, 'Nearest legal value: 5'),
    ({'protocol': 'bytes', 'vocab_size': 99}, '256 bytes'),
    (
      {'vocab': vocab_lib.Vocabulary.build('byte', [])},
      "'plain' is about words, the vocabulary about bytes",
    ),
  )
  def test_illegal_arguments_are_refused(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      corpora.build(self.folder(), **arguments)

  def test_a_name_comes_before_a_folder_of_that_name(self):
    self.enter_context(contextlib.chdir(self.create_tempdir().full_path))
    os.mkdir('grammar')
    self.assertLen(corpora.read('grammar')['train'], 20_000)

  def test_needs_no_tfds_for_a_folder(self):
    code = (
      'import sys; from rnnvae_jax.data import corpora;'
      f'corpora.build({self.folder()!r}); corpora.build("grammar");'
      'heavy = {"tensorflow_datasets", "gensim", "nltk"} & set(sys.modules);'
      'sys.exit(str(heavy) if heavy else 0)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


class TextTest(parameterized.TestCase):
  """What is read, cut and unknown, is said."""

  def build(self, train, protocol='mikolov', valid='a', **kwargs):
    folder = self.create_tempdir()
    for split, text in (('train', train), ('valid', valid), ('test', valid)):
      with open(os.path.join(folder.full_path, f'{split}.txt'), 'wb') as file:
        file.write(text.encode())
    return corpora.build(folder.full_path, protocol, **kwargs)

  def test_a_vocabulary_without_any_word_is_refused(self):
    numbers = ''.join(f'{1_000 + i}\n' for i in range(600))
    message = 'has 600 different ones, none of them 2 times.*min_count: 1'
    with self.assertRaisesRegex(ValueError, message):
      self.build(numbers, 'plain')
    self.assertLen(self.build(numbers, 'plain', min_count=1).vocab, 604)
    with self.assertRaisesRegex(ValueError, 'nothing but marks such as <unk>'):
      self.build('<unk> <unk>\n')

  def test_tokens_that_are_cut_off_are_counted_and_warned_of(self):
    corpus = self.build('a ' * 99 + '\na\n', max_length=20, valid='a a')
    train = corpus.splits['train']
    # Of 99 + 1 + 2 * 1 tokens and marks 20 and 2 are left.
    self.assertEqual((train.truncated_tokens, train.num_truncated), (80, 1))
    self.assertEqual(train.truncated_share, 80 / 102)
    self.assertIn('1 cut (78.43% of the tokens)', corpus.summary())
    (warning,) = corpus.warnings()
    self.assertRegex(
      warning, r'train: 78\.4% of the tokens .* 1 of 2 sentences'
    )
    whole = self.build('a ' * 99 + '\na\n')
    self.assertEqual(whole.splits['train'].truncated_share, 0)
    self.assertEmpty(whole.warnings())

  def test_few_tokens_cut_off_are_no_warning(self):
    corpus = self.build('a ' * 21 + '\n' + 'a a a\n' * 100, max_length=20)
    self.assertEqual(corpus.splits['train'].truncated_tokens, 2)
    self.assertEmpty(corpus.warnings())

  def test_many_unknown_words_are_warned_of(self):
    corpus = self.build('a b c d\n', valid='x y c d')
    self.assertEqual(corpus.splits['test'].unknown_share, 2 / 5)
    self.assertLen(corpus.warnings(), 2)
    self.assertIn('test: 40.0% of the tokens are unknown', corpus.warnings()[1])

  @parameterized.parameters('mikolov', 'plain', 'tweet')
  def test_a_blank_line_may_be_an_end_mark(self, protocol):
    text = 'a b\n\n \na\n'
    kwargs = {'min_count': 1, 'valid': 'a\n'}
    skipped = self.build(text, protocol, **kwargs)
    train = skipped.splits['train']
    np.testing.assert_array_equal(train.tokens, [4, 5, 2, 4, 2])
    self.assertEqual(train.num_empty, 2)
    self.assertIn('2 blank\n', skipped.summary())
    corpus = self.build(text, protocol, blank_lines='sentence', **kwargs)
    train = corpus.splits['train']
    # What a script has that appends '<eos>' to the words of each line.
    np.testing.assert_array_equal(train.tokens, [4, 5, 2, 2, 2, 4, 2])
    np.testing.assert_array_equal(train.lengths, [3, 1, 1, 2])
    self.assertIn('2 blank, an end mark each', corpus.summary())

  @parameterized.parameters(
    ({'blank_lines': 'keep'}, "'keep' is unknown"),
    ({'blank_lines': 'sentence', 'labelled': True}, 'has no label'),
    (
      {'blank_lines': 'sentence', 'stream': True, 'protocol': 'bytes'},
      'every line end is a token',
    ),
    ({'unknown_token': 'a b'}, 'not one word'),
    ({'unknown_token': 'UNK'}, "'UNK' is not a word"),
    ({'unknown_token': 'UNK', 'protocol': 'bytes'}, 'is about bytes'),
  )
  def test_illegal_arguments_are_refused(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      self.build('a\n', **arguments)

  @parameterized.product(
    protocol=('mikolov', 'plain', 'tweet'),
    marker=('_UNK', '[UNK]', '@UNK@', '<UNK>', '<unk>'),
  )
  def test_known_marks_of_unknown_words_are_unknown(self, protocol, marker):
    corpus = self.build(f'a {marker} b\n{marker}\n', protocol, min_count=1)
    self.assertEqual(corpus.vocab.tokens[4:], ('a', 'b'))
    np.testing.assert_array_equal(
      corpus.splits['train'].tokens, [4, 3, 5, 2, 3, 2]
    )
    said = [text for text in corpus.remarks if 'read as <unk>' in text]
    if marker == '<unk>':
      self.assertEmpty(said)
    else:
      self.assertIn(f'2 {marker} are read as <unk>', said[0])

  def test_another_mark_is_named(self):
    text = 'a UNK b\n'
    self.assertIn('UNK', self.build(text).vocab.tokens)
    corpus = self.build(text, unknown_token='UNK')
    self.assertEqual(corpus.vocab.tokens[4:], ('a', 'b'))
    np.testing.assert_array_equal(corpus.splits['train'].tokens, [4, 3, 5, 2])
    vocab = corpus.vocab
    split = corpora.encode_lines(
      ['UNK a'], 'mikolov', vocab, unknown_token='UNK'
    )
    np.testing.assert_array_equal(split.tokens, [3, 4, 2])

  def test_a_mark_that_was_trained_as_a_word_stays_one(self):
    vocab = vocab_lib.Vocabulary.build('word', [['a', '_UNK']])
    corpus = self.build('a _UNK\n', vocab=vocab)
    np.testing.assert_array_equal(corpus.splits['train'].tokens, [5, 4, 2])
    split = corpora.encode_lines(['_UNK [UNK]'], 'mikolov', vocab)
    np.testing.assert_array_equal(split.tokens, [4, 3, 2])

  def test_forgotten_labels_are_asked_for(self):
    text = '0\ta b\n1\tc\n\n0\td\n1\te\n'
    (warning,) = self.build(text, valid='0\ta').remarks
    self.assertRegex(warning, 'one tab.* one of 2 texts.*labelled = True')
    self.assertEmpty(self.build(text, valid='0\ta', labelled=True).remarks)

  def test_line_ends_are_no_text_but_in_a_stream_of_characters(self):
    for end in ('\n', '\r\n', '\r'):
      text = f'a b{end}c{end}'
      words = self.build(text).splits['train']
      np.testing.assert_array_equal(words.tokens, [4, 5, 2, 6, 2])
      for protocol in ('characters', 'bytes'):
        lines = self.build(text, protocol)
        spelt = [lines.vocab.tokens[i] for i in lines.splits['train'].tokens]
        self.assertEqual(spelt, [*'a b', '</s>', 'c', '</s>'])
        stream = self.build(text, protocol, stream=True)
        spelt = [stream.vocab.tokens[i] for i in stream.splits['train'].tokens]
        self.assertEqual(''.join(spelt), text.removesuffix('\n'))

  def test_reviews_are_lines_between_spaces(self):
    corpus = self.build('a<br />b\n\n c\n', 'reviews', stream=True)
    train = corpus.splits['train']
    spelt = ''.join(corpus.vocab.decode(train.tokens))
    self.assertEqual(spelt, ' a b \n\n c ')
    split = corpora.encode_lines(['a<br />b'], 'reviews', corpus.vocab, True)
    self.assertEqual(''.join(corpus.vocab.decode(split.tokens)), ' a b ')

  @parameterized.parameters('characters', 'bytes')
  def test_white_space_of_a_line_is_text_to_characters(self, protocol):
    corpus = self.build('  x\t\n \ny\n', protocol)
    train = corpus.splits['train']
    self.assertEqual(
      [corpus.vocab.decode(train.sentence(i)) for i in range(len(train))],
      [[' ', ' ', 'x', '\t'], ['y']],
    )
    split = corpora.encode_lines(['  x\t\r\n'], protocol, corpus.vocab)
    self.assertEqual(corpus.vocab.decode(split.tokens), [' ', ' ', 'x', '\t'])


class TagsTest(parameterized.TestCase):
  TEXT = 'EU ORG\nrejects O\nit O\n\nBonn LOC\n'

  def build(self, text=TEXT, test='EU LOC\n', protocol='mikolov', **kwargs):
    folder = self.create_tempdir()
    for split, content in (('train', text), ('valid', text), ('test', test)):
      folder.create_file(f'{split}.txt', content)
    return corpora.build(
      folder.full_path, protocol, columns=True, fields=['tags'], **kwargs
    )

  def test_each_token_has_its_tag_and_a_mark_none(self):
    corpus = self.build()
    self.assertEqual(corpus.labels, ('LOC', 'O', 'ORG'))
    train = corpus.splits['train']
    np.testing.assert_array_equal(train.lengths, [4, 2])
    np.testing.assert_array_equal(train.fields['tags'], [2, 1, 1, 0, 0, 0])
    self.assertEqual(train.fields['tags'].dtype, np.int32)
    self.assertLen(train.fields['tags'], len(train.tokens))

  def test_tags_are_cut_with_their_sentence(self):
    train = self.build(max_length=3).splits['train']
    np.testing.assert_array_equal(train.lengths, [3, 2])
    np.testing.assert_array_equal(train.fields['tags'], [2, 1, 0, 0, 0])

  def test_a_tag_that_is_never_trained_has_an_id_and_is_told(self):
    corpus = self.build(test='Ann PER\nsaw O\n')
    self.assertEqual(corpus.labels, ('LOC', 'O', 'ORG'))
    test = corpus.splits['test']
    self.assertEqual(test.unseen, ('PER',))
    np.testing.assert_array_equal(test.fields['tags'], [3, 1, 0])
    self.assertRegex(' '.join(corpus.warnings()), 'test: .* has no tag PER')

  def test_another_tokenisation_is_refused(self):
    with self.assertRaisesRegex(ValueError, "2 tags.*'plain' makes 3 tokens"):
      self.build("do VB\nn't-x. RB\n", protocol='plain', min_count=1)

  @pytest.mark.corpus
  def test_reads_the_treebank_sample(self):
    path = os.path.join(
      os.environ['RNNVAE_DATA_DIR'], 'nltk_treebank_pos', 'wsj_sample.conll'
    )
    with open(path) as file:
      text = file.read()
    train = self.build(text, text).splits['train']
    # Published by NLTK: 3,914 sentences; 94,084 tokens without traces.
    self.assertLen(train, 3_914)
    self.assertLen(train.tokens, 94_084 + 3_914)
    mask = train.tokens == vocab_lib.EOS
    self.assertEqual(train.fields['tags'][mask].max(), 0)


class FieldsTest(parameterized.TestCase):
  def labelled(self, train='b\tx y z\na\ty\n\nb\tz\n', test='a\tx\n'):
    folder = self.create_tempdir()
    for split, text in (('train', train), ('valid', 'b\tz\n'), ('test', test)):
      folder.create_file(f'{split}.txt', text)
    return folder.full_path

  def build(self, folder, **kwargs):
    kwargs = {'labelled': True, 'fields': ['label'], **kwargs}
    return corpora.build(folder, 'mikolov', **kwargs)

  def test_labels_are_ids_of_sorted_names(self):
    corpus = self.build(self.labelled())
    self.assertEqual(corpus.labels, ('a', 'b'))
    want = {'train': [1, 0, 1], 'valid': [1], 'test': [0]}
    for name, split in corpus.splits.items():
      self.assertEqual(set(split.fields), {'label'})
      self.assertEqual(split.fields['label'].dtype, np.int32)
      np.testing.assert_array_equal(split.fields['label'], want[name])
    self.assertEqual(corpus.splits['train'].labels['label'], ('b', 'a', 'b'))

  def test_the_text_is_the_same_with_and_without(self):
    folder = self.labelled()
    ours, theirs = self.build(folder), self.build(folder, fields=())
    self.assertEqual(theirs.labels, ())
    for name, split in theirs.splits.items():
      self.assertEmpty(split.fields)
      np.testing.assert_array_equal(split.tokens, ours.splits[name].tokens)

  def test_a_labelled_paragraph_is_one_sentence(self):
    folder = self.labelled('b\tIt is. It was.\na\tIt is.\n')
    corpus = corpora.build(
      folder, 'plain', min_count=1, labelled=True, fields=['label']
    )
    split = corpus.splits['train']
    np.testing.assert_array_equal(split.fields['label'], [1, 0])
    np.testing.assert_array_equal(split.lengths, [7, 4])

  def test_names_may_be_given(self):
    corpus = self.build(self.labelled(), labels=('c', 'b', 'a'))
    self.assertEqual(corpus.labels, ('c', 'b', 'a'))
    label = corpus.splits['train'].fields['label']
    np.testing.assert_array_equal(label, [1, 2, 1])

  def test_another_column_may_be_the_label(self):
    corpus = corpora.build('grammar', fields=['label'], label_column='tense')
    self.assertEqual(corpus.labels, ('future', 'past', 'present'))
    split = corpus.splits['test']
    names = [corpus.labels[i] for i in split.fields['label']]
    self.assertSequenceEqual(names, split.labels['tense'])

  def test_few_labels_are_drawn_equally_many_of_each(self):
    lines = [f'{"abb"[i % 3]}\tw{i}\n' for i in range(30)]
    folder = self.labelled(''.join(lines))
    whole = self.build(folder).splits
    drawn = []
    for most, counts in ((5, [2, 2]), (12, [6, 6]), (24, [10, 12])):
      corpus = self.build(folder, most_labels=most)
      train = corpus.splits['train']
      self.assertEqual(np.bincount(train.fields['label']).tolist(), counts)
      words = corpus.vocab.decode(train.tokens[train.tokens != vocab_lib.EOS])
      # A text keeps its label and its place.
      numbers = [int(word[1:]) for word in words]
      names = [corpus.labels[i] for i in train.fields['label']]
      self.assertEqual(names, ['abb'[number % 3] for number in numbers])
      self.assertEqual(numbers, sorted(numbers))
      drawn.append(set(numbers))
      # Nothing is learnt from the others, not even their words.
      self.assertLen(corpus.vocab, 4 + len(numbers))
      for name in ('valid', 'test'):
        self.assertLen(corpus.splits[name], len(whole[name]))
    self.assertLess(drawn[0], drawn[1])
    self.assertLess(drawn[1], drawn[2])

  def test_fewer_texts_than_labels_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'most_labels = 1 .*at least 2'):
      self.build(self.labelled(), most_labels=1)

  @pytest.mark.corpus
  def test_few_labels_of_a_corpus_of_known_size(self):
    split = corpora.build(
      'sentence_polarity', fields=['label'], most_labels=50
    ).splits['train']
    self.assertEqual(np.bincount(split.fields['label']).tolist(), [25, 25])

  def test_a_label_that_is_never_trained_is_refused(self):
    folder = self.labelled(test='a\tx\nc\tx\n')
    message = "test: 1 values of 'label' never occur in the training text: 'c'"
    with self.assertRaisesRegex(ValueError, message):
      self.build(folder)

  def test_a_corpus_without_labels_is_refused(self):
    with self.assertRaisesRegex(ValueError, "no 'label'; there are no others"):
      self.build(self.labelled(), labelled=False)
    with self.assertRaisesRegex(
      ValueError, "no 'label'; there are tags, topic"
    ):
      corpora.build('grammar', fields=['label'], label_column='label')

  def test_the_first_label_of_a_corpus_is_its_own(self):
    corpus = corpora.build('grammar', fields=['label'])
    self.assertEqual(corpus.labels, ('garden', 'kitchen', 'school', 'sea'))

  @parameterized.parameters(
    ({'fields': ['lable']}, "Did you mean 'label'"),
    ({'fields': ['label', 'tags']}, 'one list of label names'),
    ({'stream': True}, 'a stream has no sentences'),
  )
  def test_illegal_arguments_are_refused(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      self.build(self.labelled(), **arguments)


class SplitTest(absltest.TestCase):
  def split(self, tokens=(4, 2, 3, 3, 2), lengths=(2, 3), **fields):
    lengths = np.int32(lengths)
    return corpora.Split(
      np.int32(tokens),
      np.cumsum(lengths) - lengths,
      lengths,
      0,
      0,
      {},
      fields=fields,
    )

  def test_unknown_tokens_are_a_share_of_all(self):
    self.assertEqual(self.split().unknown_share, 2 / 5)
    vocab = vocab_lib.Vocabulary.build('word', [['a']])
    split = corpora.encode_lines(['a b', 'c c'], 'mikolov', vocab)
    self.assertEqual(split.unknown_share, 3 / 6)

  def test_a_hash_is_that_of_the_content(self):
    split = self.split()
    self.assertEqual(split.content_hash, self.split().content_hash)
    self.assertIs(split.content_hash, split.content_hash)  # Kept.
    others = (
      self.split(tokens=(4, 2, 3, 4, 2)),
      self.split(lengths=(3, 2)),
      self.split(label=np.int32([0, 1])),
      self.split(label=np.int32([1, 1])),
    )
    hashes = {split.content_hash, *(other.content_hash for other in others)}
    self.assertLen(hashes, 5)


class EncodeLinesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.vocab = vocab_lib.Vocabulary.build(
      'word', [['a', 'b', '.', 'it', 'is']]
    )

  def test_keeps_one_entry_for_each_line_that_is_not_blank(self):
    lines = ['It is. Is it.\n', '', ' \t', 'Never.']
    split = corpora.encode_lines(lines, 'plain', self.vocab)
    np.testing.assert_array_equal(split.lengths, [7, 3])
    np.testing.assert_array_equal(split.sentence(0), [8, 7, 4, 7, 8, 4, 2])
    np.testing.assert_array_equal(split.sentence(1), [3, 4, 2])
    self.assertEqual((split.num_empty, split.num_truncated), (2, 0))

  def test_a_line_without_tokens_is_an_empty_sentence(self):
    split = corpora.encode_lines(['&nbsp;', 'a'], 'tweet', self.vocab)
    np.testing.assert_array_equal(split.tokens, [2, 5, 2])
    np.testing.assert_array_equal(split.lengths, [1, 2])

  def test_refuses_blank_input_and_foreign_vocabularies(self):
    with self.assertRaisesRegex(ValueError, 'None of the 2 lines'):
      corpora.encode_lines(['', ' '], 'plain', self.vocab)
    with self.assertRaisesRegex(ValueError, 'about characters'):
      corpora.encode_lines(['a'], 'characters', self.vocab)


class GrammarCorpusTest(absltest.TestCase):
  def test_has_all_factors_as_labels_and_no_unknown_word(self):
    corpus = corpora.build('grammar')
    for split in corpus.splits.values():
      self.assertNotIn(vocab_lib.UNK, split.tokens)
      self.assertCountEqual(
        split.labels, ['topic', 'number', 'tense', 'polarity']
      )
      self.assertLen(split.labels['topic'], len(split))
    self.assertEqual(corpus.protocol, 'mikolov')


@pytest.mark.corpus
class PtbTest(absltest.TestCase):
  def test_mikolov_has_its_published_counts(self):
    corpus = build('ptb', 'mikolov')
    words = {s: len(x.tokens) - len(x) for s, x in corpus.splits.items()}
    want = {'train': 887_521, 'valid': 70_390, 'test': 78_669}
    self.assertEqual(words, want)
    sizes = {s: len(x) for s, x in corpus.splits.items()}
    self.assertEqual(sizes, {'train': 42_068, 'valid': 3_370, 'test': 3_761})
    # Published types count `</s>`, but neither `<pad>` nor `<s>`.
    self.assertLen(corpus.vocab, 10_000 + 2)

  def test_tweet_has_its_published_counts(self):
    corpus = build('ptb', '', max_length=60)
    self.assertEqual(corpus.protocol, 'tweet')
    per_sentence = {
      s: round(len(x.tokens) / len(x), 3) for s, x in corpus.splits.items()
    }
    want = {'train': 22.831, 'valid': 22.616, 'test': 22.696}
    self.assertEqual(per_sentence, want)
    truncated = {s: x.num_truncated for s, x in corpus.splits.items()}
    self.assertEqual(truncated, {'train': 123, 'valid': 8, 'test': 6})
    self.assertLen(corpus.vocab, 9_877)

  def test_every_word_decodes_to_what_was_read(self):
    corpus = build('ptb', 'mikolov')
    records = corpora.read('ptb', os.environ['RNNVAE_DATA_DIR'])
    join = protocols.PROTOCOLS['mikolov'].join
    for split in ('valid', 'test'):
      for i in (0, 17, 3_000):
        text = join(corpus.vocab.decode(corpus.splits[split].sentence(i)))
        self.assertEqual(text, records[split][i]['text'])

  def test_another_vocabulary_size_is_no_mismatch(self):
    self.assertLen(build('ptb', 'mikolov', vocab_size=500).vocab, 500)


if __name__ == '__main__':
  absltest.main()
