from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import noise

ROWS, TIME, FEATURES = 5, 7, 11
UNK, BOS = 3, 1


@jax.jit
def row_keys(index):
  return noise.row_keys(jax.random.key(0), index)


def keys_of(index):
  return row_keys(np.int32(index))


def on_host(fn, **options):
  """Compiled, with NumPy results: slicing them compiles nothing more."""
  compiled = jax.jit(fn, **options)
  return lambda *args: jax.device_get(compiled(*args))


normal = on_host(noise.normal, static_argnums=(1, 2))
drop_words = on_host(noise.drop_words, static_argnums=(3, 4))
dropout = jax.jit(noise.dropout, static_argnums=(3, 4))


def locked(x, rate, keys):
  return np.asarray(dropout(x, rate, keys, 'site', True))


def unlocked(x, rate, keys, site='site'):
  return np.asarray(dropout(x, rate, keys, site, False))


def inputs(seed=0, rows=ROWS, time=TIME):
  """float[B, T, F] without a zero, so that a zero says dropped."""
  x = np.random.default_rng(seed).uniform(1, 2, size=(rows, time, FEATURES))
  return np.float32(x)


def sentences(rows=ROWS, time=TIME):
  """int[B, T], bos (1) and words, none of them UNK."""
  tokens = np.random.default_rng(0).integers(4, 13, size=(rows, time))
  tokens[:, 0] = BOS
  return np.int32(tokens)


class KeysTest(absltest.TestCase):
  def test_a_row_keeps_its_key_wherever_it_stands(self):
    index = np.array([8, 3, 0, 5, 13])
    order = np.array([4, 2, 0, 3, 1])
    data = np.asarray(jax.random.key_data(keys_of(index)))
    permuted = np.asarray(jax.random.key_data(keys_of(index[order])))
    np.testing.assert_array_equal(permuted, data[order])
    self.assertLen(np.unique(data, axis=0), ROWS)

  def test_the_keys_of_a_site_are_its_own(self):
    keys = keys_of(range(ROWS))
    data = [
      np.asarray(jax.random.key_data(each))
      for each in (
        keys,
        noise.site_keys(keys, 'word'),
        noise.site_keys(keys, 'output'),
      )
    ]
    self.assertLen(np.unique(np.concatenate(data), axis=0), 3 * ROWS)


class NormalTest(absltest.TestCase):
  def test_rows_are_standard_normal_and_differ(self):
    rows, samples = ROWS, 20_000
    draw = np.float64(normal(keys_of(range(rows)), 'z', (samples,)))
    self.assertEqual(draw.shape, (rows, samples))
    # Five standard errors of the mean, the variance and the correlations.
    five = 5 / np.sqrt(samples)
    np.testing.assert_array_less(np.abs(draw.mean(axis=1)), five)
    np.testing.assert_array_less(
      np.abs(draw.var(axis=1) - 1), five * np.sqrt(2)
    )
    correlation = np.corrcoef(draw) - np.eye(rows)
    np.testing.assert_array_less(np.abs(correlation), five)

  def test_a_row_depends_on_its_key_alone(self):
    index = np.array([8, 3, 0, 5, 13])
    order = np.array([4, 2, 0, 3, 1])
    draw = normal(keys_of(index), 'z', (2, 3))
    permuted = normal(keys_of(index[order]), 'z', (2, 3))
    np.testing.assert_array_equal(permuted, draw[order])

  def test_more_samples_begin_with_the_fewer(self):
    keys = keys_of(range(ROWS))
    few, many = (normal(keys, 'z', (k, 3)) for k in (2, 4))
    np.testing.assert_array_equal(many[:, :2], few)


class DropoutTest(parameterized.TestCase):
  @parameterized.parameters(0.1, 0.5, 0.9)
  def test_drops_at_the_rate_and_scales_up_the_others(self, rate):
    rows = 601
    x = inputs(rows=rows)
    got = unlocked(x, jnp.float32(rate), keys_of(range(rows)))
    kept = got != 0
    np.testing.assert_allclose(
      got[kept], (x / np.float32(1 - np.float32(rate)))[kept], rtol=1e-6
    )
    error = 5 * np.sqrt(rate * (1 - rate) / x.size)
    self.assertAlmostEqual(kept.mean(), 1 - rate, delta=error)
    # The scale makes the mean that of x: var(x keep / (1 - rate)) is
    # x^2 rate / (1 - rate), and x^2 is at most 4.
    error = 5 * np.sqrt(4 * rate / (1 - rate) / x.size)
    self.assertAlmostEqual(got.mean(), x.mean(), delta=error)

  @parameterized.parameters(locked, unlocked)
  def test_of_rate_zero_is_the_identity(self, dropout):
    x = inputs()
    np.testing.assert_array_equal(
      dropout(x, jnp.float32(0), keys_of(range(ROWS))), x
    )

  def test_a_locked_mask_is_constant_over_time_only(self):
    kept = locked(inputs(), jnp.float32(0.5), keys_of(range(ROWS))) != 0
    np.testing.assert_array_equal(kept, np.repeat(kept[:, :1], TIME, axis=1))
    mask = kept[:, 0]
    self.assertLen(np.unique(mask, axis=0), ROWS)
    self.assertFalse(np.any(np.all(mask == mask[:, :1], axis=1)))

  def test_an_unlocked_mask_varies_over_time(self):
    kept = unlocked(inputs(), jnp.float32(0.5), keys_of(range(ROWS))) != 0
    for row in kept:
      self.assertLen(np.unique(row, axis=0), TIME)

  @parameterized.parameters(locked, unlocked)
  def test_permuting_the_batch_permutes_the_masks(self, dropout):
    index = np.array([8, 3, 0, 5, 13])
    order = np.array([4, 2, 0, 3, 1])
    x, rate = inputs(), jnp.float32(0.5)
    want = dropout(x, rate, keys_of(index))[order]
    got = dropout(x[order], rate, keys_of(index[order]))
    np.testing.assert_array_equal(got, want)

  @parameterized.parameters(locked, unlocked)
  def test_a_longer_batch_begins_with_the_same_mask(self, dropout):
    x, rate, keys = inputs(), jnp.float32(0.5), keys_of(range(ROWS))
    longer = np.concatenate([x, inputs(seed=1, time=6)], axis=1)
    want = dropout(x, rate, keys)
    np.testing.assert_array_equal(dropout(longer, rate, keys)[:, :TIME], want)

  @parameterized.parameters(locked, unlocked)
  def test_a_row_does_not_see_the_others(self, dropout):
    x, rate = inputs(), jnp.float32(0.5)
    other = inputs(seed=1)
    other[2] = x[2]
    want = dropout(x, rate, keys_of([0, 1, 2, 3, 4]))
    got = dropout(other, rate, keys_of([9, 8, 2, 7, 6]))
    same = np.all((got != 0) == (want != 0), axis=(1, 2))
    np.testing.assert_array_equal(got[2], want[2])
    np.testing.assert_array_equal(same, [False, False, True, False, False])

  def test_two_sites_draw_independently(self):
    rows = 601
    x, rate, keys = inputs(rows=rows), jnp.float32(0.5), keys_of(range(rows))
    here = unlocked(x, rate, keys)
    there = unlocked(x, rate, keys, 'elsewhere')
    masks = [np.ravel(np.float64(each != 0)) for each in (here, there)]
    correlation = np.corrcoef(*masks)[0, 1]
    self.assertLess(abs(correlation), 5 / np.sqrt(x.size))

  def test_another_rate_needs_no_other_program(self):
    x, keys = inputs(), keys_of(range(ROWS))
    unlocked(x, jnp.float32(0.1), keys)
    programs = dropout._cache_size()
    for rate in (0.0, 0.8):
      unlocked(x, jnp.float32(rate), keys)
    self.assertEqual(dropout._cache_size(), programs)


class DropWordsTest(parameterized.TestCase):
  def test_of_rate_zero_is_the_identity(self):
    tokens = sentences()
    got = drop_words(tokens, jnp.float32(0), keys_of(range(ROWS)), UNK, BOS)
    np.testing.assert_array_equal(got, tokens)

  def test_of_rate_one_replaces_all_but_bos_wherever_it_stands(self):
    tokens = sentences()
    tokens[1] = np.roll(tokens[1], 2)  # As in a window of a stream.
    got = drop_words(tokens, jnp.float32(1), keys_of(range(ROWS)), UNK, BOS)
    want = np.full_like(tokens, UNK)
    want[tokens == BOS] = BOS
    np.testing.assert_array_equal(got, want)

  @parameterized.parameters(0.2, 0.7)
  def test_replaces_at_the_rate_and_keeps_bos_and_the_others(self, rate):
    rows = 601
    tokens = sentences(rows)
    got = drop_words(tokens, jnp.float32(rate), keys_of(range(rows)), UNK, BOS)
    dropped = got == UNK
    np.testing.assert_array_equal(got[~dropped], tokens[~dropped])
    self.assertFalse(np.any(dropped[:, 0]))
    error = 5 * np.sqrt(rate * (1 - rate) / dropped[:, 1:].size)
    self.assertAlmostEqual(dropped[:, 1:].mean(), rate, delta=error)

  def test_a_row_keeps_its_holes_wherever_and_however_long_it_stands(self):
    tokens, rate = sentences(), jnp.float32(0.5)
    index = np.array([8, 3, 0, 5, 13])
    order = np.array([4, 2, 0, 3, 1])
    want = drop_words(tokens, rate, keys_of(index), UNK, BOS)
    longer = np.concatenate([tokens, sentences(time=6)], axis=1)[order]
    got = drop_words(longer, rate, keys_of(index[order]), UNK, BOS)
    np.testing.assert_array_equal(got[:, :TIME], want[order])
    self.assertLen(np.unique(want == UNK, axis=0), ROWS)


class DropWordTypesTest(absltest.TestCase):
  def drop(self, tokens, rate, index=(0, 1, 2)):
    x = np.ones((*np.shape(tokens), FEATURES), np.float32)
    fn = jax.jit(noise.drop_word_types)
    return np.asarray(fn(x, np.int32(tokens), rate, keys_of(index)))

  def test_all_occurrences_of_a_word_in_a_row_fall_or_stay_together(self):
    tokens = np.random.default_rng(0).integers(9, size=(3, 60))
    got = self.drop(tokens, jnp.float32(0.4))
    kept = got[:, :, 0] > 0
    np.testing.assert_array_equal(got[kept], np.float32(1 / 0.6))
    np.testing.assert_array_equal(got[~kept], 0.0)
    words = [
      [kept[row][tokens[row] == word] for word in range(9)] for row in range(3)
    ]
    for row in words:
      for occurrences in row:
        self.assertLen(set(occurrences.tolist()), 1)
    # Rows draw by themselves.
    self.assertLen({tuple(w[0] for w in row) for row in words}, 3)

  def test_drops_at_the_rate(self):
    tokens = np.arange(3 * 2_000).reshape(3, 2_000)
    share = np.mean(self.drop(tokens, jnp.float32(0.3)) == 0)
    # Three standard deviations.
    self.assertAlmostEqual(share, 0.3, delta=3 * (0.21 / 6_000) ** 0.5)

  def test_of_no_rate_is_the_identity(self):
    np.testing.assert_array_equal(self.drop([[4, 5]], None, (0,)), 1.0)


class DropWeightsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    cell = lambda value: {
      'kernel': np.full((40, 50), value, np.float32),
      'cell': {'recurrent_kernel': np.full((300, 400), value, np.float32)},
    }
    self.params = {
      'params': {
        'recurrent': {'layer_0': cell(1), 'layer_1': cell(2)},
        'encoder': {'layer_0': cell(3)},
      }
    }

  def drop(self, rate, seed=0):
    key = jax.random.key(seed)
    rate = None if rate is None else jnp.float32(rate)
    return noise.drop_weights(self.params, rate, key, 'recurrent')

  def test_drops_elements_of_recurrent_kernels_within_and_nothing_else(self):
    dropped = self.drop(0.25)['params']
    kernels = []
    for number in (0, 1):
      layer = dropped['recurrent'][f'layer_{number}']
      value = number + 1
      np.testing.assert_array_equal(layer['kernel'], value)
      kernel = np.asarray(layer['cell']['recurrent_kernel'])
      self.assertSetEqual(
        set(np.unique(kernel)), {0.0, np.float32(value / 0.75)}
      )
      error = 5 * np.sqrt(0.25 * 0.75 / kernel.size)
      self.assertAlmostEqual(np.mean(kernel == 0), 0.25, delta=error)
      kernels.append(kernel == 0)
    self.assertGreater(np.mean(kernels[0] != kernels[1]), 0.3)
    jax.tree.map(
      np.testing.assert_array_equal,
      dropped['encoder'],
      self.params['params']['encoder'],
    )

  def test_another_update_drops_others(self):
    a, b = self.drop(0.5), self.drop(0.5, seed=1)
    differ = jax.tree.map(lambda x, y: bool(np.any(x != y)), a, b)
    self.assertEqual(sum(jax.tree.leaves(differ)), 2)

  def test_of_no_rate_is_the_identity(self):
    self.assertIs(self.drop(None), self.params)


if __name__ == '__main__':
  absltest.main()
