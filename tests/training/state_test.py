"""What validation decides: best checkpoint, decay, patience."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnvae_jax.training import state as state_lib


class OneWeight:
  """A task of one weight, whose first value is drawn."""

  def init(self, key):
    return {'weight': jax.random.normal(key, (3,))}

  def initial_extras(self):
    return {}


def create(seed=0):
  return state_lib.create(OneWeight(), optax.scale_by_adam(), seed)


def as_tuple(selection):
  return (
    float(selection.best),
    int(selection.best_step),
    int(selection.evaluations_since_best),
    int(selection.evaluations_since_decay),
    float(selection.learning_rate_scale),
  )


class CreateTest(parameterized.TestCase):
  def test_is_a_pure_function_of_the_seed(self):
    first, again, other = create(0), create(0), create(1)
    as_arrays = lambda state: [
      np.asarray(leaf) for leaf in jax.tree.leaves(state.replace(key=None))
    ]
    for one, two in zip(as_arrays(first), as_arrays(again), strict=True):
      np.testing.assert_array_equal(one, two)
    for key, same in ((again.key, True), (other.key, False)):
      data = jax.random.key_data
      self.assertEqual(bool((data(first.key) == data(key)).all()), same)
    self.assertTrue((first.params['weight'] != other.params['weight']).all())

  def test_trains_with_another_key_than_it_was_drawn_with(self):
    state = create()
    drawn = OneWeight().init(state.key)['weight']
    self.assertTrue((drawn != state.params['weight']).all())


class SelectTest(parameterized.TestCase):
  # After each figure: best, best step, evaluations since best and since decay,
  # scale of the learning rate.
  @parameterized.named_parameters(
    {
      'testcase_name': 'keeps_the_first_and_every_lower_figure',
      'patience': 0,
      'history': [
        (9.0, (9.0, 10, 0, 0, 1.0)),
        (7.0, (7.0, 20, 0, 0, 1.0)),
        (8.0, (7.0, 20, 1, 1, 1.0)),
        (6.5, (6.5, 40, 0, 0, 1.0)),
      ],
    },
    {
      'testcase_name': 'takes_an_equal_figure_for_no_better',
      'patience': 0,
      'history': [(9.0, (9.0, 10, 0, 0, 1.0)), (9.0, (9.0, 10, 1, 1, 1.0))],
    },
    {
      'testcase_name': 'never_decays_without_a_patience',
      'patience': 0,
      'history': [
        (1.0, (1.0, 10, 0, 0, 1.0)),
        (2.0, (1.0, 10, 1, 1, 1.0)),
        (2.0, (1.0, 10, 2, 2, 1.0)),
        (2.0, (1.0, 10, 3, 3, 1.0)),
      ],
    },
    {
      'testcase_name': 'decays_every_patience_evaluations_without_a_best',
      'patience': 2,
      'history': [
        (1.0, (1.0, 10, 0, 0, 1.0)),
        (2.0, (1.0, 10, 1, 1, 1.0)),
        (2.0, (1.0, 10, 2, 0, 0.25)),
        (1.5, (1.0, 10, 3, 1, 0.25)),
        (3.0, (1.0, 10, 4, 0, 0.0625)),
        (2.0, (1.0, 10, 5, 1, 0.0625)),
      ],
    },
    {
      'testcase_name': 'counts_from_zero_after_a_best_and_keeps_the_decay',
      'patience': 2,
      'history': [
        (5.0, (5.0, 10, 0, 0, 1.0)),
        (6.0, (5.0, 10, 1, 1, 1.0)),
        (6.0, (5.0, 10, 2, 0, 0.25)),
        (6.0, (5.0, 10, 3, 1, 0.25)),
        (4.0, (4.0, 50, 0, 0, 0.25)),
        (6.0, (4.0, 50, 1, 1, 0.25)),
        (6.0, (4.0, 50, 2, 0, 0.0625)),
      ],
    },
    {
      'testcase_name': 'is_never_won_by_what_is_no_number',
      'patience': 0,
      'history': [
        (np.nan, (np.inf, 0, 1, 1, 1.0)),
        (3.0, (3.0, 20, 0, 0, 1.0)),
        (np.inf, (3.0, 20, 1, 1, 1.0)),
        (np.nan, (3.0, 20, 2, 2, 1.0)),
      ],
    },
  )
  def test_selection(self, patience, history):
    selection = create().selection
    for number, (value, want) in enumerate(history, 1):
      selection = state_lib.select(
        selection, value, 10 * number, patience, 0.25
      )
      self.assertEqual(as_tuple(selection), want)

  def test_keeps_the_types_that_a_checkpoint_holds(self):
    before = create().selection
    types = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
    best = state_lib.select(before, 2.0, 10, 1, 0.5)
    self.assertEqual(types(best), types(before))
    decayed = state_lib.select(best, 3.0, 20, 1, 0.5)
    self.assertEqual(types(decayed), types(before))

  def test_calls_no_figure_best_that_rounds_to_the_best(self):
    # The best is kept in float32, as the checkpoint holds it. A figure that
    # is lower by less than its rounding must not be saved again and again.
    selection = state_lib.select(create().selection, 1.0, 10, 0, 0.5)
    lower = 1.0 - 1e-3 * float(np.finfo(np.float32).eps)
    again = state_lib.select(selection, lower, 20, 0, 0.5)
    self.assertEqual(jnp.float32(lower), selection.best)
    self.assertEqual(int(again.best_step), 10)


if __name__ == '__main__':
  absltest.main()
