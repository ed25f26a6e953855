"""What follows from a validation."""

from absl.testing import absltest
import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.training import optimizers, validation
from rnnvae_jax.training import state as state_lib

import helpers


class ValidationTest(absltest.TestCase):
  def test_is_of_the_averaged_weights_once_there_are_some(self):
    config = helpers.make_config('language_model')
    config.model.embedding_size, config.model.hidden_size = 5, 6
    config.optimizer.name, config.optimizer.average_patience = 'sgd', 2
    config.evaluate.num_buckets = 1
    task, tx = helpers.make_task(config, 11), optimizers.build(config)
    state = state_lib.create(task, tx, 0)
    average = jax.tree.map(lambda leaf: 3 * leaf, state.params)
    averaging = lambda count: state.replace(
      opt_state=state.opt_state._replace(
        average=average, count=jnp.full_like(state.opt_state.count, count)
      )
    )
    split = corpora.split_of([np.int32([4, 6, 5]), np.int32([7])])
    validate = validation.make_validation(config, task, split)
    nll = lambda state: validate(state, 0)['nll_per_sentence']
    of_average = nll(state.replace(params=average))
    self.assertGreater(abs(of_average - nll(state)), 1e-3)
    self.assertEqual(nll(averaging(3)), of_average)
    self.assertEqual(nll(averaging(0)), nll(state))


class RecordValidationTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    config = helpers.make_config('sentence_vae')
    config.model.embedding_size, config.model.hidden_size = 5, 6
    config.model.latent_size = 3
    config.train.pretrain_steps = 1_000
    config.optimizer.average_patience = 2
    self.config, self.task = config, helpers.make_task(config, 11)
    self.tx = optimizers.build(config)
    state = state_lib.create(self.task, self.tx, 0)
    trained = jax.tree.map(lambda leaf: leaf + 1.0, state.params)
    moved = jax.tree.map(jnp.ones_like, state.opt_state.inner)
    self.state = state.replace(
      params=trained, opt_state=state.opt_state._replace(inner=moved)
    )
    self.fresh = state

  def record(self, state, step, nll=100.0, information=1.0):
    summary = {
      'nll_per_sentence': nll,
      'reconstruction': nll - 1,
      'mutual_information_batch': information,
    }
    return validation.record_validation(
      self.config,
      self.task,
      self.tx,
      state.replace(step=jnp.int32(step)),
      summary,
    )

  def test_an_autoencoder_is_not_selected(self):
    after = self.record(self.state, 500, nll=1.0)
    chex.assert_trees_all_equal(
      jax.tree.leaves(after.selection), jax.tree.leaves(self.state.selection)
    )

  def test_a_pretrained_encoder_gets_a_new_decoder(self):
    after = self.record(self.state, 1_000)
    new, old = after.params['params'], self.state.params['params']
    for part in ('encoder', 'posterior'):
      chex.assert_trees_all_equal(new[part], old[part])
    embedding = lambda part: part['decoder']['embedding']
    chex.assert_trees_all_equal(embedding(new), embedding(old))
    fresh = self.fresh.params['params']['decoder']
    for name in set(fresh) - {'embedding'}:
      chex.assert_trees_all_equal(new['decoder'][name], fresh[name])
    moments = jax.tree.leaves(after.opt_state.inner)
    self.assertTrue(all(not np.any(leaf) for leaf in moments))
    self.assertEqual(float(after.selection.best), np.inf)

  def test_a_control_of_the_rate_begins_anew_where_pretraining_ends(self):
    self.config.objective.rate_control = 'lagrangian'
    self.config.objective.target_rate = 5.0
    self.task = helpers.make_task(self.config, 11)
    initial = self.task.initial_extras()['rate_control']
    held = jax.tree.map(lambda x: x + 7.0, initial)
    state = self.state.replace(
      extras=self.state.extras | {'rate_control': held}
    )
    after = self.record(state, 500)
    self.assertEqual(after.extras['rate_control'], held)
    after = self.record(state, 1_000)
    self.assertEqual(after.extras['rate_control'], initial)

  def test_averaging_begins_once_earlier_evaluations_were_better(self):
    state, counts = self.state, []
    for number, nll in enumerate((9.0, 8.0, 8.5, 8.2, 8.4)):
      state = self.record(state, 1_500 + 500 * number, nll)
      counts.append(int(state.opt_state.count))
    self.assertEqual(counts, [-1, -1, -1, -1, 0])

  def test_the_encoder_explores_until_its_information_falls(self):
    state, explores = self.state, []
    for number, information in enumerate((0.5, 0.9, 0.8, 2.0)):
      state = self.record(state, 1_500 + 500 * number, information=information)
      explores.append(bool(state.selection.explores))
    self.assertEqual(explores, [True, True, False, False])

  def test_selects_by_the_figure_asked_for(self):
    self.config.train.select_by = 'reconstruction'
    after = self.record(self.state, 1_500, nll=50.0)
    self.assertEqual(float(after.selection.best), 49.0)


if __name__ == '__main__':
  absltest.main()
