"""From arguments to a config: whose it is, and what is wrong with them."""

import contextlib
import os
import sys
from unittest import mock

from absl import flags
from absl.testing import absltest, flagsaver, parameterized
import pytest

from rnnvae_jax import main
from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import build, command_line
from rnnvae_jax.training import workdir as workdir_lib

# From ml_collections, which loads the config file.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
)


def config_of(*args):
  """The config that the arguments are for, checked, by the mode they name."""
  argv = ['main', *args]
  with flagsaver.flagsaver(), mock.patch.object(sys, 'argv', argv):
    command_line.parse(argv)
    mode = flags.FLAGS.mode
    config = command_line.config_for(
      commands.REGISTRY[mode].NEEDS,
      flags.FLAGS.workdir,
      mode,
      flags.FLAGS.config,
      flags.FLAGS['config'],
      getattr(commands.REGISTRY[mode], 'INSTEAD', ''),
    )
    command_line.check_capability(commands.REGISTRY[mode], config, mode)
    return config


class ParseTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gru_vae', 'gru_vae'),
    ('gru_vae:tiny', 'gru_vae_tiny'),
    ('configs/ptb_vae.py:row=batch_norm,tiny', 'ptb_vae_row=batch_norm_tiny'),
    ('gru_vae:../my texts/a:b.txt', 'gru_vae_.._my_texts_a_b.txt'),
    (f'gru_vae:{"x" * 300}', f'gru_vae_{"x" * 100}'),
  )
  def test_a_run_without_a_workdir_is_named_after_its_config(self, value, name):
    found = command_line.default_workdir('config', value)
    self.assertEqual(found, os.path.join('runs', name))
    # Other modes need a folder that exists.
    self.assertEqual(command_line.default_workdir('run', value), '')

  def test_help_may_be_cut_short(self):
    reading, writing = os.pipe()
    os.close(reading)  # As `| head` does when it has read enough.
    stream = os.fdopen(writing, 'w')
    # Under pytest, absl has no --help.
    helped = mock.Mock(side_effect=SystemExit(1))
    with (
      mock.patch.object(command_line.flags, 'FLAGS', helped),
      contextlib.redirect_stdout(stream),
      self.assertRaises(SystemExit) as ended,
    ):
      command_line.parse(['main', '--config=gru_vae', '--help'])
    self.assertEqual(ended.exception.code, 0)
    stream.close()  # Without an error: what was left has been dropped.

  def test_a_tilde_is_the_home(self):
    with mock.patch.dict(os.environ, HOME='/home/of/this user'):
      self.assertEqual(
        command_line._with_home('--workdir=~/a run'),
        '--workdir=/home/of/this user/a run',
      )
    for other in ('--workdir=a~/b', '--config.generate.prime=~/b', '--workdir'):
      self.assertEqual(command_line._with_home(other), other)

  def test_without_a_home_a_tilde_is_refused(self):
    with (
      mock.patch.object(os.path, 'expanduser', lambda path: path),
      self.assertRaisesRegex(SystemExit, 'no home'),
    ):
      command_line._with_home('--workdir=~/run')

  def test_training_uses_that_folder_and_says_so(self):
    argv = ['main', '--config=gru_vae:tiny']
    with (
      flagsaver.flagsaver(),
      mock.patch.object(sys, 'argv', argv),
      mock.patch.object(commands.REGISTRY['train'], 'run') as run,
      self.assertLogs('absl', level='INFO') as log,
    ):
      main.main(command_line.parse(argv))
    (context,) = run.call_args.args
    self.assertEqual(context.workdir, os.path.join('runs', 'gru_vae_tiny'))
    self.assertIn(context.workdir, ' '.join(log.output))

  def error(self, *args):
    with self.assertRaises(SystemExit) as raised:
      config_of(*args)
    message = str(raised.exception)
    self.assertStartsWith(message, 'Error: ')
    self.assertNotIn('\n', message)
    return message.removeprefix('Error: ')

  @parameterized.parameters(
    ('--config=gru_vae:tiny',),
    ('--config', 'gru_vae:tiny'),
    ('-config=configs/gru_vae.py:tiny',),
  )
  def test_a_name_is_a_file_wherever_we_are(self, *args):
    self.addCleanup(os.chdir, os.getcwd())
    os.chdir(self.create_tempdir().full_path)
    config = config_of(*args, '--workdir=x', '--config.model.latent_size=5')
    self.assertEqual(config.model.kind, 'sentence_vae')
    self.assertEqual(config.model.latent_size, 5)
    self.assertEqual(config.corpus.name, 'grammar')

  @parameterized.parameters('a,b', 'a=b', 'a=b,c=d')
  def test_paths_with_commas_and_equals_signs(self, name):
    folder = os.path.join(self.create_tempdir().full_path, name)
    os.makedirs(folder)
    config = config_of(f'--config=gru_vae:{folder},tiny', '--workdir=x')
    self.assertEqual(config.corpus.name, folder)
    self.assertEqual(config.train.num_steps, 12)

  @parameterized.parameters(
    ('lr', 'optimizer.learning_rate'),
    ('optimizer.lr', 'optimizer.learning_rate'),
    ('train.lr', 'optimizer.learning_rate'),
    ('learning_rate', 'optimizer.learning_rate'),
    ('epochs', 'train.num_steps'),
    ('beta', 'objective.kl_weight'),
    ('z_dim', 'model.latent_size'),
    ('dataset', 'corpus.name'),
    ('model.latent_sze', 'model.latent_size'),
    ('latent_sze', 'model.latent_size'),
    ('modle.cell', 'model.cell'),
    ('train.learning_rate', 'optimizer.learning_rate'),
  )
  def test_an_unknown_key_is_answered_with_the_nearest(self, key, hint):
    self.assertEqual(
      self.error('--config=gru_vae:tiny', '--workdir=x', f'--config.{key}=3'),
      f'unknown config key {key!r}. Did you mean config.{hint}?',
    )

  def test_every_synonym_is_a_key_and_no_key_is_a_synonym(self):
    keys = build.all_keys()
    for synonym, key in command_line._SYNONYMS.items():
      self.assertIn(key, keys)
      self.assertNotIn(synonym, keys)

  def test_where_no_key_is_near_the_reference_is(self):
    self.assertEqual(
      self.error('--config=gru_vae:tiny', '--config.qqqqqqqq=3'),
      "unknown config key 'qqqqqqqq'. docs/config.md lists all keys.",
    )

  @parameterized.parameters(
    ('gru_lm', 'evaluate.iw_samples=3', 'language_model', 'sentence_vae'),
    (
      'gru_lm',
      'generate.posterior_sample=True',
      'language_model',
      'sentence_vae',
    ),
    ('gru_vae', 'train.unroll=5', 'sentence_vae', 'language_model'),
    ('ptb_ngram', 'model.hidden_size=5', 'ngrams', 'sentence_vae'),
  )
  def test_a_key_of_another_task_says_whose_it_is(
    self, name, override, kind, other
  ):
    message = self.error(
      f'--config={name}', '--workdir=x', f'--config.{override}'
    )
    key = override.partition('=')[0]
    self.assertStartsWith(
      message, f'config.{key} has no effect on a {kind}, the task of this'
    )
    self.assertIn(other, message)

  @parameterized.parameters(
    ('model.latent_size=4.5', 'config.model.latent_size=4.5: invalid literal'),
    ('optimizer.learning_rate=fast', 'config.optimizer.learning_rate=fast'),
  )
  def test_a_value_of_the_wrong_type(self, override, message):
    error = self.error('--config=gru_vae:tiny', f'--config.{override}')
    self.assertIn(message, error)

  @parameterized.parameters(
    ('gru_vea', "--config = 'gru_vea' is unknown. Did you mean 'gru_vae'?"),
    ('gru_vae:grammer', "'grammer' is unknown. Did you mean 'grammar'?"),
    ('gru_vae:labelled', '--config.corpus.labelled=True'),
    ('ptb_vae:row=skipp', "row = 'skipp' is unknown. Did you mean 'skip'?"),
  )
  def test_a_config_that_is_not_there(self, value, message):
    self.assertIn(message, self.error(f'--config={value}', '--workdir=x'))


class OutputTest(parameterized.TestCase):
  def test_a_place_that_is_not_there_is_refused_before_anything_is_read(self):
    folder = self.create_tempdir().full_path
    config = build.default('language_model')
    for output, message in (
      (f'{folder}/none/out.txt', f'there is no folder {folder}/none'),
      (folder, 'is a folder'),
    ):
      config.generate.output = output
      with self.assertRaisesRegex(ValueError, message):
        command_line._check_output(config)
    for output in ('-', f'{folder}/out.txt', os.devnull):
      config.generate.output = output
      command_line._check_output(config)


class ConfigForTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path
    config = build.default('sentence_vae')
    config.corpus.name, config.corpus.protocol = 'grammar', 'mikolov'
    config.model.latent_size = 7
    config.train.num_steps = 100
    workdir_lib.save_config(config, self.workdir)
    self.config = config

  def test_training_on_with_the_folders_own_config(self):
    config = config_of(
      f'--workdir={self.workdir}', '--config.train.num_steps=200'
    )
    self.assertEqual(config.train.num_steps, 200)
    self.assertEqual(config.model.latent_size, 7)
    self.assertEqual(config_of(f'--workdir={self.workdir}'), self.config)

  def test_what_is_free_may_be_changed(self):
    config = config_of(
      '--mode=evaluate',
      '--workdir',
      self.workdir,
      '--config.evaluate.iw_samples=3',
      '--config.model.backend=scan',
    )
    self.assertEqual(config.evaluate.iw_samples, 3)

  def test_what_is_trained_cannot_change(self):
    with self.assertRaisesRegex(
      ValueError, r'cannot change now(.|\n)*latent_size: 7 there, 8 here'
    ):
      config_of(
        '--mode=sample',
        f'--workdir={self.workdir}',
        '--config.model.latent_size=8',
      )

  def test_an_override_without_effect_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'nothing is drawn'):
      config_of(
        '--mode=sample',
        f'--workdir={self.workdir}',
        '--config.generate.temperature=0',
        '--config.generate.top_k=9',
      )

  @parameterized.parameters(
    (('--mode=sample', '--config=gru_vae'), "has the run's own"),
    (('--mode=reproduce', '--config=gru_vae'), 'has configs of its own'),
    (('--mode=reproduce', '--config.seed=3'), '--config.seed would not be'),
    (('--mode=gradients', '--config.seed=3'), '--config.seed would not be'),
    (('--mode=trace',), 'Tasks that can: language_model.'),
  )
  def test_a_mode_that_would_not_read_it(self, args, message):
    with self.assertRaisesRegex(ValueError, message):
      config_of(f'--workdir={self.workdir}', *args)

  @parameterized.parameters('train', 'sample', 'evaluate')
  def test_a_folder_without_a_run_says_how_to_train_one(self, mode):
    empty = self.create_tempdir().full_path
    for overrides in ((), ('--config.train.unroll=3',)):
      with self.assertRaisesRegex(FileNotFoundError, 'Train one first: pyth'):
        config_of(f'--mode={mode}', f'--workdir={empty}', *overrides)

  def test_a_key_may_stand_for_a_run(self):
    empty = self.create_tempdir().full_path
    mode = '--mode=vectors', f'--workdir={empty}'
    source = '--config.vectors.source=glove'
    config = config_of(*mode, source, '--config.vectors.count=3')
    self.assertEqual(config.vectors.source, 'glove')
    self.assertEqual(config.vectors.count, 3)
    for overrides, message in (
      ((), 'or set --config.vectors.source'),
      ((source, '--config.model.cell=gru'), 'model.cell would not be read'),
      ((source, '--config.vectors.count=0'), 'vectors.count = 0 is out of'),
      ((source, '--config.vectors.table=x'), 'would have no effect'),
    ):
      with self.assertRaisesRegex((ValueError, FileNotFoundError), message):
        config_of(*mode, *overrides)
    # Beside a run, the key is one of the run's config.
    config = config_of(mode[0], f'--workdir={self.workdir}', source)
    self.assertEqual(config.model.latent_size, 7)

  def test_modes_without_a_config_need_none(self):
    for mode in ('reproduce', 'gradients'):
      self.assertIsNone(config_of(f'--mode={mode}', '--workdir=x'))

  @parameterized.parameters(
    ('interpolate', 'language_model', 'sentence_vae'),
    ('reconstruct', 'ngrams', 'sentence_vae'),
    ('trace', 'ngrams', 'language_model'),
  )
  def test_a_task_that_cannot_names_those_that_can(self, mode, kind, able):
    with self.assertRaisesRegex(
      ValueError, f'--mode={mode} needs a run that .* is a {kind}. .*{able}'
    ):
      command_line.check_capability(
        commands.REGISTRY[mode], build.default(kind), mode
      )


if __name__ == '__main__':
  absltest.main()
