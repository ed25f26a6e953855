import sys
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.objectives import posteriors, schedules

EPS = np.finfo(np.float32).eps

# Values at steps 0, 6, 12, 18, 24, 30 and 48 from 0.2 to 1.0 in 24 steps,
# with two cycles.
STEPS = (0, 6, 12, 18, 24, 30, 48)
TABLE = {
  'constant': (1.0,) * 7,
  'linear': (0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0),
  'sigmoid': tuple(
    0.2 + 0.8 / (1 + np.exp(5 - 10 * x))
    for x in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 2.0)
  ),
  'cosine': (
    0.2,
    0.2 + 0.4 * (1 - np.sqrt(0.5)),
    0.6,
    0.2 + 0.4 * (1 + np.sqrt(0.5)),
    1.0,
    1.0,
    1.0,
  ),
  'cyclical': (0.2, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0),
}
SETTING = {'start': 0.2, 'end': 1.0, 'steps': 24, 'cycles': 2}


class AnnealTest(parameterized.TestCase):
  def test_the_staircase_is_that_of_zaremba_s_epochs(self):
    # Its code: decay ** max(epoch + 1 - constant epochs, 0), from epoch 0 on.
    every, constant = 7, 4
    for step in range(70):
      got = schedules.staircase(
        step, start=constant * every, every=every, factor=0.5
      )
      want = 0.5 ** max(step // every + 1 - constant, 0)
      self.assertAlmostEqual(float(got), want)

  def test_every_kind_has_a_table(self):
    self.assertCountEqual(schedules.KINDS, TABLE)

  @parameterized.product(kind=schedules.KINDS, jit=(False, True))
  def test_matches_the_table(self, kind, jit):
    fn = lambda step, setting: schedules.anneal(kind, step, **setting)
    if jit:  # Every argument but the kind is traced.
      fn = jax.jit(fn)
    values = [fn(step, SETTING) for step in STEPS]
    # A ulp each for x and the two products; 10 x - 5 and the cosine's argument
    # magnify that of x by at most 10.
    np.testing.assert_allclose(values, TABLE[kind], rtol=0, atol=16 * EPS)
    self.assertEqual({value.dtype for value in values}, {jnp.dtype('float32')})
    self.assertEqual({value.shape for value in values}, {()})

  @parameterized.parameters(*schedules.KINDS)
  def test_one_program_serves_a_population_of_settings(self, kind):
    fn = lambda step, setting: schedules.anneal(kind, step, **setting)
    settings = {
      'start': np.float32([0.2, 0.0]),
      'end': np.float32([1.0, 3.0]),
      'steps': np.int32([24, 0]),
      'cycles': np.int32([2, 5]),
    }
    over_trials = jax.vmap(fn, in_axes=(None, 0))
    got = jax.vmap(over_trials, in_axes=(0, None))(np.int32(STEPS), settings)
    want = np.stack([TABLE[kind], np.full(7, 3.0)], axis=1)
    np.testing.assert_allclose(got, want, rtol=0, atol=16 * EPS)

  @parameterized.product(
    kind=('linear', 'cosine', 'cyclical'), end=(0.0, 0.1, 1 / 3)
  )
  def test_decays_from_exactly_start_to_exactly_end(self, kind, end):
    setting = {'start': 1e-3, 'end': end, 'steps': 7}
    first = schedules.anneal(kind, 0, **setting)
    last = schedules.anneal(kind, 7, **setting)
    self.assertEqual((first, last), (np.float32(1e-3), np.float32(end)))

  def test_the_sigmoid_is_near_its_end_after_its_steps_and_then_tends_to_it(
    self,
  ):
    setting = {'start': 0.0, 'end': 1.0, 'steps': 13_160}
    near = schedules.anneal('sigmoid', 13_160, **setting)
    self.assertAlmostEqual(float(near), 0.9933, places=4)
    self.assertEqual(schedules.anneal('sigmoid', 10**6, **setting), 1.0)

  @parameterized.parameters((90, 3), (49, 7), (1000, 13), (97, 4))
  def test_every_cycle_starts_on_its_step(self, steps, cycles):
    fn = lambda step: schedules.anneal(
      'cyclical', step, start=0.25, end=0.75, steps=steps, cycles=cycles
    )
    got = jax.jit(jax.vmap(fn))(np.arange(steps + 5))
    # In whole numbers: position in units of 1 / (steps * cycles) of the ramp.
    want = [
      0.25 + 0.5 * min(1.0, 2 * (step * cycles % steps) / steps)
      if step < steps
      else 0.75
      for step in range(steps + 5)
    ]
    np.testing.assert_allclose(got, want, rtol=0, atol=4 * EPS)

  @parameterized.product(kind=schedules.KINDS, step=(0, 5))
  def test_no_steps_means_the_end_without_nan(self, kind, step):
    fn = lambda start, end, steps: schedules.anneal(
      kind, step, start=start, end=end, steps=steps
    )
    fn = jax.jit(jax.value_and_grad(fn, argnums=(0, 1, 2)))
    value, grads = fn(0.5, 2.0, 0.0)
    self.assertEqual(value, 2.0)
    self.assertEqual(tuple(map(float, grads)), (0.0, 1.0, 0.0))

  @parameterized.parameters(*schedules.KINDS)
  def test_gradients_share_the_value_out_between_start_and_end(self, kind):
    fn = lambda start, end: schedules.anneal(
      kind, 7, start=start, end=end, steps=24, cycles=2
    )
    value, (to_start, to_end) = jax.value_and_grad(fn, (0, 1))(2.0, 10.0)
    np.testing.assert_allclose(to_start + to_end, 1.0, rtol=2 * EPS)
    np.testing.assert_allclose(2 * to_start + 10 * to_end, value, rtol=4 * EPS)

  @parameterized.parameters(0, 24)
  def test_an_unknown_kind_is_told_the_nearest(self, steps):
    with self.assertRaisesRegex(
      ValueError, "'cosin' is unknown. Did you mean 'cosine'.*Known: const"
    ):
      schedules.anneal('cosin', 0, start=0.0, end=1.0, steps=steps)


MODULE = """
import jax.numpy as jnp
import math

ANSWER = 42

def square_root(x):
  return jnp.sqrt(jnp.clip(x, 0.0, 1.0))

def restart(x):
  return x % 0.5

def half(x):
  return 0.5

def overshoots(x):
  return 1.25 * x

def undefined(x):
  return jnp.log(x - x - 1.0)

def vector(x):
  return jnp.stack([x, x])

def branches(x):
  return 1.0 if x > 0.5 else 0.0

def of_math(x):
  return math.sqrt(x)
"""


class FunctionTest(parameterized.TestCase):
  """Shapes that a user writes."""

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir()
    self.file = self.folder.create_file('own_shapes.py', MODULE).full_path

  @parameterized.parameters(*schedules.KINDS)
  def test_a_name_of_a_shape_resolves_to_itself(self, kind):
    self.assertEqual(schedules.resolve(kind), kind)

  @parameterized.parameters(False, True)
  def test_a_function_of_a_file_is_followed(self, jit):
    shape = schedules.resolve(f'{self.file}:square_root')
    fn = lambda step: schedules.anneal(
      shape, step, start=0.2, end=1.0, steps=24
    )
    if jit:
      fn = jax.jit(fn)
    got = [fn(step) for step in STEPS]
    want = 0.2 + 0.8 * np.sqrt(np.minimum(np.array(STEPS) / 24, 1))
    np.testing.assert_allclose(got, want, rtol=0, atol=8 * EPS)
    self.assertEqual({value.dtype for value in got}, {jnp.dtype('float32')})

  def test_one_program_serves_a_population_of_settings(self):
    shape = schedules.resolve(f'{self.file}:restart')
    fn = lambda step, end, steps: schedules.anneal(
      shape, step, start=0.0, end=end, steps=steps
    )
    fn = jax.vmap(jax.vmap(fn, (None, 0, 0)), (0, None, None))
    got = jax.jit(fn)(
      jnp.arange(8), jnp.float32([1.0, 4.0]), jnp.float32([8, 0])
    )
    want = [[step / 8 % 0.5, 4.0] for step in range(8)]  # No steps: the end.
    np.testing.assert_array_equal(got, want)

  def test_a_constant_of_python_is_a_shape(self):
    shape = schedules.resolve(f'{self.file}:half')
    got = schedules.anneal(shape, 3, start=1.0, end=2.0, steps=9)
    self.assertEqual(float(got), 1.5)

  def test_a_function_of_a_module_on_the_path_is_found(self):
    with mock.patch.object(sys, 'path', [self.folder.full_path, *sys.path]):
      shape = schedules.resolve('own_shapes:square_root')
    self.addCleanup(sys.modules.pop, 'own_shapes')
    self.assertEqual(float(shape(jnp.float32(0.25))), 0.5)

  @parameterized.parameters(
    ('nowhere.py:ramp', "no file 'nowhere.py'.*current folder"),
    ('no_such_module:ramp', 'import failed.*no_such_module'),
    ('FILE:square_rot', "'square_rot' is unknown. Did you mean 'square_root'"),
    ('FILE:ANSWER', "function = 'ANSWER' is unknown"),
    ('FILE:overshoots', r'returns 1.125 at x = 0.9. Legal: 0 to 1'),
    ('FILE:undefined', 'returns nan at x = 0'),
    ('FILE:vector', r'array of shape \(2,\)'),
    ('FILE:branches', 'cannot be traced by JAX.*jnp.where'),
    ('FILE:of_math', 'cannot be traced by JAX'),
  )
  def test_what_cannot_serve_is_refused_with_the_reason(self, name, message):
    name = name.replace('FILE', self.file)
    with self.assertRaisesRegex(ValueError, f'(?s)objective.kl.*{message}'):
      schedules.resolve(name)

  def test_a_file_that_cannot_be_imported_is_named_with_the_error(self):
    path = self.folder.create_file('broken.py', 'raise ValueError(7)').full_path
    with self.assertRaisesRegex(ValueError, r'broken.py.*ValueError\(7\)'):
      schedules.resolve(f'{path}:ramp', 'optimizer.schedule')


class ConfigTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.schema = schema.Schema(
      [schedules.KLScheduleConfig, *posteriors.fragments()]
    )

  def check(self, given=None, **values):
    config = self.schema.default()
    config.update_from_flattened_dict(
      {key.replace('__', '.'): value for key, value in values.items()}
    )
    self.schema.check(config, given)

  @parameterized.parameters(
    *(kind for kind in schedules.KINDS if kind != 'cyclical'),
    'package.module:ramp',
    'no/such/file.py:ramp',
  )
  def test_shapes_and_functions_are_accepted(self, name):
    steps = 0 if name == 'constant' else 5
    self.check(objective__kl_schedule=name, objective__kl_anneal_steps=steps)
    schedules.check_learning_rate('optimizer.schedule', name)

  @parameterized.parameters(
    ('cosin', "Did you mean 'cosine'.*Or a function"),
    (':ramp', 'names no function'),
    ('file.py:', 'names no function'),
    ('file.py:a b', 'names no function'),
  )
  def test_other_names_are_refused(self, name, message):
    with self.assertRaisesRegex(ValueError, message):
      self.check(objective__kl_schedule=name, objective__kl_anneal_steps=5)
    with self.assertRaisesRegex(ValueError, message):
      schedules.check_learning_rate('optimizer.schedule', name)

  def test_a_learning_rate_cannot_be_cyclical(self):
    self.assertNotIn('cyclical', schedules.LEARNING_RATE_KINDS)
    with self.assertRaisesRegex(ValueError, 'second half of training'):
      schedules.check_learning_rate('optimizer.schedule', 'cyclical')

  def test_a_schedule_wants_a_length(self):
    with self.assertRaisesRegex(ValueError, 'kl_anneal_steps: at least 1'):
      self.check(objective__kl_schedule='linear')

  @parameterized.parameters(
    ({'objective__kl_start': 0.5}, 'kl_start = 0.5 would have no effect'),
    ({'objective__kl_cycles': 2}, 'kl_cycles = 2 would have no effect'),
    (
      {'objective__kl_weight': 0.5, 'model__posterior': 'von_mises_fisher'},
      "no effect: config.model.posterior = 'von_mises_fisher' has a constant",
    ),
  )
  def test_a_key_without_effect_is_refused(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      self.check(**values)


if __name__ == '__main__':
  absltest.main()
