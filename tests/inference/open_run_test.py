"""What is opened of a run's folder."""

import os

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.inference import loading
from rnnvae_jax.training import checkpoints, optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

import helpers


class OpenRunTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    root = self.create_tempdir().full_path
    self.workdir, folder = os.path.join(root, 'run'), os.path.join(root, 'text')
    os.makedirs(folder)
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write('a b b c .\nb a d .\n' if split == 'train' else 'a b .\n')
    self.config = helpers.make_config(
      'language_model',
      **{
        'corpus.name': folder,
        'corpus.protocol': 'mikolov',
        'model.embedding_size': 5,
        'model.hidden_size': 6,
      },
    )

  def test_these_are_the_averaged_weights_once_there_are_some(self):
    self.config.optimizer.name = 'sgd'
    self.config.optimizer.average_patience = 2
    corpus = preparation.prepare(self.config, self.workdir)
    task = helpers.make_task(self.config, corpus.vocab)
    state = state_lib.create(task, optimizers.build(self.config), 0)
    average = jax.tree.map(lambda leaf: 3 * leaf, state.params)
    saved = checkpoints.Checkpoints(
      workdir_lib.checkpoint_dir(self.workdir), corpus.vocab.content_hash
    )
    for step, count, want in ((10, 0, state.params), (20, 3, average)):
      opt_state = state.opt_state._replace(
        average=average, count=jnp.full_like(state.opt_state.count, count)
      )
      state = state.replace(step=jnp.int32(step), opt_state=opt_state)
      saved.save(state, step, 'latest')
      run = loading.open_run(self.config, self.workdir)
      self.assertEqual(run.checkpoint, f'latest, step {step}')
      jax.tree.map(np.testing.assert_array_equal, run.params, want)

  def test_a_run_without_a_checkpoint_says_when_there_will_be_one(self):
    self.config.train.eval_every = 40
    preparation.prepare(self.config, self.workdir)
    with self.assertRaisesRegex(FileNotFoundError, 'after 40 steps'):
      loading.open_run(self.config, self.workdir)


if __name__ == '__main__':
  absltest.main()
