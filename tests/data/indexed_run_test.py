"""A run on an index: by the command line, resumed, and as on text in memory."""

import contextlib
import io
import json
import os
import pathlib
import random
import sys
from unittest import mock

from absl.testing import absltest, flagsaver
import grain.python  # noqa: F401 (its flags would be dropped with `flagsaver`)
import jax
import numpy as np
import pytest

from rnnvae_jax import main
from rnnvae_jax.config import command_line
from rnnvae_jax.training import checkpoints, loop
from rnnvae_jax.training import workdir as workdir_lib

# From ml_collections, which loads the config file.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
)


def run(*args):
  """The command in this process; returns what it prints."""
  argv = ['main', *args]
  with (
    flagsaver.flagsaver(),
    mock.patch.object(sys, 'argv', argv),
    contextlib.redirect_stdout(io.StringIO()) as stdout,
  ):
    main.main(command_line.parse(argv))
  return stdout.getvalue()


def figures(workdir):
  """The lines of metrics.jsonl, but for the time."""
  lines = pathlib.Path(workdir, 'metrics.jsonl').read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k != 'time'} for line in lines
  ]


def weights(workdir):
  vocabulary = json.loads(pathlib.Path(workdir, 'vocab.json').read_text())
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), vocabulary['content_hash']
  )
  return saved.weights()


class IndexedRunTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    # `debug_nans` would make programs that are not those of the command line.
    jax.config.update('jax_debug_nans', False)
    self.addCleanup(jax.config.update, 'jax_debug_nans', True)
    self.root = pathlib.Path(self.create_tempdir().full_path)
    draw = random.Random(0)
    text = self.root / 'text'
    text.mkdir()
    for split, count in (('train', 300), ('valid', 9), ('test', 9)):
      starts = [draw.randrange(50) for _ in range(count)]
      (text / f'{split}.txt').write_text(
        ''.join(
          ' '.join(f'w{i}' for i in range(start, start + draw.randint(1, 9)))
          + '\n'
          for start in starts
        )
      )
    self.index = str(self.root / 'index')
    run(
      *('--mode=index', f'--config=gru_lm:{text},tiny'),
      f'--workdir={self.index}',
    )

  def train(self, name, *args):
    workdir = str(self.root / name)
    config = f'--config=gru_lm:{self.index},tiny'
    settings = (
      *('--config.train.num_steps=48', '--config.train.eval_every=12'),
      '--config.optimizer.learning_rate=0.03',
    )
    run(config, f'--workdir={workdir}', *settings, *args)
    return workdir

  def test_a_paused_run_equals_an_undisturbed_one(self):
    whole = self.train('whole')
    trained = loop.train
    pausing = lambda *args, **more: trained(*args, until=24, **more)
    with mock.patch.object(loop, 'train', pausing):
      self.train('paused', '--config.evaluate.split=none')
    paused = self.train('paused')
    self.assertEqual(figures(whole), figures(paused))
    ours, theirs = weights(whole), weights(paused)
    self.assertEqual(ours[1], theirs[1])
    jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])
    results = json.loads(pathlib.Path(whole, 'results.json').read_text())
    self.assertEqual(results['test']['sentences'], 9)
    # It has learnt something: there are 59 words.
    self.assertLess(results['test']['perplexity'], 50)
    # The text is not needed any more, but the index is.
    os.remove(self.root / 'text' / 'train.txt')
    self.assertIn('w', run('--mode=sample', f'--workdir={whole}'))

  def test_a_stream_is_trained_on_as_one_in_memory(self):
    for protocol in ('mikolov', 'bytes'):
      stream = (
        '--config.corpus.stream=True',
        f'--config.corpus.protocol={protocol}',
        '--config.train.unroll=5',
        '--config.corpus.vocab_size=0',
      )
      index = str(self.root / f'stream_{protocol}')
      run(
        *('--mode=index', f'--config=gru_lm:{self.root / "text"},tiny'),
        *(f'--workdir={index}', *stream),
      )
      found = []
      for name in (index, self.root / 'text'):
        workdir = str(self.root / f'{os.path.basename(name)}_{protocol}_run')
        run(
          *(f'--config=gru_lm:{name},tiny', f'--workdir={workdir}'),
          *('--config.train.num_steps=48', '--config.train.eval_every=24'),
          *stream,
        )
        found.append(figures(workdir))
      self.assertEqual(*found)

  def test_what_an_index_cannot_do_is_an_error(self):
    for wrong in ('train', 'all'):
      with self.assertRaisesRegex(SystemExit, 'is an index, whose training'):
        self.train('run', f'--config.evaluate.split={wrong}')
    self.assertFalse((self.root / 'run').exists())
    with self.assertRaisesRegex(SystemExit, 'is the index of a text'):
      run(f'--config=gru_lm:{self.index},tiny', f'--workdir={self.index}')
    with self.assertRaisesRegex(SystemExit, 'stream = True: .* with False'):
      self.train('run', '--config.corpus.stream=True')
    with self.assertRaisesRegex(SystemExit, 'needs all of it in memory'):
      run(
        *(f'--config=ptb_ngram:{self.index},tiny', '--config.corpus.protocol='),
        f'--workdir={self.root / "ngrams"}',
      )


if __name__ == '__main__':
  absltest.main()
