"""Preparing corpora from raw files, end to end into a folder of their own."""

import contextlib
import dataclasses
import functools
import glob
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from unittest import mock

from absl.testing import absltest, parameterized

from rnnvae_jax.data import prepared
from rnnvae_jax.data.sources import (
  base,
  lee,
  politicians,
  ptb,
  sentence_polarity,
)


def raw_file(data, *places, url=''):
  sha256 = hashlib.sha256(data).hexdigest()
  return base.RawFile(places, sha256, len(data), url)


class PreparedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = os.path.join(self.create_tempdir().full_path, 'tfds')
    self.data_dir = self.create_tempdir().full_path
    self.source = ptb.SOURCE
    environment = {'TFDS_DATA_DIR': self.root, 'RNNVAE_DATA_DIR': ''}
    self.enter_context(mock.patch.dict(os.environ, environment))

  def load(self, data_dir=None):
    return prepared.load(self.source, data_dir)

  def write(self, name, data):
    path = os.path.join(self.data_dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
      f.write(data)

  def use_ptb(self, url=''):
    """A tiny text takes the place of the treebank."""
    texts = {s: f' {s} <unk> N \n the end \n'.encode() for s in base.SPLITS}
    raw = []
    for split, data in texts.items():
      name = f'ptb.{split}.txt'
      raw.append(
        raw_file(data, f'ptb/{name}', name, url=url and f'{url}/{name}')
      )
    self.source = dataclasses.replace(ptb.SOURCE, raw=tuple(raw))
    return {f'ptb.{split}.txt': data for split, data in texts.items()}

  def prepared(self, pattern='*'):
    return glob.glob(f'{self.root}/rnnvae_ptb/*/{pattern}')

  @parameterized.parameters('ptb', '.')
  def test_prepares_local_files_and_reads_them_again(self, folder):
    for name, data in self.use_ptb().items():
      self.write(f'{folder}/{name}', data)
    first = self.load(self.data_dir)
    self.assertEqual(
      first['valid'], [{'text': 'valid <unk> N'}, {'text': 'the end'}]
    )
    with mock.patch.object(prepared, '_prepare') as prepare:
      self.assertEqual(self.load(self.data_dir), first)
      # Prepared data need no raw files.
      self.assertEqual(self.load(), first)
    prepare.assert_not_called()

  def test_finds_raw_files_by_the_environment(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    with mock.patch.dict(os.environ, {'RNNVAE_DATA_DIR': self.data_dir}):
      self.assertLen(self.load()['train'], 2)

  def test_says_nothing(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      self.load(self.data_dir)
    self.assertEqual((out.getvalue(), err.getvalue()), ('', ''))

  def test_another_text_is_refused_even_if_the_right_one_is_prepared(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    self.load(self.data_dir)
    self.write('ptb.test.txt', b'another text')
    with self.assertRaisesRegex(ValueError, r'ptb\.test\.txt is not the file'):
      self.load(self.data_dir)

  @parameterized.parameters(
    'truncate', 'change', 'remove', 'remove info', 'truncate info', 'empty info'
  )
  def test_damaged_preparation_is_refused(self, how):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    self.load(self.data_dir)
    how, _, info = how.partition(' ')
    pattern = 'dataset_info.json' if info else '*-valid.*'
    (path,) = self.prepared(pattern)
    with open(path, 'rb') as f:
      data = bytearray(f.read())
    os.remove(path)
    if how == 'empty':
      data = b'{}'
    else:
      data[150] ^= 255  # In the first record.
    if how != 'remove':
      with open(path, 'wb') as f:
        f.write(data[: len(data) // 2] if how == 'truncate' else data)
    with self.assertRaisesRegex(ValueError, 'is damaged .*Delete that folder'):
      self.load(self.data_dir)
    shutil.rmtree(os.path.dirname(path))
    self.assertLen(self.load(self.data_dir)['valid'], 2)

  def test_an_interrupted_preparation_is_done_again(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    whole = self.source

    def records(*paths):
      del paths
      yield 'train', {'text': 'a'}
      raise KeyboardInterrupt

    self.source = dataclasses.replace(whole, records=records)
    with self.assertRaises(KeyboardInterrupt):
      self.load(self.data_dir)
    self.source = whole
    self.assertLen(self.load(self.data_dir)['train'], 2)

  def test_a_killed_preparation_is_done_again(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    code = f"""
      import dataclasses, os
      from rnnvae_jax.data import prepared
      from rnnvae_jax.data.sources import ptb
      from rnnvae_jax.data.sources.base import RawFile
      generate = prepared._Builder._generate_examples
      def killed(self, records):
        yield from list(generate(self, records))[:1]
        os.kill(os.getpid(), 9)
      prepared._Builder._generate_examples = killed
      source = dataclasses.replace(ptb.SOURCE, raw={self.source.raw!r})
      prepared.load(source, {self.data_dir!r})
    """
    command = [sys.executable, '-c', textwrap.dedent(code)]
    self.assertEqual(subprocess.run(command, check=False).returncode, -9)
    self.assertEmpty(self.prepared('dataset_info.json'))
    self.assertLen(self.load(self.data_dir)['train'], 2)

  def test_two_processes_may_prepare_at_once(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    alone = self.source
    others = []

    def slow(*paths):
      # While we prepare, another one starts and ends.
      others.append(prepared.load(alone, os.path.dirname(paths[0])))
      yield from alone.records(*paths)

    self.source = dataclasses.replace(alone, records=slow)
    self.assertEqual(self.load(self.data_dir), others[0])

  @parameterized.parameters('file', 'no home')
  def test_a_place_that_cannot_be_written_is_one_line(self, place):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    want = self.load(self.data_dir)
    blocked = os.path.join(self.data_dir, 'ptb.train.txt')
    root = blocked if place == 'file' else '~/tensorflow_datasets'
    os.environ['TFDS_DATA_DIR'] = root
    self.enter_context(contextlib.chdir(self.create_tempdir().full_path))
    with self.assertLogs('absl', level='WARNING') as logs:
      self.assertEqual(self.load(self.data_dir), want)
    self.assertLen(logs.output, 1)
    self.assertRegex(logs.output[0], r'Set \$TFDS_DATA_DIR .* prepares it anew')
    self.assertEmpty(os.listdir())  # No folder with the name `~`.

  def test_a_length_that_is_not_that_of_the_files_is_damage(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    self.load(self.data_dir)
    (path,) = self.prepared('dataset_info.json')
    with open(path) as file:
      text = file.read()
    self.assertIn('"2"', text)
    with open(path, 'w') as file:
      file.write(text.replace('"2"', '"1"'))
    with self.assertRaisesRegex(
      ValueError, 'has 2 records instead of 1.*Delete'
    ):
      self.load(self.data_dir)

  def test_a_missing_data_folder_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "'/no/such' does not exist"):
      self.load('/no/such')

  def test_a_corpus_that_is_not_public_says_which_file_it_wants(self):
    message = r'not served in public. Put politician_tweets/by_author\.tsv'
    with self.assertRaisesRegex(FileNotFoundError, message):
      prepared.load(politicians.SOURCE)

  def test_a_corpus_that_another_program_downloads_names_it(self):
    message = r'nltk\.downloader .*Put sentence_polarity/rt-polarity\.neg, '
    with self.assertRaisesRegex(FileNotFoundError, message):
      prepared.load(sentence_polarity.SOURCE)

  def test_a_missing_package_is_named(self):
    source = dataclasses.replace(lee.SOURCE, package='no_such_package')
    with self.assertRaisesRegex(ImportError, 'pip install no_such_package'):
      prepared.load(source)

  def serve(self, **files):
    """Serves files on the loopback; returns their address."""
    folder = self.create_tempdir()
    for name, data in files.items():
      folder.create_file(name, data, mode='wb')

    class Handler(http.server.SimpleHTTPRequestHandler):
      def log_message(self, *arguments):
        del arguments

    handler = functools.partial(Handler, directory=folder.full_path)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    self.addCleanup(thread.join)
    self.addCleanup(server.server_close)
    self.addCleanup(server.shutdown)
    return f'http://127.0.0.1:{server.server_port}'

  def test_downloads_what_is_not_there(self):
    url = self.serve(**self.use_ptb())
    self.use_ptb(url)
    self.assertLen(self.load(self.data_dir)['test'], 2)

  def test_a_download_of_another_text_is_refused_and_not_kept(self):
    texts = self.use_ptb()
    url = self.serve(**texts | {'ptb.test.txt': b'another text'})
    self.use_ptb(url)
    with self.assertRaisesRegex(ValueError, 'SHA-256 or size differ'):
      self.load()
    self.use_ptb(self.serve(**texts))
    self.assertLen(self.load()['test'], 2)

  def test_without_an_answer_the_files_are_named(self):
    for url in (self.serve(), 'http://127.0.0.1:9'):
      self.use_ptb(url)
      message = rf'downloaded from {url} .*Put ptb/ptb\.train\.txt, .*not set'
      with self.assertRaisesRegex(FileNotFoundError, message):
        self.load()


if __name__ == '__main__':
  absltest.main()
