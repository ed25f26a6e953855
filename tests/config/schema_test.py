"""The schema engine, on fragments of its own."""

from absl.testing import absltest, parameterized

from rnnvae_jax.config import schema


@schema.fragment('zoo')
class Zoo:
  """A zoo."""

  animal: str = schema.field(
    'okapi', 'What is shown.', choices=('', 'okapi', 'ocelot')
  )
  number: int = schema.field(3, 'How many.', low=1, high=9, tiny=2)
  weight: float = schema.field(
    1.5, 'Of one, in kg.', low=0, traced=True, off=0.0
  )
  ticket: float = schema.field(2.0, 'Price; any sign.', varies=True)
  open: bool = schema.field(True, 'Whether it is.', free=schema.Free.ALWAYS)

  def check(self) -> None:
    """Raises ValueError for too many ocelots."""
    if self.animal == 'ocelot' and self.number > 5:
      raise ValueError('config.zoo.number: at most 5 ocelots.')


@schema.fragment(
  'zoo.pool',
  only_if=schema.is_set('zoo.open'),
  free=schema.Free.TRAINED,
)
class Pool:
  """The zoo's pool."""

  depth: float = schema.field(
    0.0, 'In m.', high=4, only_if=schema.one_of('zoo.animal', 'okapi')
  )
  seals: int = schema.field(
    0, 'In it.', only_if=schema.none_of('zoo.pool.depth', 0.0), tiny=1
  )
  empty: bool = schema.field(False, '', only_if=schema.is_unset('zoo.weight'))

  def check(self) -> None:
    """Raises ValueError always but for no seal."""
    if self.seals == 13:
      raise ValueError('config.zoo.pool.seals: not 13.')


SCHEMA = schema.Schema([Zoo, Pool, Zoo])


def config_with(**changes):
  config = SCHEMA.default()
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in changes.items()}
  )
  return config


class DeclarationTest(absltest.TestCase):
  def test_a_config_has_all_keys_at_their_defaults_and_no_others(self):
    config = SCHEMA.default()
    self.assertEqual(
      schema.flatten(config),
      {
        'zoo.animal': 'okapi',
        'zoo.number': 3,
        'zoo.open': True,
        'zoo.pool.depth': 0.0,
        'zoo.pool.empty': False,
        'zoo.pool.seals': 0,
        'zoo.ticket': 2.0,
        'zoo.weight': 1.5,
      },
    )
    SCHEMA.check(config)
    with self.assertRaises(AttributeError):
      config.zoo.animals = 'okapi'
    with self.assertRaises(TypeError):
      config.zoo.number = 'many'

  def test_a_key_is_declared_once(self):
    @schema.fragment('zoo')
    class Other:
      animal: str = schema.field('', '')

    with self.assertRaisesRegex(
      ValueError, r'config\.zoo\.animal is declared by Zoo and by Other'
    ):
      schema.Schema([Zoo, Other])

  def test_a_fragment_is_read_as_plain_attributes(self):
    pool = schema.read(config_with(zoo__pool__depth=2.5), Pool)
    self.assertEqual((pool.depth, pool.seals, pool.empty), (2.5, 0, False))
    zoo = schema.read(SCHEMA.default(), Zoo)
    self.assertEqual((zoo.animal, zoo.number), ('okapi', 3))
    with self.assertRaises(AttributeError):
      zoo.number = 4

  def test_what_may_vary_follows_from_the_fields(self):
    self.assertEqual(SCHEMA.varying(), ('zoo.ticket', 'zoo.weight'))

  def test_when_a_key_may_change_is_its_own_or_its_fragments(self):
    free = {name: key.free for name, key in SCHEMA.keys.items()}
    self.assertEqual(free['zoo.open'], schema.Free.ALWAYS)
    self.assertEqual(free['zoo.number'], schema.Free.NEVER)
    self.assertEqual(free['zoo.pool.depth'], schema.Free.TRAINED)


class CheckTest(parameterized.TestCase):
  def error(self, given=None, **changes):
    with self.assertRaises(ValueError) as raised:
      SCHEMA.check(config_with(**changes), given)
    return str(raised.exception)

  def test_an_unknown_choice_is_answered_with_the_nearest(self):
    self.assertEqual(
      self.error(zoo__animal='okapy'),
      "config.zoo.animal = 'okapy' is unknown. Did you mean 'okapi'? Known: "
      'okapi, ocelot.',
    )
    self.assertEqual(
      self.error(zoo__animal='x'),
      "config.zoo.animal = 'x' is unknown. Known: okapi, ocelot.",
    )
    SCHEMA.check(config_with(zoo__animal=''))

  @parameterized.parameters(
    ('zoo.number', 0, '0 is out of range: 1 to 9. Nearest legal value: 1.'),
    ('zoo.number', 12, '12 is out of range: 1 to 9. Nearest legal value: 9.'),
    (
      'zoo.weight',
      -1.0,
      '-1.0 is out of range: at least 0. Nearest legal value: 0.0.',
    ),
    (
      'zoo.pool.depth',
      4.5,
      '4.5 is out of range: at most 4. Nearest legal value: 4.0.',
    ),
    ('zoo.weight', float('nan'), 'nan is out of range: at least 0.'),
    ('zoo.weight', float('inf'), 'inf is not a finite number.'),
    (
      'zoo.weight',
      1e39,
      '1e+39 is too large for 32 bits. Nearest legal value: 3.4028234e+38.',
    ),
    (
      'zoo.pool.seals',
      -(10**30),
      f'-{10**30} is too large for 32 bits. Nearest legal value: -2147483647.',
    ),
    ('zoo.ticket', float('nan'), 'nan is not a finite number.'),
    ('zoo.ticket', float('-inf'), '-inf is not a finite number.'),
    (
      'zoo.pool.depth',
      float('inf'),
      'inf is out of range: at most 4. Nearest legal value: 4.0.',
    ),
  )
  def test_a_number_out_of_range_is_answered_with_the_nearest(
    self, key, value, message
  ):
    changes = {key.replace('.', '__'): value}
    self.assertEqual(self.error(**changes), f'config.{key} = {message}')

  def test_bounds_are_legal(self):
    for number in (1, 9):
      SCHEMA.check(config_with(zoo__number=number))
    SCHEMA.check(config_with(zoo__weight=0.0, zoo__ticket=-3.0))

  @parameterized.parameters(
    (
      {'zoo__animal': 'ocelot', 'zoo__pool__depth': 2.0},
      'config.zoo.pool.depth = 2.0 would have no effect: it is read only with '
      "config.zoo.animal = 'okapi', which is 'ocelot'. Leave it at 0.0.",
    ),
    (
      {'zoo__pool__seals': 2},
      'config.zoo.pool.seals = 2 would have no effect: it is not read with '
      'config.zoo.pool.depth = 0.0. Leave it at 0.',
    ),
    (
      {'zoo__open': False, 'zoo__pool__depth': 2.0},
      'config.zoo.pool.depth = 2.0 would have no effect: it is read only where '
      'config.zoo.open is set, which is False. Leave it at 0.0.',
    ),
    (
      {'zoo__pool__empty': True},
      'config.zoo.pool.empty = True would have no effect: it is read only '
      'where config.zoo.weight is not set, which is 1.5. Leave it at False.',
    ),
  )
  def test_a_key_without_effect_says_why(self, changes, message):
    self.assertEqual(self.error(**changes), message)

  def test_only_given_keys_must_have_an_effect(self):
    changes = {'zoo__open': False, 'zoo__pool__depth': 2.0}
    SCHEMA.check(config_with(**changes), ['zoo.open'])
    SCHEMA.check(config_with(**changes), ())
    self.assertIn(
      'zoo.pool.depth', self.error(['zoo.open', 'zoo.pool.depth'], **changes)
    )
    # Which values are legal does not depend on what was given.
    self.assertIn('out of range', self.error((), zoo__number=0))

  def test_a_given_key_may_repeat_its_default(self):
    SCHEMA.check(config_with(zoo__open=False), ['zoo.pool.depth'])

  def test_a_component_checks_its_keys_together_where_they_are_read(self):
    self.assertIn(
      'at most 5 ocelots', self.error(zoo__animal='ocelot', zoo__number=6)
    )
    changes = {'zoo__pool__depth': 1.0, 'zoo__pool__seals': 13}
    self.assertIn('not 13', self.error(**changes))
    SCHEMA.check(config_with(zoo__open=False, **changes), ())

  def test_conditions_on_keys_of_other_tasks_hold(self):
    # A component may stand in a task that has no such key.
    alone = schema.Schema([Pool])
    config = alone.default()
    config.zoo.pool.depth = 2.0
    alone.check(config)


class ShrinkTest(absltest.TestCase):
  def test_keys_with_an_effect_have_their_tiny_values(self):
    config = SCHEMA.default()
    SCHEMA.shrink(config)
    self.assertEqual(config.zoo.number, 2)
    self.assertEqual(config.zoo.pool.seals, 0)
    config = config_with(zoo__pool__depth=1.0)
    SCHEMA.shrink(config)
    self.assertEqual(config.zoo.pool.seals, 1)
    self.assertEqual(config.zoo.pool.depth, 1.0)


if __name__ == '__main__':
  absltest.main()
