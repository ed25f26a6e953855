"""Text files and folders."""

import gzip
import io
import itertools
import os
import subprocess
import threading
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import formats


class ReadLinesTest(parameterized.TestCase):
  def write(self, data, name='text.txt'):
    path = os.path.join(self.create_tempdir().full_path, name)
    with open(path, 'wb') as f:
      f.write(data)
    return path

  @parameterized.parameters(b'a\n\nb c', b'a\n\nb c\n', b'\xef\xbb\xbfa\n\nb c')
  def test_reads_lines_with_and_without_final_newline_and_mark(self, data):
    self.assertEqual(formats.read_lines(self.write(data)), ['a', '', 'b c'])

  def test_only_newlines_end_lines(self):
    data = 'a\x0cb\u2028c\x85d\x1ce\nf'.encode()
    self.assertLen(formats.read_lines(self.write(data)), 2)

  @parameterized.parameters(b'a\r\n\r\nb\r\n', b'a\r\rb\r', b'a\r\n\nb')
  def test_reads_the_line_ends_of_all_systems(self, data):
    self.assertEqual(formats.read_lines(self.write(data)), ['a', '', 'b'])

  def test_a_carriage_return_within_a_line_ends_none(self):
    self.assertEqual(formats.read_lines(self.write(b'a\rb\nc')), ['a\rb', 'c'])

  def test_text_as_given_keeps_its_carriage_returns(self):
    path = self.write(b'a\r\n\rb\r\n')
    self.assertEqual(formats.read_lines(path, as_given=True), ['a\r', '\rb\r'])

  @parameterized.parameters(b'a\n\nb\n', gzip.compress(b'a\n\nb\n'))
  def test_reads_a_named_pipe(self, data):
    path = os.path.join(self.create_tempdir().full_path, 'pipe')
    os.mkfifo(path)

    def write():
      with open(path, 'wb') as pipe:
        pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    self.assertEqual(formats.read_lines(path), ['a', '', 'b'])
    thread.join()

  def test_an_empty_device_is_empty(self):
    with self.assertRaisesRegex(
      ValueError, '/dev/null is empty; a pipe can be'
    ):
      formats.read_lines('/dev/null')

  def test_reads_gzip(self):
    path = self.write(gzip.compress(b'a\nb\n'), 'text.txt.gz')
    self.assertEqual(formats.read_lines(path), ['a', 'b'])

  def test_reads_standard_input(self):
    stdin = io.TextIOWrapper(io.BytesIO('é\nb\n'.encode()))
    with mock.patch('sys.stdin', stdin):
      self.assertEqual(formats.read_lines('-'), ['é', 'b'])

  def test_standard_input_is_checked_as_well(self):
    stdin = io.TextIOWrapper(io.BytesIO(b'a\n\xe9'))
    with (
      mock.patch('sys.stdin', stdin),
      self.assertRaisesRegex(ValueError, 'standard input, line 2'),
    ):
      formats.read_lines('-')

  @parameterized.parameters(
    (b'', r'text\.txt is empty'),
    (b' \n\n', r'text\.txt is empty'),
    (b'\xef\xbb\xbf', r'text\.txt is empty'),
    (b'a\nb\0c', r'text\.txt is binary: .* line 2'),
    (
      'a\nb'.encode('utf-16'),
      r'text\.txt is UTF-16.*`iconv -f UTF-16 -t UTF-8',
    ),
    ('a\nb'.encode('utf-16-le'), r'text\.txt is binary'),
    (b'a\nb\nc\xe9d\n', r'text\.txt, line 3: byte 0xe9 is not UTF-8'),
    (b'\xef\xbb\xbfa\nb\xff', r'text\.txt, line 2: byte 0xff'),
    (b'a\nb\xc3', r'text\.txt, line 2: byte 0xc3'),
  )
  def test_refuses_what_is_no_text(self, data, message):
    path = self.write(data)
    with self.assertRaisesRegex(ValueError, message):
      formats.read_lines(path)

  @parameterized.parameters(
    b'no gzip',
    gzip.compress(b'a' * 99)[:-9],
    gzip.compress(b'a')[:10] + b'xxxx',
  )
  def test_refuses_a_damaged_gzip_file(self, data):
    path = self.write(data, 'text.txt.gz')
    with self.assertRaisesRegex(ValueError, r'gz is no intact gzip file'):
      formats.read_lines(path)

  def test_refuses_a_gzip_file_that_would_fill_the_memory(self):
    size = 64
    with mock.patch.object(formats, '_SMALL_BYTES', size):
      text = b'ab\n' * (size // 3)
      path = self.write(gzip.compress(text), 'text.txt.gz')
      self.assertLen(formats.read_lines(path), size // 3)
      zeros = gzip.compress(b'a' * 10**6)
      self.assertGreater(10**6, formats._LARGEST_RATIO * len(zeros))
      path = self.write(zeros, 'zeros.txt.gz')
      with self.assertRaisesRegex(ValueError, 'unpacks to more than'):
        formats.read_lines(path)

  def test_a_missing_file_and_a_folder_are_no_files(self):
    folder = self.create_tempdir().full_path
    for path in (folder, os.path.join(folder, 'absent.txt')):
      with self.assertRaisesRegex(FileNotFoundError, path):
        formats.read_lines(path)


RUSSIAN = 'Москва — столица России. Он долго молчал и смотрел в окно.'
CHINESE = '北京是中华人民共和国的首都。他在房间里坐了很久,看着窗外的街道。'
FRENCH = 'Le café était fermé à l’heure où nous sommes arrivés. Où êtes-vous ?'


class EncodingTest(parameterized.TestCase):
  def message(self, data):
    path = self.create_tempfile(content=data, mode='wb').full_path
    with self.assertRaises(ValueError) as raised:
      formats.read_lines(path)
    return str(raised.exception)

  @parameterized.parameters(
    (RUSSIAN, 'cp1251', 'CP1251'),
    (RUSSIAN.replace('—', '-'), 'koi8-r', 'KOI8-R'),
    (CHINESE, 'gb18030', 'GB18030'),
  )
  def test_a_clear_encoding_is_named_as_iconv_does(self, text, codec, name):
    data = f'a line of ascii\n{text}\n'.encode(codec)
    message = self.message(data)
    self.assertIn(f'line 2: byte 0x{text.encode(codec)[0]:02x}', message)
    self.assertIn(f'looks like {name}: convert', message)
    done = subprocess.run(
      ['iconv', '-f', name, '-t', 'UTF-8'], input=data, capture_output=True
    )
    self.assertIn(text, done.stdout.decode())

  @parameterized.parameters('cp1252', 'cp1254')
  def test_of_latin_letters_no_encoding_is_named(self, codec):
    message = self.message(f'{FRENCH}\n{FRENCH}\n'.encode(codec))
    self.assertIn('from its own encoding', message)
    self.assertIn('`iconv -f ENCODING -t UTF-8', message)
    self.assertNotIn('looks like', message)

  def test_a_few_wrong_bytes_are_damage(self):
    data = f'{FRENCH}\n'.encode() * 9
    message = self.message(data + b'caf\xe9\n' + data)
    self.assertIn('line 10: byte 0xe9', message)
    self.assertIn('Nearly all the rest of the file is UTF-8', message)


class ReadTest(parameterized.TestCase):
  def folder(self, **files):
    folder = self.create_tempdir()
    for name, content in files.items():
      folder.create_file(name.replace('_', '.'), content)
    return folder.full_path

  def test_reads_a_folder(self):
    folder = self.folder(train_txt='a\nb', valid_txt='c', test_txt='d')
    with gzip.open(os.path.join(folder, 'test.txt.gz'), 'w') as f:
      f.write(b'not read, as test.txt is there')
    want = {'train': [{'text': 'a'}, {'text': 'b'}], 'valid': [{'text': 'c'}]}
    self.assertEqual(formats.read(folder), want | {'test': [{'text': 'd'}]})

  def test_reads_compressed_splits(self):
    folder = self.folder(train_txt='a', valid_txt='c')
    with gzip.open(os.path.join(folder, 'test.txt.gz'), 'w') as f:
      f.write(b'd')
    self.assertEqual(formats.read(folder)['test'], [{'text': 'd'}])

  @parameterized.parameters('wiki.{}.tokens', '{}.tokens', 'wiki.{}.raw')
  def test_reads_the_names_of_word_level_corpora(self, name):
    folder = self.create_tempdir()
    for split in formats.SPLITS:
      folder.create_file(name.format(split), f'{split} <unk>\n')
    folder.create_file('README.txt', 'not read')
    got = formats.read(folder.full_path)
    want = {split: [{'text': f'{split} <unk>'}] for split in formats.SPLITS}
    self.assertEqual(got, want)

  def test_a_missing_split_is_named_with_what_is_there(self):
    folder = self.folder(train_txt='a', val_txt='c', test_txt='d')
    message = r'valid\.txt is missing.*holds test\.txt, train\.txt, val\.txt'
    with self.assertRaisesRegex(FileNotFoundError, message):
      formats.read(folder)


class CutTest(parameterized.TestCase):
  def read(self, text, **kwargs):
    path = self.create_tempfile('text.txt', text).full_path
    return {
      split: [record['text'] for record in records]
      for split, records in formats.read(path, **kwargs).items()
    }

  @parameterized.parameters((0.1, 0.0), (0.3, 0.2), (0.05, 0.4))
  def test_a_file_is_cut_at_the_nearest_line_ends(self, valid, test):
    rng = np.random.default_rng(0)
    lines = ['x' * n for n in rng.integers(1, 99, 60)]
    parts = self.read(
      '\n'.join(lines) + '\n', valid_share=valid, test_share=test
    )
    self.assertEqual([*itertools.chain(*parts.values())], lines)
    self.assertEqual(list(parts), ['train', 'valid', 'test'][: 2 + (test > 0)])
    total = sum(len(line) + 1 for line in lines)
    ends = [0, *itertools.accumulate(len(line) + 1 for line in lines)]
    cut = len(parts['train'])
    wanted = total * (1 - valid - test)
    self.assertEqual(
      abs(ends[cut] - wanted), min(abs(end - wanted) for end in ends)
    )

  def test_each_split_has_a_line_even_of_a_few_long_ones(self):
    parts = self.read('a b\nc d e f\ng\n', valid_share=0.01, test_share=0.01)
    want = {'train': ['a b'], 'valid': ['c d e f'], 'test': ['g']}
    self.assertEqual(parts, want)

  def test_too_few_lines_are_refused_with_what_to_do(self):
    with self.assertRaisesRegex(ValueError, "stream = True .* 'characters'"):
      self.read('one line of many words\n')
    with self.assertRaisesRegex(ValueError, r'txt: .* leave none for valid'):
      self.read('a\nb\n', valid_share=0.0)
    with self.assertRaisesRegex(ValueError, 'leave none for valid'):
      self.read('a\nb\n\n', valid_share=0.1)

  def test_a_stream_of_characters_is_cut_anywhere(self):
    parts = self.read('one line of many words\n', as_given=True)
    self.assertEqual(
      parts, {'train': ['one line of many wor'], 'valid': ['ds', '']}
    )


class TableTest(parameterized.TestCase):
  def write(self, name, text):
    return self.create_tempfile(name, text).full_path

  def test_a_table_is_read_by_its_header(self):
    rows = 'id,text,label\n1,"Yes, ""she"" said.",a\n\n2,"two\nlines",b\n'
    path = self.write('x.csv', rows + '3,c,a\n')
    parts = formats.read(path, valid_share=0.2)
    records = [*itertools.chain(*parts.values())]
    want = [
      {'id': '1', 'text': 'Yes, "she" said.', 'label': 'a'},
      {'id': '2', 'text': 'two\nlines', 'label': 'b'},
      {'id': '3', 'text': 'c', 'label': 'a'},
    ]
    self.assertEqual(records, want)

  @parameterized.parameters(
    ('id,body\n1,a\n', "columns id, body: one of them must be named 'text'"),
    ('id,text\n1,a\n2,b,c\n', 'line 3: the row has 3 columns, the header 2'),
    ('id,text\n1,"a" b\n', 'line 2: no row of a table'),
    ('id,text\n', 'no row below its header'),
  )
  def test_what_is_no_such_table_is_refused(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      formats.read(self.write('x.csv', text))

  @parameterized.parameters('id,text\n1,a\n', '"label","text"\n"a","b"\n')
  def test_a_table_that_is_named_as_text_is_refused(self, text):
    with self.assertRaisesRegex(ValueError, 'is a table, and its header'):
      formats.read(self.write('x.txt', text))

  @parameterized.parameters(
    'Text, label and so on.\nb\n', 'text,text\n', 'a,b\nc\n'
  )
  def test_sentences_with_commas_are_no_table(self, text):
    path = self.write('x.txt', text)
    self.assertLen(formats._read_file(path), text.count('\n'))


class ColumnsTest(parameterized.TestCase):
  def read(self, text, name='{}.txt', **kwargs):
    folder = self.create_tempdir()
    for split in formats.SPLITS:
      folder.create_file(name.format(split), text)
    return formats.read(folder.full_path, **{'columns': True, **kwargs})

  @parameterized.parameters('{}.txt', '{}.conll')
  def test_a_sentence_is_tokens_and_tags(self, name):
    text = (
      '-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n\n. . O O'
    )
    want = [
      {'text': 'EU rejects', 'tags': 'I-ORG O'},
      {'text': '.', 'tags': 'O'},
    ]
    self.assertEqual(self.read(text, name)['test'], want)
    self.assertEqual(self.read(text.replace(' ', '\t'), name)['test'], want)

  def test_a_line_without_a_tag_is_named(self):
    with self.assertRaisesRegex(ValueError, r"txt, line 2: 'b' is not a token"):
      self.read('a X\nb\n')
    with self.assertRaisesRegex(ValueError, r'line 1: .* is not a token'):
      self.read('a b\tX\n')
    with self.assertRaisesRegex(ValueError, 'holds no token'):
      self.read('-DOCSTART- O\n')

  def test_a_file_is_cut_between_sentences(self):
    path = self.create_tempfile(content='a X\nb Y\n\nc X\n').full_path
    records = formats.read(path, columns=True, valid_share=0.4)
    self.assertEqual(records['train'], [{'text': 'a b', 'tags': 'X Y'}])
    self.assertEqual(records['valid'], [{'text': 'c', 'tags': 'X'}])

  def test_columns_are_counted_from_either_end(self):
    text = '1\tEU\tN\tx\n2\tor\tC\ty\n'
    want = [{'text': 'EU or', 'tags': 'N C'}]
    for word, tag in ((2, 3), (-3, -2)):
      found = self.read(text, word_column=word, tag_column=tag)
      self.assertEqual(found['train'], want)
    with self.assertRaisesRegex(ValueError, 'line 1: .*tag_column = 5'):
      self.read(text, tag_column=5)

  def test_a_tag_that_breaks_the_scheme_has_its_line(self):
    text = 'a O\n\n-DOCSTART- O\n\nb B-X\nc I-Y\n'
    with self.assertRaisesRegex(ValueError, "txt, line 6: in bio 'I-Y' must"):
      self.read(text, tag_scheme='bio')
    self.assertLen(self.read(text, tag_scheme='none')['train'], 2)


class PrefixesTest(parameterized.TestCase):
  @parameterized.parameters(
    (['a\tx', 'b\ty', '', 'a\tz', 'b\tw'], 2),
    (['a\tx', 'b\ty', 'a\tz', 'no tab'], 0),
    (['a\tx\ty', 'a\tx', 'a\tx'], 0),
    (['a\tx', 'b\ty', 'c\tz'], 0),  # All differ: columns, not labels.
    (['', ' '], 0),
  )
  def test_counts_what_seem_to_be_labels(self, lines, want):
    self.assertEqual(formats.prefixes([{'text': x} for x in lines]), want)


class LabelledTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, text, name='yahoo.{}.txt'):
    for split in formats.SPLITS:
      path = os.path.join(self.folder, name.format(split))
      with open(path, 'w') as file:
        file.write(text)

  def test_a_label_and_a_tab_come_first(self):
    self.write('5\ta b c\n0\td\te\n\n')
    records = formats.read(self.folder, labelled=True)
    self.assertEqual(
      records['valid'],
      [
        {'text': 'a b c', 'label': '5'},
        {'text': 'd\te', 'label': '0'},
        {'text': '', 'label': ''},
      ],
    )
    unlabelled = formats.read(self.folder)['valid'][0]
    self.assertEqual(unlabelled, {'text': '5\ta b c'})

  def test_names_the_line_without_one(self):
    self.write('5\ta b c\na b\n')
    with self.assertRaisesRegex(ValueError, r'train\.txt, line 2 has no tab'):
      formats.read(self.folder, labelled=True)

  def test_a_plain_name_comes_before_a_longer_one_and_two_are_refused(self):
    self.write('of yahoo\n')
    self.write('of yelp\n', 'yelp.{}.txt')
    with self.assertRaisesRegex(ValueError, 'more than one train split'):
      formats.read(self.folder)
    self.write('plain\n', '{}.txt')
    self.assertEqual(formats.read(self.folder)['test'], [{'text': 'plain'}])


if __name__ == '__main__':
  absltest.main()
