"""Averaging of iterates: the published trigger, the mean, what is evaluated."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnvae_jax.config import build as config_build
from rnnvae_jax.training import optimizers
from rnnvae_jax.training import state as state_lib


def make_state(opt_state, params):
  return state_lib.TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=opt_state,
    extras={},
    key=jax.random.key(0),
    selection=state_lib.no_selection(),
  )


class AveragingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.path = np.float32(rng.normal(size=(9, 4)))
    self.tx = optimizers.averaging(optax.identity(), patience=1)

  def walk(self, begin):
    """The evaluated parameters after each update along the path."""
    state = self.tx.init({'w': jnp.asarray(self.path[0])})
    seen = []
    for number, point in enumerate(self.path):
      if number == begin:  # The last of three is worse than the first.
        for value in (1.0, 3.0, 2.0):
          state = optimizers.update_averaging(state, value)
      params = {'w': jnp.asarray(point)}
      updates, state = self.tx.update({'w': jnp.ones(4)}, state, params)
      np.testing.assert_array_equal(updates['w'], np.ones(4))
      seen.append(optimizers.evaluated(make_state(state, params))['w'])
    return np.array(seen)

  def test_is_the_mean_of_the_parameters_since_it_began(self):
    begin = 3
    seen = self.walk(begin)
    np.testing.assert_array_equal(seen[:begin], self.path[:begin])
    for number in range(begin, len(self.path)):
      want = np.float64(self.path[begin : number + 1]).mean(axis=0)
      np.testing.assert_allclose(seen[number], want, rtol=1e-5, atol=1e-6)

  def test_begins_once(self):
    state = self.tx.init({'w': jnp.zeros(4)})
    for value in (1.0, 3.0, 2.0):
      state = optimizers.update_averaging(state, value)
    _, state = self.tx.update({'w': jnp.ones(4)}, state, {'w': jnp.ones(4)})
    self.assertEqual(int(optimizers.update_averaging(state, 4.0).count), 1)

  @parameterized.parameters(1, 2, 3, 5)
  def test_begins_when_the_published_rule_says_so(self, patience):
    rng = np.random.default_rng(patience)
    for _ in range(20):
      values = np.float32(rng.normal(size=25) - 0.1 * np.arange(25))
      tx = optimizers.averaging(optax.identity(), patience)
      state = tx.init({'w': jnp.zeros(1)})
      begun = False
      for number, value in enumerate(values):
        # min(best_val_loss[:-n]) of those before this one.
        before = values[: max(number - patience, 0)]
        begun |= bool(len(before)) and value > before.min()
        state = optimizers.update_averaging(state, float(value))
        self.assertEqual(int(state.count) >= 0, begun, (values, number))

  def test_an_optimiser_without_it_is_evaluated_as_it_is(self):
    tx = optax.scale_by_adam()
    params = {'w': jnp.ones(4)}
    state = make_state(tx.init(params), params)
    self.assertIs(optimizers.evaluated(state), params)
    self.assertIs(
      optimizers.update_averaging(state.opt_state, 1.0), state.opt_state
    )

  def test_is_there_only_if_it_may_begin(self):
    config = config_build.default('language_model')
    params = {'w': jnp.ones(4)}
    for patience in (0, 2):
      config.optimizer.average_patience = patience
      state = optimizers.build(config).init(params)
      self.assertEqual(isinstance(state, optimizers.Averaging), bool(patience))


class WeightsTest(absltest.TestCase):
  def test_are_what_is_evaluated_and_no_more(self):
    tx = optimizers.averaging(optax.scale_by_adam(), patience=1)
    params = {'w': jnp.ones(4)}
    opt_state = tx.init(params)
    average = {'w': jnp.full(4, 3.0)}
    for count, want in ((-1, params), (0, params), (2, average)):
      state = make_state(
        opt_state._replace(average=average, count=jnp.int32(count)), params
      ).replace(step=jnp.int32(7), extras={'e': jnp.ones(2)})
      got = optimizers.weights(state)
      np.testing.assert_array_equal(got.params['w'], want['w'])
      self.assertEqual(int(got.step), 7)
      self.assertIs(got.extras, state.extras)
      self.assertLen(jax.tree.leaves(got), 3)


if __name__ == '__main__':
  absltest.main()
