"""Rate controls by hand, and on a problem whose solution is known."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.objectives import rate_control, schedules


def lagrangian(multiplier=0.0, square=0.0, largest_weight=0.0):
  return {
    'multiplier': jnp.float32(multiplier),
    'square': jnp.float32(square),
    'largest_weight': jnp.float32(largest_weight),
  }


class RateControlTest(parameterized.TestCase):
  def test_none_does_nothing(self):
    state = rate_control.initial('none')
    factor, added = rate_control.penalty(
      'none', state, jnp.float32(3), 5.0, 0.5
    )
    self.assertEqual(float(rate_control.kl_weight('none', state, 0.5)), 0.5)
    self.assertEqual((float(factor), float(added)), (1.0, 0.0))
    self.assertEqual(rate_control.update('none', state, 3.0, 5.0, 0.1), {})

  def test_a_lagrangian_pulls_towards_the_target(self):
    state = lagrangian(multiplier=0.25)
    factor, added = rate_control.penalty(
      'lagrangian', state, jnp.float32(3), 5.0, 1.0
    )
    self.assertEqual((float(factor), float(added)), (1.0, 0.5))

  def test_a_multiplier_climbs_by_rmsprop_and_is_never_negative(self):
    state = rate_control.initial('lagrangian')
    below = rate_control.update('lagrangian', state, jnp.float32(3), 5.0, 0.1)
    # The mean square is 1% of 4: a first step of 0.1 * 2 / 0.2.
    np.testing.assert_allclose(below['multiplier'], 1.0, rtol=1e-5)
    np.testing.assert_allclose(below['square'], 0.04, rtol=1e-5)
    above = rate_control.update('lagrangian', state, jnp.float32(9), 5.0, 0.1)
    self.assertEqual(float(above['multiplier']), 0.0)

  @parameterized.parameters((1.0, 0.75), (0.5, 0.5), (0.0, 0.0))
  def test_the_loss_reads_a_multiplier_of_at_most_the_kl_weight(
    self, weight, used
  ):
    state = lagrangian(multiplier=0.75, largest_weight=2.0)
    _, added = rate_control.penalty(
      'lagrangian', state, jnp.float32(3), 7.0, weight
    )
    self.assertEqual(float(added), 4 * used)
    paid = rate_control.kl_weight('lagrangian', state, weight)
    self.assertEqual(float(paid), weight - used)

  def test_the_stored_multiplier_is_at_most_the_largest_weight_so_far(self):
    state = lagrangian(multiplier=0.75, square=2.0)
    for weight, want in ((0.5, 0.5), (0.25, 0.5), (1.0, 0.5)):
      state = rate_control.bounded('lagrangian', state, weight)
      self.assertEqual(float(state['multiplier']), want)
    self.assertEqual(float(state['largest_weight']), 1.0)
    state = {'weight': jnp.float32(0.75)}
    got = rate_control.bounded('soft_free_bits', state, 0.5)
    self.assertEqual(got, state)

  @parameterized.parameters('constant', 'linear', 'sigmoid', 'cosine')
  def test_under_a_weight_that_never_falls_it_is_clipped_to_that_of_the_step(
    self, kind
  ):
    weight = jax.jit(
      lambda step: schedules.anneal(kind, step, start=0.1, end=0.9, steps=50)
    )
    # One program for both, so that they round alike.
    update = jax.jit(
      lambda state, kl: rate_control.update('lagrangian', state, kl, 5.0, 0.05)
    )
    state = clipped = rate_control.initial('lagrangian')
    for step in range(100):
      now = weight(step)
      state = rate_control.bounded('lagrangian', state, now)
      clipped |= {'multiplier': jnp.minimum(clipped['multiplier'], now)}
      self.assertEqual(state['multiplier'], clipped['multiplier'])
      # KLs around a target of 5, mostly below it: the multiplier climbs.
      kl = np.float32(4.5 + 2 * np.sin(step))
      state, clipped = update(state, kl), update(clipped, kl)
    self.assertGreater(float(state['multiplier']), 0.2)

  def test_a_multiplier_outlives_the_restart_of_a_cycle(self):
    # Distortion (r - 6)² / 12: at r = 4 its slope is -1/3, so that of a weight
    # of 1 two thirds are to be taken away.
    length, cycles, speed = 20_000, 2, 2e-4
    weight = lambda step: schedules.anneal(
      'cyclical', step, start=0.0, end=1.0, steps=length, cycles=cycles
    )

    def loss(rate, state, weight):
      factor, added = rate_control.penalty(
        'lagrangian', state, rate, 4.0, weight
      )
      return (rate - 6) ** 2 / 12 + weight * factor * rate + added

    def step(loop, number):
      rate, state = loop
      now = weight(number)
      state = rate_control.bounded('lagrangian', state, now)
      rate = rate - 0.05 * jax.grad(loss)(rate, state, now)
      state = rate_control.update('lagrangian', state, rate, 4.0, speed)
      paid = rate_control.kl_weight('lagrangian', state, now)
      return (rate, state), (rate, state['multiplier'], paid)

    start = jnp.float32(6), rate_control.initial('lagrangian')
    run = jax.jit(lambda: jax.lax.scan(step, start, jnp.arange(length)))
    _, (rates, multipliers, paid) = run()
    self.assertGreaterEqual(np.min(paid), 0.0)
    # No update changes it by more than RMSprop's largest step, 10 speeds, at
    # the restart neither.
    self.assertLess(np.max(np.abs(np.diff(multipliers))), 10.1 * speed)
    restart = length // cycles
    self.assertEqual(float(weight(restart)), 0.0)
    np.testing.assert_allclose(multipliers[restart - 1], 2 / 3, atol=0.05)
    np.testing.assert_allclose(multipliers[restart], 2 / 3, atol=0.05)
    # While the weight is at its end, in each cycle, the rate is held.
    for cycle in range(cycles):
      end = (cycle + 1) * restart
      self.assertAlmostEqual(
        float(np.mean(rates[end - restart // 4 : end])), 4.0, delta=0.1
      )

  def test_a_rate_far_below_its_target_does_not_run_away(self):
    # A decoder that does not listen yet, nats that grow by themselves: paid
    # for by more than the KL costs they would never come to an end.
    def loss(width, state):
      kl = 0.5 * width**2
      _, added = rate_control.penalty('lagrangian', state, kl, 8.0, 0.1)
      return 0.1 * kl + added

    def step(loop, _):
      width, state = loop
      state = rate_control.bounded('lagrangian', state, 0.1)
      width = width - jax.grad(loss)(width, state)
      kl = 0.5 * width**2
      state = rate_control.update('lagrangian', state, kl, 8.0, 0.01)
      return (width, state), kl

    start = jnp.float32(0.1), rate_control.initial('lagrangian')
    _, kl = jax.lax.scan(step, start, length=500)
    self.assertLess(float(np.max(kl)), 8.0)

  @parameterized.parameters((4.9, 0.9), (5.1, 1.0), (5.3, 1.1))
  def test_soft_free_bits_have_a_band(self, kl, factor):
    state = {'weight': jnp.float32(0.5)}
    new = rate_control.update('soft_free_bits', state, kl, 5.0, 0.1)
    np.testing.assert_allclose(new['weight'], 0.5 * factor, rtol=1e-6)

  def test_soft_free_bits_weigh_at_most_1_and_come_back_from_the_least(self):
    state = {'weight': jnp.float32(0.99)}
    new = rate_control.update('soft_free_bits', state, 9.0, 5.0, 0.1)
    self.assertEqual(float(new['weight']), 1.0)
    for _ in range(2_000):
      new = rate_control.update('soft_free_bits', new, 1.0, 5.0, 0.1)
    self.assertGreater(float(new['weight']), 0.0)

  @parameterized.parameters('lagrangian', 'soft_free_bits')
  def test_holds_the_rate_where_the_loss_alone_would_not(self, kind):
    # The optimum of distortion (r - 6)² / 12 + r is r = 0; at r = 4 the slope
    # of the distortion is -1/3, so a third of the KL's weight holds it there.
    def loss(rate, state):
      factor, added = rate_control.penalty(kind, state, rate, 4.0, 1.0)
      return (rate - 6) ** 2 / 12 + factor * rate + added

    def step(loop, _):
      rate, state = loop
      state = rate_control.bounded(kind, state, 1.0)
      rate = rate - 0.05 * jax.grad(loss)(rate, state)
      state = rate_control.update(kind, state, rate, 4.0, 0.002)
      return (rate, state), rate

    start = jnp.float32(6), rate_control.initial(kind)
    (_, state), rates = jax.lax.scan(step, start, length=20_000)
    self.assertAlmostEqual(float(np.mean(rates[-5_000:])), 4.1, delta=0.12)
    weight = rate_control.kl_weight(kind, state, 1.0)
    self.assertAlmostEqual(float(weight), 1 / 3, delta=0.1)

  def test_an_unknown_one_is_named(self):
    with self.assertRaisesRegex(ValueError, "Did you mean 'lagrangian'"):
      rate_control.initial('lagrange')


if __name__ == '__main__':
  absltest.main()
