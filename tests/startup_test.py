"""A process imports what its work needs, and no more."""

import contextlib
import os
import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp

from rnnvae_jax import startup
from rnnvae_jax.training import checkpoints, optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

import helpers

# Neither the package itself nor reading a run needs these; some take seconds.
NOT_TO_READ = (
  'array_record',
  'gensim',
  'grain',
  'matplotlib',
  'nltk',
  'optax',
  'orbax',
  'sacrebleu',
  'scipy',
  'sklearn',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
  'tensorstore',
  'torch',
)
AT_ALL = ('absl', 'clu', 'flax', 'jax', 'ml_collections', 'numpy', *NOT_TO_READ)


def imported(program, names, *arguments):
  """Which of the modules a process has at its end, and what it wrote."""
  program += (
    '\nimport sys\n'
    f'print("HAS", *(name for name in {names} if name in sys.modules))'
  )
  done = subprocess.run(
    [sys.executable, '-c', program, *arguments],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  printed, _, found = done.stdout.rpartition('HAS')
  return found.split(), printed


def make_run(root):
  """The folder of a language model that has been saved, not trained."""
  workdir, folder = os.path.join(root, 'run'), os.path.join(root, 'text')
  os.makedirs(folder)
  for split in ('train', 'valid', 'test'):
    with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
      file.write('a b b c .\nb a d .\n')
  config = helpers.make_config(
    'language_model',
    **{
      'corpus.name': folder,
      'corpus.protocol': 'mikolov',
      'model.embedding_size': 5,
      'model.hidden_size': 6,
    },
  )
  corpus = preparation.prepare(config, workdir)
  task = helpers.make_task(config, corpus.vocab)
  state = state_lib.create(task, optimizers.build(config), 0)
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), corpus.vocab.content_hash
  )
  state = state.replace(step=jnp.int32(7))
  saved.save(optimizers.weights(state), 7, 'best')
  return workdir


class ImportsTest(parameterized.TestCase):
  def test_the_package_itself_imports_no_library(self):
    found, _ = imported('import rnnvae_jax', AT_ALL)
    self.assertEmpty(found)

  def test_an_import_is_found(self):
    found, printed = imported('import numpy, rnnvae_jax\nprint(1)', AT_ALL)
    self.assertEqual((found, printed), (['numpy'], '1\n'))

  def test_a_score_imports_neither_training_s_libraries_nor_corpora_s(self):
    workdir = make_run(self.create_tempdir().full_path)
    lines = self.create_tempfile(content='a b .\nd c b .\n').full_path
    found, printed = imported(
      'from absl import app\nfrom rnnvae_jax import main\n'
      'from rnnvae_jax.config import command_line\n'
      'try:\n  app.run(main.main, flags_parser=command_line.parse)\n'
      'except SystemExit as stop:\n  assert not stop.code, stop.code\n',
      NOT_TO_READ,
      '--mode=score',
      f'--workdir={workdir}',
      f'--config.generate.input={lines}',
    )
    self.assertEmpty(found)
    self.assertLen(printed.splitlines(), 3)

  def test_the_writer_imports_tensorboardx_without_torch(self):
    folder = self.create_tempdir().full_path
    found, _ = imported(
      'from rnnvae_jax.training import writers\n'
      f'with writers.Writer({folder!r}) as writer:\n'
      '  writer.write(1, {"train/loss": 2.0})\n',
      ('tensorboardX', 'torch'),
    )
    self.assertEqual(found, ['tensorboardX'])


class CacheTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    names = (
      'jax_compilation_cache_dir',
      'jax_compilation_cache_max_size',
      'jax_persistent_cache_min_compile_time_secs',
    )
    for name in names:
      self.addCleanup(jax.config.update, name, getattr(jax.config, name))

  def set_up(self, **variables):
    with mock.patch.dict(os.environ, variables):
      if startup._CACHE not in variables:
        os.environ.pop(startup._CACHE, None)
      startup._cache_compilations()
    return jax.config.jax_compilation_cache_dir

  def test_halves_of_entries_are_dropped(self):
    kept = {'a-cache', 'a-atime', '.lockfile'}
    for name in (*kept, 'b-cache', 'c-atime'):
      (self.folder / name).write_bytes(b'')
    startup._drop_orphans(self.folder)
    self.assertEqual({path.name for path in self.folder.iterdir()}, kept)

  def test_it_is_one_of_the_user_s(self):
    found = self.set_up(XDG_CACHE_HOME=str(self.folder))
    self.assertStartsWith(found, str(self.folder))
    self.assertTrue(os.path.isdir(found))

  @parameterized.parameters('XDG_CACHE_HOME', startup._CACHE)
  def test_a_place_that_cannot_be_written_is_one_line(self, variable):
    blocked = self.folder / 'file'
    blocked.write_text('')
    with self.assertLogs('absl', level='WARNING') as logs:
      self.assertIsNone(self.set_up(**{variable: str(blocked / 'cache')}))
    self.assertLen(logs.output, 1)
    self.assertIn(f'Set ${startup._CACHE}', logs.output[0])

  def test_without_a_home_no_folder_named_after_it_is_made(self):
    missing = mock.patch.object(os.path, 'expanduser', lambda path: path)
    self.enter_context(contextlib.chdir(self.folder))
    with missing, self.assertLogs('absl', level='WARNING') as logs:
      self.assertIsNone(self.set_up(XDG_CACHE_HOME=''))
    self.assertLen(logs.output, 1)
    self.assertEmpty([*self.folder.iterdir()])


class ReadersTest(absltest.TestCase):
  def test_what_trains_outlives_the_reader_of_its_lines(self):
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, 'w')
    with (
      contextlib.redirect_stdout(stream),
      self.assertLogs('absl', level='WARNING') as logs,
      startup.outliving_readers(),
    ):
      for _ in range(3):
        print('line', flush=True)
    self.assertLen(logs.output, 1)
    stream.close()  # Without an error: all has been dropped.

  def test_what_writes_for_a_reader_ends_with_it(self):
    reading, writing = os.pipe()
    os.close(reading)
    with (
      contextlib.redirect_stdout(os.fdopen(writing, 'w')) as stream,
      self.assertRaises(SystemExit) as ended,
      startup.errors_as_messages(),
    ):
      print('line', flush=True)
    self.assertEqual(ended.exception.code, 141)
    stream.close()


if __name__ == '__main__':
  absltest.main()
