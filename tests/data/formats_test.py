"""Text files and folders."""

import gzip
import io
import os
from unittest import mock

from absl.testing import absltest, parameterized

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
    ('a\nb'.encode('utf-16'), r'text\.txt is binary'),
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

  def test_a_missing_file_and_a_folder_are_no_files(self):
    folder = self.create_tempdir().full_path
    for path in (folder, os.path.join(folder, 'absent.txt')):
      with self.assertRaisesRegex(FileNotFoundError, path):
        formats.read_lines(path)


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

  def test_a_missing_split_is_named_with_what_is_there(self):
    folder = self.folder(train_txt='a', val_txt='c', test_txt='d')
    message = r'valid\.txt is missing.*holds test\.txt, train\.txt, val\.txt'
    with self.assertRaisesRegex(FileNotFoundError, message):
      formats.read(folder)


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
