"""The command line, from a config to samples: resumed, overridden, refused."""

import contextlib
import functools
import glob
import html
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

from absl import logging
from absl.testing import absltest, flagsaver, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax import main
from rnnvae_jax.config import build, command_line
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import checkpoints, optimizers, state, writers
from rnnvae_jax.training import workdir as workdir_lib

# From ml_collections, which loads the config file.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
)

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = importlib.util.find_spec('rnnvae_jax').submodule_search_locations[0]
CONFIG = os.path.join(REPOSITORY, 'configs', 'gru_vae.py')
# Five validations, so that there is time to kill it after the first.
TINY = (
  f'--config={CONFIG}:tiny',
  '--config.train.num_steps=30',
  '--config.train.steps_per_call=3',
  '--config.train.eval_every=6',
)


@functools.cache
def root():
  return tempfile.mkdtemp()


@pytest.fixture(autouse=True, scope='module')
def _run_as_the_subprocesses_do(compile_once):
  """What is compiled here is made once for all runs and modes, and only here.

  The home's programs may be of another number of cores: of another rounding.
  """
  del compile_once
  environment = {
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  # debug_nans would make other programs, and find what main should.
  jax.config.update('jax_debug_nans', False)
  with mock.patch.dict(os.environ, environment):
    yield
  jax.config.update('jax_debug_nans', True)
  shutil.rmtree(root())


def start(*args):
  """The command in a process of its own."""
  return subprocess.Popen(
    [sys.executable, '-m', 'rnnvae_jax.main', *args],
    cwd=root(),
    env=os.environ | {'PYTHONPATH': os.path.dirname(PACKAGE)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


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


def read(*path):
  with open(os.path.join(*path)) as file:
    return file.read()


def read_metrics(workdir):
  """Its lines, but for the time."""
  lines = map(json.loads, read(workdir, 'metrics.jsonl').splitlines())
  return [{k: v for k, v in line.items() if k != 'time'} for line in lines]


def read_results(workdir):
  results = json.loads(read(workdir, 'results.json'))
  for figures in results.values():
    del figures['seconds']
  return results


def read_state(workdir, kind='latest'):
  """The arrays of the newest checkpoint, and its step."""
  config = workdir_lib.load_config(workdir)
  vocab = vocab_lib.Vocabulary.load(os.path.join(workdir, 'vocab.json'))
  task = build.task(config.model.kind).build(config, vocab)
  wanted = state.abstract(task, optimizers.build(config))
  directory = workdir_lib.checkpoint_dir(workdir)
  saved = checkpoints.Checkpoints(directory, vocab.content_hash)
  if kind == 'best':  # It has no more than evaluation needs.
    wanted = state.Weights(wanted.step, wanted.params, wanted.extras)
  restored, step = saved.restore(wanted, kind)
  if kind == 'latest':
    restored = restored.replace(key=jax.random.key_data(restored.key))
  return [np.asarray(leaf) for leaf in jax.tree.leaves(restored)], step


def checkpoint_steps(workdir, kind='latest'):
  directory = workdir_lib.checkpoint_dir(workdir)
  return checkpoints.Checkpoints(directory, '').steps(kind)


@functools.cache
def finished():
  """The workdir of a run that was never stopped, and what it printed.

  Beside it, on the other core, runs one that is killed after a checkpoint.
  """
  workdir = os.path.join(root(), 'finished')
  process = start(*TINY, f'--workdir={workdir}')
  killed_after_a_checkpoint()
  stdout, stderr = process.communicate()
  assert process.returncode == 0, stderr
  return workdir, stdout


def killed_after_a_checkpoint():
  """A kill that a busy machine makes come too late is tried again."""
  for _ in range(5):
    process = start(*TINY, f'--workdir={killed_workdir()}')
    while not checkpoint_steps(killed_workdir()) and process.poll() is None:
      time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), stderr
    if checkpoint_steps(killed_workdir())[-1] < 30:
      return
    shutil.rmtree(killed_workdir())
  raise AssertionError('no run was killed before its end')


def killed_workdir():
  return os.path.join(root(), 'killed')


def copy_of_finished(name):
  return shutil.copytree(finished()[0], os.path.join(root(), name))


@functools.cache
def unfinished():
  """The workdir of a run that was killed at its end, with older checkpoints."""
  workdir = os.path.join(root(), 'unfinished')
  with mock.patch.object(checkpoints.Checkpoints, 'drop_older'):
    run(*TINY, f'--workdir={workdir}')
  return workdir


def damage(folder):
  """Flips a bit in the middle of the biggest file."""
  files = glob.glob(os.path.join(folder, '**'), recursive=True)
  biggest = max(filter(os.path.isfile, files), key=os.path.getsize)
  with open(biggest, 'r+b') as file:
    content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    file.seek(0)
    file.write(content)


@pytest.mark.slow
class FinishedRunTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir, self.stdout = finished()

  def test_leaves_what_it_promises_and_nothing_else(self):
    names = set(os.listdir(self.workdir))
    (events,) = (name for name in names if 'tfevents' in name)
    self.assertGreater(os.path.getsize(os.path.join(self.workdir, events)), 99)
    self.assertEqual(
      names - {events},
      {
        'checkpoints',
        'command.txt',
        'config.json',
        'environment.json',
        'metrics.jsonl',
        'nats_test.npz',
        'report.html',
        'results.json',
        'samples.txt',
        'text.json',
        'vocab.json',
      },
    )
    self.assertEqual(checkpoint_steps(self.workdir), [30])
    self.assertEqual(checkpoint_steps(self.workdir, 'best')[-1], 30)

  def test_its_report_has_a_section_for_each_file(self):
    page = read(self.workdir, 'report.html')
    for name in 'figures', 'curves', 'latents', 'texts', 'config':
      self.assertIn(f'<section id="{name}">', page)
    for line in read(self.workdir, 'samples.txt').splitlines():
      self.assertIn(html.escape(line.split(' ')[0]), page)
    self.assertNotIn('cannot be shown', page)
    self.assertNotIn('is damaged', page)
    os.remove(os.path.join(self.workdir, 'report.html'))
    run(f'--workdir={self.workdir}', '--mode=report')
    self.assertEqual(read(self.workdir, 'report.html'), page)

  def test_results_hold_every_promised_figure(self):
    (figures,) = json.loads(read(self.workdir, 'results.json')).values()
    promised = (
      'protocol sentences tokens nll_per_sentence perplexity estimator elbo '
      'reconstruction kl iwae_nll iwae_samples iwae_perplexity '
      'mutual_information mutual_information_ceiling mutual_information_batch '
      'active_units latents'
    )
    self.assertContainsSubset(promised.split(), figures)
    self.assertEqual(figures['protocol'], 'mikolov')
    self.assertEqual(figures['estimator'], 'elbo')
    self.assertEqual(figures['sentences'], 2000)
    self.assertEqual(figures['latents'], 9)
    self.assertEqual(figures['iwae_samples'], 4)
    self.assertEqual(figures['checkpoint'], 'best, step 30')

  def test_figures_agree_with_each_other(self):
    (figures,) = json.loads(read(self.workdir, 'results.json')).values()
    elbo, per_token = figures['elbo'], figures['sentences'] / figures['tokens']
    self.assertEqual(figures['nll_per_sentence'], elbo)
    self.assertAlmostEqual(elbo, figures['reconstruction'] + figures['kl'])
    for nll, perplexity in (
      (elbo, figures['perplexity']),
      (figures['iwae_nll'], figures['iwae_perplexity']),
    ):
      self.assertAlmostEqual(perplexity, np.exp(nll * per_token))
    self.assertLess(figures['iwae_nll'], elbo)

  def test_prints_a_table_that_names_the_estimators(self):
    for text in (
      'grammar, protocol mikolov; nats a sentence',
      'perplexity, eos counted (bound: ELBO)',
      'perplexity, eos counted (importance-weighted)',
      'active units of 9',
    ):
      self.assertIn(text, self.stdout)

  def test_metrics_are_those_of_every_call_and_validation(self):
    metrics = read_metrics(self.workdir)
    training = [line for line in metrics if 'train/loss' in line]
    validation = [line for line in metrics if 'valid/elbo' in line]
    self.assertLen(metrics, len(training) + len(validation))
    self.assertEqual([line['step'] for line in training], [*range(3, 31, 3)])
    self.assertEqual([line['step'] for line in validation], [*range(6, 31, 6)])
    # They are of the same kind: sums over sentences, divided last.
    self.assertLess(
      validation[-1]['valid/elbo'], validation[0]['valid/elbo'] - 0.1
    )
    self.assertEqual(
      validation[-1]['valid/elbo'],
      validation[-1]['valid/reconstruction'] + validation[-1]['valid/kl'],
    )

  def test_samples_are_as_many_as_asked_for(self):
    samples = read(self.workdir, 'samples.txt')
    title, _, rest = samples.partition('\n\n')
    self.assertEqual(title, 'Samples at temperature 1.0')
    drawn, *between = rest.split('\n\n')
    self.assertLen(drawn.split('\n'), 5)
    self.assertStartsWith(between[0], 'Interpolations')
    self.assertEqual([len(b.split('\n')) for b in between[1:3]], [7, 7])
    self.assertIn(samples.strip(), self.stdout)

  def test_running_it_again_changes_nothing(self):
    def contents():
      paths = glob.glob(os.path.join(self.workdir, '**'), recursive=True)
      paths = [p for p in paths if os.path.isfile(p) and 'tfevents' not in p]
      unchanged = {p: read(p) for p in paths if p.endswith('.txt')}
      unchanged |= {p: os.stat(p).st_mtime_ns for p in paths if 'check' in p}
      return unchanged, read_metrics(self.workdir), read_results(self.workdir)

    before = contents()
    run(*TINY, f'--workdir={self.workdir}')
    self.assertEqual(contents(), before)

  def test_killed_and_resumed_it_is_the_same_bit_for_bit(self):
    workdir = killed_workdir()
    self.assertLess(checkpoint_steps(workdir)[-1], 30)
    process = start(*TINY, f'--workdir={workdir}')
    _, stderr = process.communicate()
    self.assertEqual(process.returncode, 0, stderr)
    self.assertRegex(stderr, rf'Going on from step \d+ of {workdir}')
    for kind in ('latest', 'best'):
      arrays, step = read_state(workdir, kind)
      wanted, wanted_step = read_state(self.workdir, kind)
      self.assertEqual(step, wanted_step)
      for one, two in zip(arrays, wanted, strict=True):
        self.assertEqual(one.dtype, two.dtype)
        self.assertEqual(one.tobytes(), two.tobytes())
    self.assertEqual(read_metrics(workdir), read_metrics(self.workdir))
    self.assertEqual(read_results(workdir), read_results(self.workdir))
    self.assertEqual(
      read(workdir, 'samples.txt'), read(self.workdir, 'samples.txt')
    )


class ModesTest(parameterized.TestCase):
  """All from the workdir alone."""

  def setUp(self):
    super().setUp()
    self.workdir = finished()[0]
    self.lines = os.path.join(self.create_tempdir().full_path, 'lines.txt')
    with open(self.lines, 'w') as file:
      file.write('the cook ate .\n\nmany xylophones sailed today .\n')

  def mode(self, mode, *overrides, **kwargs):
    overrides = (f'--config.{override}' for override in overrides)
    return run(
      f'--mode={mode}', f'--workdir={self.workdir}', *overrides, **kwargs
    )

  def test_a_search_draws_nothing(self):
    with self.assertRaisesRegex(SystemExit, 'generate.temperature = 0'):
      self.mode('sample', 'generate.beam_size=3')
    for mode in ('reconstruct', 'interpolate'):
      with self.assertRaisesRegex(SystemExit, 'reconstruct_temperature = 0'):
        self.mode(
          mode, 'generate.beam_size=3', 'generate.reconstruct_temperature=0.5'
        )
    printed = self.mode(
      'sample', 'generate.beam_size=3', 'generate.temperature=0'
    )
    self.assertLen(printed.splitlines(), 5)

  def test_evaluate_repeats_the_figures_of_training(self):
    before = read_results(self.workdir)
    self.mode('evaluate')
    self.assertEqual(read_results(self.workdir), before)

  @pytest.mark.slow
  def test_evaluate_keeps_the_figures_of_other_splits(self):
    self.workdir = copy_of_finished('split')
    before = read_results(self.workdir)
    printed = self.mode(
      'evaluate', 'evaluate.split=valid', 'evaluate.iw_samples=3'
    )
    after = read_results(self.workdir)
    self.assertEqual(after['test'], before['test'])
    self.assertEqual(after['valid']['iwae_samples'], 3)
    self.assertRegex(printed, r'valid\W+test')

  @pytest.mark.slow
  def test_a_run_outlives_its_text_and_reads_another(self):
    self.workdir = copy_of_finished('moved')
    path = os.path.join(self.workdir, 'config.json')
    config = json.loads(read(path))
    gone = os.path.join(self.workdir, 'gone')
    with open(path, 'w') as file:
      json.dump(config | {'corpus.name': gone, 'corpus.protocol': ''}, file)
    self.assertLen(self.mode('sample').splitlines(), 5)
    with self.assertRaisesRegex(SystemExit, f'no folder or file .{gone}'):
      self.mode('evaluate')
    folder = self.create_tempdir().full_path
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write('the cook ate.\n')
    own = read_results(self.workdir)
    printed = self.mode(
      'evaluate', f'corpus.name={folder}', 'model.backend=scan'
    )
    results = read_results(self.workdir)
    test = results.pop(f'test of {folder}')
    self.assertEqual((test['corpus'], test['protocol']), (folder, 'plain'))
    self.assertEqual((test['sentences'], test['tokens']), (1, 5))
    self.assertEqual(results, own)
    self.assertNotIn('2,000', printed)  # Sentences of its own text.
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write('cooks\tthe cook ate.\n')
    self.mode('evaluate', f'corpus.name={folder}', 'corpus.labelled=True')
    results = read_results(self.workdir)
    self.assertEqual(results[f'test of {folder}']['tokens'], 5)

  def test_sample_follows_its_overrides(self):
    usual = self.mode('sample').splitlines()
    self.assertLen(usual, 5)
    self.assertEqual(self.mode('sample').splitlines(), usual)
    cold = self.mode('sample', 'generate.temperature=0.5').splitlines()
    self.assertLen(cold, 5)
    other = self.mode('sample', 'generate.seed=1').splitlines()
    two = self.mode('sample', 'generate.num_samples=2').splitlines()
    for changed in (cold, other):
      self.assertNotEqual(changed, usual)
    self.assertEqual(two, usual[:2])
    for line in usual + cold + other:
      self.assertNotIn('<', line)
      self.assertLess(len(line.split()), 14)

  def test_what_is_cut_is_said_and_no_training_sentence_is_too_long(self):
    self.enter_context(flagsaver.flagsaver(verbosity=logging.INFO))
    with self.assertLogs('absl') as logs:
      printed = self.mode('sample', 'generate.max_length=2')
    self.assertIn('did not end within 2 tokens', '\n'.join(logs.output))
    self.assertLessEqual(max(len(s.split()) for s in printed.splitlines()), 2)
    as_read = self.mode('sample', 'generate.max_length=0')  # At most 12.
    self.assertEqual(as_read, self.mode('sample', 'generate.max_length=12'))

  def test_reconstruct_reads_a_file_or_standard_input(self):
    from_file = self.mode('reconstruct', f'generate.input={self.lines}')
    from_stdin = self.mode('reconstruct', stdin=read(self.lines))
    self.assertEqual(from_stdin, from_file)
    seen = [line.split('\t') for line in from_file.splitlines()]
    self.assertEqual(
      [first for first, _ in seen],
      ['the cook ate .', '', 'many xylophones sailed today .'],
    )
    self.assertEqual(seen[1][1], '')  # Rows stay aligned with the lines.

  def test_interpolate_goes_from_reconstruction_to_reconstruction(self):
    lines = ''.join(f'{words} .\n' for words in ('a', 'the', 'many', 'every'))
    blocks = [
      block.split('\n')
      for block in self.mode('interpolate', stdin=lines)
      .rstrip('\n')
      .split('\n\n')
    ]
    self.assertEqual([len(block) for block in blocks], [7, 7])
    ends = [
      line.split('\t')[1]
      for line in self.mode('reconstruct', stdin=lines).splitlines()
    ]
    self.assertEqual(
      [sentence for block in blocks for sentence in (block[0], block[-1])], ends
    )

  def test_interpolate_goes_between_prior_samples(self):
    printed = self.mode(
      'interpolate',
      'generate.input=',
      'generate.num_samples=3',
      'generate.interpolation_steps=4',
    )
    blocks = printed.removesuffix('\n').split('\n\n')
    self.assertEqual([len(block.split('\n')) for block in blocks], [4, 4, 4])

  def test_score_gives_nats_tokens_unknown_ones_and_text(self):
    path = os.path.join(os.path.dirname(self.lines), 'scores.txt')
    printed = self.mode(
      'score', f'generate.input={self.lines}', f'generate.output={path}'
    )
    self.assertEqual(printed, '')
    header, *rows = [line.split('\t') for line in read(path).splitlines()]
    self.assertEqual(header, ['nats', 'tokens', 'unknown', 'text'])
    self.assertEqual(
      [row[1:] for row in rows],
      [
        ['5', '0', 'the cook ate .'],
        ['0', '0', ''],
        ['6', '1', 'many xylophones sailed today .'],
      ],
    )
    self.assertEqual(rows[1][0], '')
    for nats, *_ in (rows[0], rows[2]):
      self.assertRegex(nats, r'^\d+\.\d{4}$')
      self.assertBetween(float(nats), 5, 50)

  def test_no_line_is_cut(self):
    printed = self.mode('score', stdin='the cook ate . ' * 9)
    self.assertEqual(printed.splitlines()[1].split('\t')[1], '37')

  def test_what_was_trained_cannot_be_overridden(self):
    with self.assertRaises(SystemExit) as raised:
      self.mode('sample', 'model.hidden_size=3')
    message = str(raised.exception)
    self.assertStartsWith(message, f'Error: The run in {self.workdir} is ')
    self.assertIn('config.model.hidden_size: 14 there, 3 here', message)


class BadInputTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    for split in ('train', 'valid', 'test'):
      self.write(f'{split}.txt', b'a b .\n')

  def write(self, name, content):
    with open(os.path.join(self.folder, name), 'wb') as file:
      file.write(content)

  def error(self, *args, stdin=''):
    with self.assertRaises(SystemExit) as raised:
      run(*args, stdin=stdin)
    message = str(raised.exception)
    self.assertStartsWith(message, 'Error: ')
    self.assertNotIn('Traceback', message)
    return message

  def assert_one_line(self, message, *parts):
    self.assertNotIn('\n', message)
    for part in parts:
      self.assertIn(part, message)

  def train_error(self, config, *args):
    workdir = os.path.join(self.folder, 'run')
    message = self.error(
      f'--config={CONFIG}:{config}', f'--workdir={workdir}', *args
    )
    self.assertFalse(os.path.exists(workdir))
    return message

  def test_a_process_exits_with_one_line_and_no_traceback(self):
    process = start(f'--config={CONFIG}:grammer', '--workdir=none')
    stdout, stderr = process.communicate()
    self.assertEqual(process.returncode, 1)
    self.assertEqual(stdout, '')
    (line,) = stderr.splitlines()
    self.assertStartsWith(line, "Error: config argument = 'grammer' is unknown")
    self.assertIn("Did you mean 'grammar'?", line)

  @parameterized.parameters(
    ('corpus.name=grammer', "Did you mean 'grammar'?"),
    ('model.cell=gruu', "Did you mean 'gru'?"),
    ('model.latent_sze=4', 'latent_size'),
    ('model.latent_size=4.5', 'latent_size'),
    ('train.num_steps=13', 'Nearest legal value: 12.'),
    ('dropout.word=2', 'is out of range: 0 to 1. Nearest legal value: 1.0.'),
    ('seed=99999999999999999999', 'is out of range: 0 to 2147483647.'),
    ('generate.seed=-1', 'is out of range: 0 to 2147483647.'),
  )
  def test_a_config_that_cannot_run(self, override, hint):
    message = self.train_error('tiny', f'--config.{override}')
    self.assert_one_line(message, hint)

  def test_a_config_file_that_sets_what_nothing_reads(self):
    path = os.path.join(self.folder, 'mine.py')
    with open(path, 'w') as file:
      file.write(
        'import runpy\n'
        'def get_config():\n'
        f"  config = runpy.run_path('{CONFIG}')['get_config']('tiny')\n"
        "  config.objective.kl_schedule = 'constant'\n"
        '  return config\n'
      )
    message = self.error(f'--config={path}', f'--workdir={self.folder}/run')
    self.assert_one_line(message, 'objective.kl_anneal_steps')
    self.assert_one_line(message, 'would have no effect')

  @parameterized.parameters('--rows=a', '--table=t', '--budget=9')
  def test_what_is_of_tables_is_not_of_a_run(self, flag):
    message = self.train_error('tiny', flag)
    self.assert_one_line(
      message, f'{flag.split("=")[0]} is not read by --mode=train'
    )

  @parameterized.parameters(
    ((), '--workdir is needed'),
    (('--workdir=x', 'more'), 'unexpected arguments: more'),
    (('--workdir=x',), 'Train one first'),
    (('--workdir=x', '--mode=reproduce'), '--table is needed'),
    (
      ('--workdir=x', '--mode=reproduce', '--table=t', '--config.seed=3'),
      '--config.seed would not be read: --mode=reproduce has',
    ),
    (
      ('--workdir=x', '--mode=reproduce', '--table=t', f'--config={CONFIG}'),
      'configs of its own',
    ),
    (
      ('--workdir=x', '--mode=sample', f'--config={CONFIG}'),
      "the run's own",
    ),
    (('--workdir=x', '--config.modle.cell=gru'), 'mean config.model.cell?'),
  )
  def test_flags_that_do_not_fit_are_named_in_a_line(self, flags, hint):
    self.assert_one_line(self.error(*flags), hint)

  def test_a_config_file_that_is_not_there(self):
    path = os.path.join(self.folder, 'no.py')
    message = self.error(f'--config={path}', f'--workdir={self.folder}')
    self.assert_one_line(message, path)

  def test_a_folder_without_a_split(self):
    os.remove(os.path.join(self.folder, 'valid.txt'))
    message = self.train_error(f'tiny,{self.folder}')
    self.assert_one_line(
      message, os.path.join(self.folder, 'valid.txt is missing')
    )

  @parameterized.parameters(
    ('train.txt', b'', 'train.txt is empty'),
    ('valid.txt', b' \n\n', 'valid.txt is empty'),
    ('test.txt', b'fine\n\x00\x01\n', 'test.txt is binary: there is a NUL'),
    ('train.txt', b'a\nb\ncaf\xe9\n', 'train.txt, line 3: byte 0xe9'),
  )
  def test_a_file_that_is_no_text(self, name, content, hint):
    self.write(name, content)
    message = self.train_error(f'tiny,{self.folder}')
    self.assert_one_line(message, os.path.join(self.folder, hint))

  def test_the_workdir_of_another_config(self):
    workdir = finished()[0]
    before = os.stat(os.path.join(workdir, 'metrics.jsonl')).st_mtime_ns
    message = self.error(
      *TINY, f'--workdir={workdir}', '--config.model.hidden_size=13'
    )
    self.assertIn('config.model.hidden_size: 14 there, 13 here', message)
    # And what can be done instead.
    self.assertIn('To train longer, raise config.train.num_steps.', message)
    self.assertIn(f'--config.train.init_from={workdir}', message)
    self.assertIn('choose another --workdir', message)
    after = os.stat(os.path.join(workdir, 'metrics.jsonl')).st_mtime_ns
    self.assertEqual(after, before)

  @parameterized.parameters('evaluate', 'sample', 'reconstruct', 'score')
  def test_a_workdir_without_a_run(self, mode):
    message = self.error(f'--mode={mode}', f'--workdir={self.folder}')
    self.assert_one_line(message, 'No run in', self.folder, 'Train one first')

  def test_an_odd_number_of_lines_to_interpolate_between(self):
    message = self.error(
      '--mode=interpolate', f'--workdir={finished()[0]}', stdin='a\nthe\na\n'
    )
    self.assert_one_line(
      message, 'pairs of lines, got an odd number or none: 3'
    )

  @parameterized.parameters(('', 'is empty'), ('a\0b', 'is binary'))
  def test_lines_that_are_no_text(self, stdin, hint):
    message = self.error(
      '--mode=score', f'--workdir={finished()[0]}', stdin=stdin
    )
    self.assert_one_line(message, f'standard input {hint}')

  def test_a_file_of_lines_that_is_not_there(self):
    message = self.error(
      '--mode=score',
      f'--workdir={finished()[0]}',
      f'--config.generate.input={self.folder}/none',
    )
    self.assert_one_line(message, f'{self.folder}/none is no file')


@pytest.mark.slow
class DamageTest(absltest.TestCase):
  def test_a_damaged_checkpoint_is_named_and_an_older_one_goes_on(self):
    workdir = shutil.copytree(unfinished(), os.path.join(root(), 'damaged'))
    self.assertEqual(checkpoint_steps(workdir), [24, 30])
    newest = os.path.join(workdir, 'checkpoints', 'latest', '30')
    damage(newest)
    self.enter_context(flagsaver.flagsaver(verbosity=logging.INFO))
    with self.assertLogs('absl', 'INFO') as logs:
      run(*TINY, f'--workdir={workdir}')
    said = '\n'.join(logs.output)
    self.assertRegex(said, f'WARNING.*{newest} is damaged.*it is skipped')
    self.assertIn('Going on from step 24', said)
    arrays, step = read_state(workdir)
    wanted, _ = read_state(finished()[0])
    self.assertEqual(step, 30)
    for one, two in zip(arrays, wanted, strict=True):
      np.testing.assert_array_equal(one, two)
    self.assertEqual(read_metrics(workdir), read_metrics(finished()[0]))

  def test_a_mode_falls_back_as_well_and_says_to_which_checkpoint(self):
    workdir = shutil.copytree(unfinished(), os.path.join(root(), 'old_best'))
    *_, older, newest = checkpoint_steps(workdir, 'best')
    path = os.path.join(workdir, 'checkpoints', 'best', str(newest))
    damage(path)
    with self.assertLogs('absl', 'WARNING') as logs:
      run('--mode=evaluate', f'--workdir={workdir}')
    self.assertIn(f'{path} is damaged', logs.output[0])
    figures = read_results(workdir)['test']
    self.assertEqual(figures['checkpoint'], f'best, step {older}')

  def test_an_edited_vocabulary_is_refused(self):
    workdir = copy_of_finished('edited')
    path = os.path.join(workdir, 'vocab.json')
    writers.write_text(path, read(path).replace('"sailor"', '"sailer"'))
    for args in (TINY, ('--mode=sample',)):
      with self.assertRaisesRegex(
        SystemExit, r'Error: .*vocab\.json was edited'
      ):
        run(*args, f'--workdir={workdir}')

  def test_the_vocabulary_of_another_run_is_refused(self):
    workdir = copy_of_finished('foreign')
    path = os.path.join(workdir, 'vocab.json')
    vocab = vocab_lib.Vocabulary.load(path)
    vocab_lib.Vocabulary('word', (*vocab.tokens[:-1], 'other')).save(path)
    with self.assertRaisesRegex(SystemExit, 'vocabulary does not match'):
      run('--mode=sample', f'--workdir={workdir}')


class TrainingTest(absltest.TestCase):
  def test_a_loss_that_is_infinite_stops_and_leaves_the_state_before(self):
    workdir = os.path.join(root(), 'infinite')
    # Below the free bits of 6.8 nats the KL term has no gradient, and its
    # weight at step t is 9e36 t: from step 6 on the product is infinite.
    with self.assertRaises(SystemExit) as raised:
      run(
        *TINY,
        f'--workdir={workdir}',
        '--config.objective.kl_weight=2.7e38',
        '--config.objective.kl_anneal_steps=30',
      )
    self.assertStartsWith(
      str(raised.exception),
      'Error: Step 7: the loss is inf, for the sentences in ',
    )
    arrays, step = read_state(workdir)
    self.assertEqual(step, 6)
    for array in arrays:
      if np.issubdtype(array.dtype, np.floating):
        self.assertTrue(np.isfinite(array).all())
    self.assertEqual(read_metrics(workdir)[-1]['step'], 6)
    run('--mode=sample', f'--workdir={workdir}')

  @pytest.mark.slow
  def test_a_finished_run_trains_longer_from_its_folder_alone(self):
    workdir = copy_of_finished('longer')
    run(f'--workdir={workdir}', '--config.train.num_steps=36')
    self.assertEqual(checkpoint_steps(workdir), [36])
    self.assertEqual(workdir_lib.load_config(workdir).train.num_steps, 36)
    steps = [line['step'] for line in read_metrics(workdir)]
    self.assertEqual(steps[-2:], [36, 36])  # Training, validation.
    before = read_metrics(finished()[0])
    self.assertEqual(read_metrics(workdir)[: len(before)], before)
    # Fewer steps than it has are another run.
    with self.assertRaisesRegex(SystemExit, 'num_steps: 36 there, 30 here'):
      run(f'--workdir={workdir}', '--config.train.num_steps=30')

  @pytest.mark.slow
  def test_several_seeds_of_a_config_have_folders_means_and_deviations(self):
    workdir = os.path.join(root(), 'seeds')
    command = (
      f'--config={CONFIG.replace("_vae", "_lm")}:tiny',
      f'--workdir={workdir}',
      '--seeds=2',
      '--config.seed=4',
      '--config.train.num_steps=6',
    )
    printed = run(*command)
    self.assertIn('2 seeds, mean ± deviation', printed)
    self.assertCountEqual(
      os.listdir(workdir), ['report.html', 'seed_4', 'seed_5', 'seeds.json']
    )
    self.assertIn('seed_5/report.html', read(workdir, 'report.html'))
    apart = [
      json.loads(read(workdir, f'seed_{seed}', 'results.json'))['test']
      for seed in (4, 5)
    ]
    together = json.loads(read(workdir, 'seeds.json'))['test']
    for name in ('nll_per_sentence', 'perplexity'):
      values = [figures[name] for figures in apart]
      self.assertNotEqual(*values)
      self.assertEqual(together[name]['seeds'], 2)
      self.assertAlmostEqual(together[name]['mean'], np.mean(values))
      self.assertAlmostEqual(together[name]['std'], np.std(values, ddof=1))
    for seed in (4, 5):
      config = workdir_lib.load_config(os.path.join(workdir, f'seed_{seed}'))
      self.assertEqual(config.seed, seed)

  @pytest.mark.slow
  def test_without_progress_the_rate_decays_and_then_the_run_stops(self):
    workdir = os.path.join(root(), 'stalled')
    command = (
      *TINY,
      f'--workdir={workdir}',
      '--config.train.num_steps=60',
      '--config.optimizer.learning_rate=1e-30',  # Too small to change a weight.
      '--config.optimizer.plateau_patience=1',
      '--config.optimizer.plateau_factor=0.25',
      '--config.train.patience=3',
    )
    run(*command)
    metrics = read_metrics(workdir)
    rates = {
      line['step']: line['train/learning_rate']
      for line in metrics
      if 'train/learning_rate' in line
    }
    # The best is the first, at step 6; each of the next three is one more
    # evaluation without a best.
    self.assertEqual([*rates], [*range(3, 25, 3)])
    decays = [1, 1, 1, 1, 0.25, 0.25, 0.0625, 0.0625]
    for (step, rate), decay in zip(rates.items(), decays, strict=True):
      cosine = 0.5 + 0.5 * np.cos(np.pi * np.arange(step - 3, step) / 60)
      np.testing.assert_allclose(rate, 1e-30 * decay * cosine.mean(), 1e-5)
    self.assertEqual(checkpoint_steps(workdir, 'best'), [6])
    self.assertEqual(checkpoint_steps(workdir), [24])
    self.assertEqual(
      json.loads(read(workdir, 'results.json'))['test']['checkpoint'],
      'best, step 6',
    )
    # It stays stopped.
    run(*command)
    self.assertEqual(read_metrics(workdir), metrics)


if __name__ == '__main__':
  absltest.main()
