"""TFDS builders, end to end into a folder of their own."""

import bz2
import contextlib
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
import pytest

from rnnvae_jax.data import builders

TWEETS = """\
source\tauthor\tparty\ttext
s\tann\tD\tWe will "win" this together.
s\tbob\tR\tRT @ann: We will win this together! https://t.co/1
s\tbob\tR\thttps://t.co/2
s\tcid\t\t@ann no.
"""

ARTICLE = """\
{{Infobox|name=Cat}}
[[File:cat.jpg|thumb|A [[cat]] that sits on a very old mat.]]
The '''cat''' ({{lang|la|felis}}) is a [[mammal|small animal]].<ref>No.</ref> It
is {{convert|30|cm|in}} tall.

The cat sat on the [[mat]]{{citation needed|date=May 2015}} for hours &ndash; it
slept. Its weight is <math>x^2</math> on most days.
==A heading that is not a sentence.==
* A bullet that is not a sentence either.
{| class="wikitable"
| A cell that is not a sentence.
|}
Dr. Smith called "the cat" a pet in the U.S. army.
Words that follow no order:
[[Category:Cats]]
""".replace('It\nis', 'It is').replace('it\nslept', 'it slept')


def raw_file(data, *places, url=''):
  sha256 = hashlib.sha256(data).hexdigest()
  return builders.RawFile(places, sha256, len(data), url)


class BuildersTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = os.path.join(self.create_tempdir().full_path, 'tfds')
    self.data_dir = self.create_tempdir().full_path
    environment = {'TFDS_DATA_DIR': self.root, 'RNNVAE_DATA_DIR': ''}
    self.enter_context(mock.patch.dict(os.environ, environment))

  def use_raw(self, name, *raw):
    self.enter_context(mock.patch.object(builders.BUILDERS[name], 'RAW', raw))

  def write(self, name, data):
    path = os.path.join(self.data_dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
      f.write(data)

  def use_ptb(self, url=''):
    """A tiny text takes the place of the treebank."""
    texts = {s: f' {s} <unk> N \n the end \n'.encode() for s in builders.SPLITS}
    raw = []
    for split, data in texts.items():
      name = f'ptb.{split}.txt'
      raw.append(
        raw_file(data, f'ptb/{name}', name, url=url and f'{url}/{name}')
      )
    self.use_raw('ptb', *raw)
    return {f'ptb.{split}.txt': data for split, data in texts.items()}

  def prepared(self, pattern='*'):
    return glob.glob(f'{self.root}/rnnvae_ptb/*/{pattern}')

  @parameterized.parameters('ptb', '.')
  def test_prepares_local_files_and_reads_them_again(self, folder):
    for name, data in self.use_ptb().items():
      self.write(f'{folder}/{name}', data)
    first = builders.load('ptb', self.data_dir)
    self.assertEqual(
      first['valid'], [{'text': 'valid <unk> N'}, {'text': 'the end'}]
    )
    with mock.patch.object(builders, '_prepare') as prepare:
      self.assertEqual(builders.load('ptb', self.data_dir), first)
      # Prepared data need no raw files.
      self.assertEqual(builders.load('ptb'), first)
    prepare.assert_not_called()

  def test_finds_raw_files_by_the_environment(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    with mock.patch.dict(os.environ, {'RNNVAE_DATA_DIR': self.data_dir}):
      self.assertLen(builders.load('ptb')['train'], 2)

  def test_says_nothing(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      builders.load('ptb', self.data_dir)
    self.assertEqual((out.getvalue(), err.getvalue()), ('', ''))

  def test_another_text_is_refused_even_if_the_right_one_is_prepared(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    builders.load('ptb', self.data_dir)
    self.write('ptb.test.txt', b'another text')
    with self.assertRaisesRegex(ValueError, r'ptb\.test\.txt is not the file'):
      builders.load('ptb', self.data_dir)

  @parameterized.parameters(
    'truncate', 'change', 'remove', 'remove info', 'truncate info', 'empty info'
  )
  def test_damaged_preparation_is_refused(self, how):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    builders.load('ptb', self.data_dir)
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
      builders.load('ptb', self.data_dir)
    shutil.rmtree(os.path.dirname(path))
    self.assertLen(builders.load('ptb', self.data_dir)['valid'], 2)

  def test_an_interrupted_preparation_is_done_again(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    cls = builders.BUILDERS['ptb']

    def records(self, *paths):
      del self, paths
      yield 'train', {'text': 'a'}
      raise KeyboardInterrupt

    with (
      mock.patch.object(cls, '_records', records),
      self.assertRaises(KeyboardInterrupt),
    ):
      builders.load('ptb', self.data_dir)
    self.assertLen(builders.load('ptb', self.data_dir)['train'], 2)

  def test_a_killed_preparation_is_done_again(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    code = f"""
      import os
      from rnnvae_jax.data import builders
      cls = builders.BUILDERS['ptb']
      cls.RAW = {builders.BUILDERS['ptb'].RAW!r}
      generate = cls._generate_examples
      def killed(self, records):
        yield from list(generate(self, records))[:1]
        os.kill(os.getpid(), 9)
      cls._generate_examples = killed
      builders.load('ptb', {self.data_dir!r})
    """.replace('RawFile(', 'builders.RawFile(')
    command = [sys.executable, '-c', textwrap.dedent(code)]
    self.assertEqual(subprocess.run(command, check=False).returncode, -9)
    self.assertEmpty(self.prepared('dataset_info.json'))
    self.assertLen(builders.load('ptb', self.data_dir)['train'], 2)

  def test_two_processes_may_prepare_at_once(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    cls = builders.BUILDERS['ptb']
    records = cls._records
    others = []

    def slow(self, *paths):
      if not others:  # While we prepare, another one starts and ends.
        others.append('started')
        others.append(builders.load('ptb', os.path.dirname(paths[0])))
      yield from records(self, *paths)

    with mock.patch.object(cls, '_records', slow):
      self.assertEqual(builders.load('ptb', self.data_dir), others[1])

  def test_an_unwritable_folder_is_named(self):
    for name, data in self.use_ptb().items():
      self.write(name, data)
    os.environ['TFDS_DATA_DIR'] = os.path.join(self.data_dir, 'ptb.train.txt')
    with self.assertRaisesRegex(PermissionError, r'Set \$TFDS_DATA_DIR'):
      builders.load('ptb', self.data_dir)

  def test_a_missing_data_folder_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "'/no/such' does not exist"):
      builders.load('ptb', '/no/such')

  def test_a_corpus_that_is_not_public_says_which_file_it_wants(self):
    message = r'not served in public. Put politician_tweets/by_author\.tsv'
    with self.assertRaisesRegex(FileNotFoundError, message):
      builders.load('politicians')

  def test_a_missing_package_is_named(self):
    with (
      mock.patch.object(builders.BUILDERS['lee'], 'PACKAGE', 'no_such_package'),
      self.assertRaisesRegex(ImportError, 'pip install no_such_package'),
    ):
      builders.load('lee')

  def test_politicians_keep_one_of_the_same_texts_with_its_labels(self):
    want = [
      ('ann', 'D', 'We will "win" this together.'),
      ('cid', '', '@ann no.'),
    ]
    path = self.create_tempfile(content=TWEETS).full_path
    records = [r for _, r in builders.RnnvaePoliticians._records(None, path)]
    self.assertEqual(
      [(r['author'], r['party'], r['text']) for r in records], want
    )

  def test_wikipedia_sentences_are_prose_without_markup(self):
    want = [
      'The cat is a small animal.',
      'The cat sat on the mat for hours – it slept.',
      'Dr. Smith called "the cat" a pet in the U.S. army.',
    ]
    self.assertEqual(list(builders.wikipedia_sentences(ARTICLE)), want)

  def test_a_wikipedia_article_is_in_one_split(self):
    namespace = 'http://www.mediawiki.org/xml/export-0.10/'
    page = '<page><title>{}</title><ns>{}</ns><id>1</id><revision><text>{}'
    pages = ''.join(
      page.format(title, number, text) + '</text></revision></page>'
      for title, number, text in (
        ('One', 0, 'The first cat sat here. The second cat sat there.'),
        ('Two', 0, 'The first cat sat here. The third cat sat there.'),
        ('Talk', 1, 'This page is no article at all.'),
      )
    )
    xml = f'<mediawiki xmlns="{namespace}"><siteinfo/>{pages}</mediawiki>'
    path = self.create_tempfile(content=bz2.compress(xml.encode())).full_path
    cls = builders.BUILDERS['wikipedia_sample']
    got = [(s, r['text']) for s, r in cls._records(None, path)]
    one, two = (builders._split_of(title, '1') for title in ('One', 'Two'))
    want = [
      (one, 'The first cat sat here.'),
      (one, 'The second cat sat there.'),
      (two, 'The third cat sat there.'),
    ]
    self.assertEqual(got, want)

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
    self.assertLen(builders.load('ptb', self.data_dir)['test'], 2)

  def test_a_download_of_another_text_is_refused_and_not_kept(self):
    texts = self.use_ptb()
    url = self.serve(**texts | {'ptb.test.txt': b'another text'})
    self.use_ptb(url)
    with self.assertRaisesRegex(ValueError, 'SHA-256 or size differ'):
      builders.load('ptb')
    self.use_ptb(self.serve(**texts))
    self.assertLen(builders.load('ptb')['test'], 2)

  def test_without_an_answer_the_files_are_named(self):
    for url in (self.serve(), 'http://127.0.0.1:9'):
      self.use_ptb(url)
      message = rf'downloaded from {url} .*Put ptb/ptb\.train\.txt, .*not set'
      with self.assertRaisesRegex(FileNotFoundError, message):
        builders.load('ptb')


class SplitTest(absltest.TestCase):
  def test_shares_are_90_5_and_5_per_cent(self):
    splits = [builders._split_of(str(i)) for i in range(4_000)]
    # Three standard deviations of a binomial count.
    self.assertBetween(splits.count('train'), 3_600 - 57, 3_600 + 57)
    self.assertBetween(splits.count('valid'), 200 - 42, 200 + 42)

  def test_a_text_keeps_its_split_for_ever(self):
    self.assertEqual(
      [builders._split_of(t) for t in ('4', '5', '20', 'a')],
      ['train', 'valid', 'test', 'train'],
    )


class InstalledTest(absltest.TestCase):
  """Corpora that come with gensim."""

  def test_wikipedia_sample_is_split_by_article(self):
    splits = builders.load('wikipedia_sample')
    sizes = {split: len(records) for split, records in splits.items()}
    self.assertEqual(sizes, {'train': 14_463, 'valid': 912, 'test': 882})
    texts = [r['text'] for records in splits.values() for r in records]
    self.assertLen(set(texts), len(texts))

  def test_lee_has_its_sentences(self):
    splits = builders.load('lee')
    sizes = {split: len(records) for split, records in splits.items()}
    self.assertEqual(sizes, {'train': 2_471, 'valid': 140, 'test': 135})
    texts = [r['text'] for records in splits.values() for r in records]
    self.assertLen(set(texts), len(texts))


@pytest.mark.corpus
class PoliticiansTest(absltest.TestCase):
  def test_no_text_is_in_two_splits(self):
    splits = builders.load('politicians')
    forms = {
      split: {builders.normal_form(r['text']) for r in records}
      for split, records in splits.items()
    }
    self.assertEqual(sum(map(len, forms.values())), 14_442)
    beginnings = [{f[:40] for f in forms[s]} for s in builders.SPLITS]
    for i in range(3):
      self.assertLen(forms[builders.SPLITS[i]], len(splits[builders.SPLITS[i]]))
      for j in range(i):
        self.assertEmpty(beginnings[i] & beginnings[j])


if __name__ == '__main__':
  absltest.main()
