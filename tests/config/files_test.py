"""Config files are found from any folder, and a run's own config is one."""

import os
import pathlib
import runpy

from absl.testing import absltest, parameterized

from rnnvae_jax.config import build, files, saved
from rnnvae_jax.training import workdir as workdir_lib


class FindTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.addCleanup(os.chdir, os.getcwd())
    os.chdir(self.create_tempdir().full_path)

  @parameterized.parameters('gru_vae', 'gru_vae.py', 'configs/gru_vae.py')
  def test_one_of_our_own_is_found_from_any_folder(self, name):
    path = pathlib.Path(files.find(name))
    self.assertTrue(path.is_absolute())
    self.assertEqual(path.name, 'gru_vae.py')
    config = runpy.run_path(str(path))['get_config']('')
    self.assertEqual(config.model.kind, 'sentence_vae')

  def test_a_file_comes_before_one_of_our_own(self):
    pathlib.Path('gru_vae.py').write_text('')
    self.assertEqual(files.find('gru_vae.py'), 'gru_vae.py')
    self.assertNotEqual(files.find('gru_vae'), 'gru_vae')

  @parameterized.parameters('gru_vea', 'gru_vea.py', 'configs/gru_vea.py')
  def test_an_unknown_one_is_answered_with_the_nearest(self, name):
    with self.assertRaisesRegex(
      FileNotFoundError, "'gru_vea' is unknown. .*mean 'gru_vae'.*Nor is it a"
    ):
      files.find(name)

  def test_a_path_elsewhere_is_not_one_of_our_own(self):
    for path in ('elsewhere/gru_vae.py', '/elsewhere/configs/gru_vae.py'):
      with self.assertRaisesRegex(FileNotFoundError, f'{path} does not exist'):
        files.find(path)

  def test_all_files_of_the_source_tree_are_ours(self):
    tree = pathlib.Path(files.__file__).parent.parent.parent / 'configs'
    if not tree.is_dir():
      self.skipTest('not in the source tree')
    names = {path.name for path in tree.glob('*.py')}
    self.assertEqual({path.name for path in files.folder().glob('*.py')}, names)


class SavedTest(absltest.TestCase):
  def test_is_the_config_of_the_run(self):
    workdir = self.create_tempdir().full_path
    config = build.default('language_model')
    config.corpus.name, config.corpus.protocol = 'lee', 'plain'
    config.model.hidden_size = 77
    workdir_lib.save_config(config, workdir)
    self.assertEqual(saved.get_config(workdir), config)

  def test_has_every_key_where_there_is_no_run(self):
    config = saved.get_config(self.create_tempdir().full_path)
    self.assertEqual({*build.flatten(config)}, {*build.all_keys()})


if __name__ == '__main__':
  absltest.main()
