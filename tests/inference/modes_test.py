"""The modes that read a run, from the command line to what they write."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest, flagsaver, parameterized
import numpy as np
import pytest

import rnnvae_jax
from rnnvae_jax import main
from rnnvae_jax.config import command_line
from rnnvae_jax.inference import export, latents, loading
from rnnvae_jax.training import exported
from rnnvae_jax.training import workdir as workdir_lib

# From ml_collections, which loads the config file.
pytestmark = [
  pytest.mark.usefixtures('compile_once'),
  pytest.mark.filterwarnings(
    r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
  ),
]

LINES = 'the cook ate .\n\nmany xylophones sailed today .\n'


@functools.cache
def root():
  return tempfile.mkdtemp()


def run(*args, stdin=''):
  """The command in this process; returns what it prints."""
  argv = ['main', *args]
  stream = io.TextIOWrapper(io.BytesIO(stdin.encode()))
  with (
    flagsaver.flagsaver(),
    mock.patch.object(sys, 'argv', argv),
    mock.patch.object(sys, 'stdin', stream),
    contextlib.redirect_stdout(io.StringIO()) as stdout,
  ):
    main.main(command_line.parse(argv))
  return stdout.getvalue()


@functools.cache
def trained(name='gru_vae', *overrides):
  """The workdir of a tiny run that was neither evaluated nor sampled."""
  workdir = os.path.join(root(), name)
  run(
    f'--config={name}:tiny,corpus=grammar'
    if name != 'ptb_ngram'
    else f'--config={name}:row=kneser_ney_2,tiny,corpus=grammar',
    f'--workdir={workdir}',
    '--config.evaluate.split=none',
    *overrides,
  )
  return workdir


def mode(name, workdir, *overrides, stdin=LINES):
  overrides = (f'--config.{override}' for override in overrides)
  return run(f'--mode={name}', f'--workdir={workdir}', *overrides, stdin=stdin)


def table(text):
  return [line.split('\t') for line in text.splitlines()]


@pytest.mark.slow
class ModesTest(parameterized.TestCase):
  def test_evaluation_after_training_can_be_skipped(self):
    self.assertFalse(os.path.exists(os.path.join(trained(), 'results.json')))
    self.assertTrue(os.path.exists(os.path.join(trained(), 'samples.txt')))
    with self.assertRaisesRegex(SystemExit, 'nothing to evaluate'):
      mode('evaluate', trained(), 'evaluate.split=none')

  def test_score_keeps_the_lines_as_given_and_their_rows(self):
    header, *rows = table(mode('score', trained()))
    self.assertEqual(header, ['nats', 'tokens', 'unknown', 'text'])
    self.assertEqual([row[3] for row in rows], LINES.splitlines())
    self.assertEqual(
      [row[1:3] for row in rows], [['5', '0'], ['0', '0'], ['6', '1']]
    )
    self.assertEqual(rows[1][0], '')
    want = [s.nats for s in loading.load(trained()).score(LINES.splitlines())]
    np.testing.assert_allclose(
      [float(rows[i][0]) for i in (0, 2)], [want[0], want[2]], atol=1e-4
    )

  def test_scores_of_tokens_have_a_row_each(self):
    header, *rows = table(
      mode('score', trained('gru_lm'), 'generate.per_token=True')
    )
    self.assertEqual(header, ['line', 'nats', 'token'])
    self.assertEqual(
      [row[2] for row in rows],
      [
        'the',
        'cook',
        'ate',
        '.',
        '</s>',
        'many',
        '<unk>',
        'sailed',
        'today',
        '.',
        '</s>',
      ],
    )
    self.assertEqual([row[0] for row in rows], ['1'] * 5 + ['3'] * 6)
    _, *whole = table(mode('score', trained('gru_lm')))
    total = sum(float(row[1]) for row in rows[:5])
    self.assertAlmostEqual(total, float(whole[0][0]), places=2)

  def test_json_lines_are_for_programs(self):
    text = mode('score', trained(), 'generate.format=jsonl')
    records = [json.loads(line) for line in text.splitlines()]
    self.assertEqual([r['text'] for r in records], LINES.splitlines())
    self.assertIsNone(records[1]['nats'])
    self.assertEqual(records[0]['estimator'], 'iwae_4')
    text = mode('sample', trained(), 'generate.format=jsonl')
    texts = [json.loads(line)['text'] for line in text.splitlines()]
    self.assertEqual(texts, mode('sample', trained()).splitlines())
    self.assertLen(texts, 5)
    text = mode('interpolate', trained(), 'generate.format=jsonl')
    records = [json.loads(line) for line in text.splitlines()]
    self.assertEqual([r['step'] for r in records], [*range(7)])

  def test_reconstructions_keep_their_rows(self):
    rows = table(mode('reconstruct', trained()))
    self.assertEqual([row[0] for row in rows], LINES.splitlines())
    want = loading.load(trained()).reconstruct([LINES.splitlines()[0]])
    self.assertEqual(rows[0][1], want[0])
    self.assertEqual(rows[1], ['', ''])

  @parameterized.parameters('gru_lm', 'ptb_ngram')
  def test_next_lists_the_likeliest_tokens(self, name):
    header, *rows = table(
      mode(
        'next',
        trained(name),
        'generate.prime=the cook',
        'generate.candidates=4',
      )
    )
    self.assertEqual(header, ['after', 'token', 'probability', 'nats'])
    self.assertLen(rows, 4)
    shares = [float(row[2]) for row in rows]
    self.assertEqual(shares, sorted(shares, reverse=True))
    self.assertLessEqual(sum(shares), 1.0)
    # By lines, a blank one is the beginning of a sentence.
    _, *rows = table(mode('next', trained(name), 'generate.candidates=1'))
    self.assertEqual([row[0] for row in rows], LINES.splitlines())

  def test_fill_ranks_whole_lines(self):
    text = mode(
      'fill',
      trained('gru_lm'),
      'generate.candidates=3',
      stdin='the ___ ate .\n\nthe ___ ___ .\n',
    )
    header, *rows = table(text)
    self.assertEqual(header, ['line', 'nats', 'words', 'text'])
    self.assertEqual([row[0] for row in rows], ['1'] * 3 + ['3'] * 3)
    nats = [float(row[1]) for row in rows[:3]]
    self.assertEqual(nats, sorted(nats))
    for row in rows[:3]:
      self.assertEqual(row[3], f'the {row[2]} ate .')
    self.assertLen(rows[-1][2].split(), 2)

  def test_encode_writes_arrays_and_tables_that_fit_together(self):
    workdir = trained()
    mode('encode', workdir)
    folder = os.path.join(workdir, 'latents')
    with np.load(os.path.join(folder, latents.ARRAYS)) as file:
      arrays = dict(file)
    with open(os.path.join(folder, latents.VECTORS)) as file:
      vectors = np.loadtxt(file)
    with open(os.path.join(folder, latents.METADATA)) as file:
      header, *rows = table(file.read())
    count = len(rows)
    self.assertEqual(arrays['means'].shape, arrays['log_variances'].shape)
    np.testing.assert_allclose(arrays['means'], vectors, rtol=1e-6)
    self.assertEqual([row[-1] for row in rows], arrays['texts'].tolist())
    self.assertEqual(header[0], 'line')
    self.assertEqual(header[-1], 'text')
    for number, name in enumerate(header[1:-1], 1):  # The labels.
      self.assertEqual([row[number] for row in rows], arrays[name].tolist())
    run = loading.load(workdir)
    some = arrays['texts'][:3].tolist()
    np.testing.assert_allclose(
      run.encode(some)[0], arrays['means'][:3], rtol=1e-4, atol=1e-5
    )
    # Lines of one's own, of which a blank one has no latents.
    mode('encode', workdir, 'encode.split=', 'encode.folder=' + folder)
    with np.load(os.path.join(folder, latents.ARRAYS)) as file:
      self.assertEqual(file['lines'].tolist(), [1, 3])
    self.assertGreater(count, 3)

  def test_modes_say_what_a_run_lacks(self):
    for name in ('encode', 'reconstruct', 'interpolate'):
      for run_name in ('gru_lm', 'ptb_ngram'):
        with self.assertRaisesRegex(
          SystemExit, f'--mode={name} needs a run that encodes text'
        ):
          mode(name, trained(run_name))
    for run_name in ('gru_lm', 'gru_vae'):
      with self.assertRaisesRegex(SystemExit, 'gives a sentence a label'):
        mode('predict', trained(run_name))
    for run_name in ('gru_vae', 'ptb_ngram'):
      with self.assertRaisesRegex(SystemExit, '--mode=trace needs a run that'):
        mode('trace', trained(run_name))


class ExportTest(parameterized.TestCase):
  @parameterized.parameters('gru_vae', 'gru_lm', 'ptb_ngram')
  def test_an_export_reads_as_the_run_does(self, name):
    workdir = trained(name)
    folder = self.create_tempdir().full_path
    mode('export', workdir, f'export.folder={folder}')
    names = {'config.json', 'vocab.json', 'text.json'}
    is_counted = name == 'ptb_ngram'
    names |= {'ngrams.npz' if is_counted else exported.WEIGHTS}
    self.assertEqual(set(os.listdir(folder)), names)
    for act in ('sample', 'score'):
      self.assertEqual(mode(act, folder), mode(act, workdir))
    if not is_counted:
      step = loading.load(workdir).checkpoint
      self.assertEqual(rnnvae_jax.load(folder).checkpoint, step)

  def test_weights_of_another_vocabulary_or_damaged_ones_are_errors(self):
    folder = self.create_tempdir().full_path
    mode('export', trained(), f'export.folder={folder}')
    config = workdir_lib.load_config(folder)
    path = os.path.join(folder, exported.WEIGHTS)
    other = trained('gru_lm')
    run = loading.load(trained())
    with self.assertRaisesRegex(ValueError, 'another vocabulary'):
      export.read(folder, None, 'x' * 64)
    del run, other
    config.model.hidden_size += 1
    with self.assertRaisesRegex(ValueError, 'does not fit its config.json'):
      loading.open_run(config, folder)
    with open(path, 'r+b') as file:
      file.truncate(100)
    with self.assertRaisesRegex(ValueError, 'is damaged'):
      rnnvae_jax.load(folder)


class LibraryTest(absltest.TestCase):
  def test_load_takes_overrides_that_may_change(self):
    run = rnnvae_jax.load(trained(), **{'evaluate.iw_samples': 2})
    self.assertEqual(run.score(['the cook ate .'])[0].estimator, 'iwae_2')
    with self.assertRaisesRegex(ValueError, 'cannot change now'):
      rnnvae_jax.load(trained(), **{'model.hidden_size': 99})
    with self.assertRaisesRegex(ValueError, "Did you mean 'generate.seed'"):
      rnnvae_jax.load(trained(), **{'generate.sed': 1})
    with self.assertRaisesRegex(ValueError, 'out of range'):
      rnnvae_jax.load(trained(), **{'generate.num_samples': 0})

  @pytest.mark.slow
  def test_train_trains_and_opens_the_run(self):
    workdir = self.create_tempdir().full_path
    with contextlib.redirect_stdout(io.StringIO()):
      run = rnnvae_jax.train('gru_lm:tiny,corpus=grammar', workdir)
    self.assertEqual(run.checkpoint, 'best, step 12')
    self.assertEqual(run.sample(2), rnnvae_jax.load(workdir).sample(2))

  def test_importing_the_package_imports_nothing_heavy(self):
    program = (
      'import sys, rnnvae_jax\n'
      'print(*({"jax", "numpy", "flax", "absl"} & set(sys.modules)))'
    )
    self.assertEqual(self.printed(program), '')

  @pytest.mark.slow
  def test_reading_a_run_imports_no_library_that_it_does_not_need(self):
    heavy = (
      *('gensim', 'matplotlib', 'nltk', 'sacrebleu', 'sklearn', 'tensorboardX'),
      *('tensorflow', 'tensorflow_datasets', 'torch'),
    )
    program = (
      'import sys, rnnvae_jax.main\n'
      'from rnnvae_jax.commands import base\n'
      'from rnnvae_jax.inference import generate, latents\n'
      'list(base.REGISTRY.values())\n'
      f'print(*(m for m in {heavy} if m in sys.modules))'
    )
    self.assertEqual(self.printed(program), '')

  def printed(self, program):
    done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True,
      text=True,
      check=True,
      cwd=os.path.dirname(os.path.dirname(rnnvae_jax.__file__)),
    )
    return done.stdout.strip()


class StandardOutputTest(parameterized.TestCase):
  @parameterized.parameters(
    {'PYTHONIOENCODING': 'ascii'},
    {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
  )
  @pytest.mark.slow
  def test_text_that_it_cannot_encode_is_replaced(self, **environment):
    folder = self.create_tempdir().full_path
    text = 'café naïve — 数\n' * 30
    path = os.path.join(folder, 'text.txt')
    with open(path, 'w', encoding='utf-8') as file:
      file.write(text)
    done = subprocess.run(
      [
        *(sys.executable, '-m', 'rnnvae_jax.main'),
        f'--config=ptb_ngram:row=kneser_ney_2,tiny,corpus={path}',
        f'--workdir={folder}/run',
        '--config.evaluate.split=valid',
      ],
      capture_output=True,
      check=False,
      cwd=os.path.dirname(os.path.dirname(rnnvae_jax.__file__)),
      env=os.environ | environment,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertIn(b'?', done.stdout)
    with open(f'{folder}/run/samples.txt', encoding='utf-8') as file:
      self.assertIn('café', file.read())


if __name__ == '__main__':
  absltest.main()
