"""The loops in C++ against the scanned cells."""

import functools
import os
import pathlib
import stat
from unittest import mock

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.models import recurrent
from rnnvae_jax.models.cells import gru, lstm
from rnnvae_jax.ops import compiled, recurrence
from rnnvae_jax.ops.native import library

EPS = np.finfo(np.float32).eps
FEATURES, TIME, ROWS = 6, 7, 19  # Two tasks of 9 and 10 rows, two tiles each.
CELLS = {'lstm': lstm.LSTM, 'gru': gru.GRU}


def case(cell, has_context=False):
  """params, x, mask, carry, dropout of states, context, cotangents."""
  rng = np.random.default_rng(cell.features)
  draw = lambda *shape: jnp.array(rng.uniform(-1, 1, shape), jnp.float32)
  x = draw(ROWS, TIME, FEATURES)
  lengths = rng.integers(0, TIME, ROWS)
  mask = jnp.arange(TIME)[None] < lengths[:, None]  # No row is full.
  carry = tuple(draw(ROWS, cell.features) for _ in range(cell.num_states))
  context = draw(ROWS, 5) if has_context else None
  params = recurrent.Layer(cell).init(
    jax.random.key(0), x, mask, carry, context=context
  )
  params = jax.tree.map(lambda p: p + 0.1 * draw(*p.shape), params)
  state_mask = jnp.float32(2 * rng.integers(2, size=(ROWS, cell.features)))
  cotangents = draw(ROWS, TIME, cell.features), carry
  return params, x, mask, carry, state_mask, context, cotangents


def results(
  layer, drops, params, x, mask, carry, state_mask, context, cotangents
):
  """Gradients of weights, inputs and first states; outputs; last states."""

  def value(params, x, carry):
    dropped = state_mask if drops else None
    after, outputs = layer.apply(params, x, mask, carry, dropped, context)
    found = outputs * mask[:, :, None], after
    terms = jax.tree.map(lambda w, r: jnp.sum(w * r), cotangents, found)
    return sum(jax.tree.leaves(terms)), found

  return jax.grad(value, (0, 1, 2), has_aux=True)(params, x, carry)


def run(layer, drops, arguments):
  program = jax.jit(functools.partial(results, layer, drops))
  return jax.device_get(program(*arguments))


@pytest.mark.skipif(
  not compiled.compiler(), reason='the loops need g++ or $CXX'
)
class NativeTest(parameterized.TestCase):
  @parameterized.parameters(
    ('lstm', 37, False, 4, False),
    ('lstm', 37, True, 0, True),
    ('lstm', 3, True, 3, False),  # Fewer units than a vector.
    ('gru', 37, True, 4, False),
    ('gru', 37, False, 0, True),
    ('gru', 600, False, 4, False),  # More rows than a part of a panel.
  )
  def test_values_and_gradients_equal_the_reference(
    self, name, units, reverse, block, drops
  ):
    cell = CELLS[name](units)
    # With a context every row has a bias of its own.
    arguments = case(cell, has_context=drops)
    options = recurrence.Options(loops='native', block=block)
    scan = recurrent.Layer(cell, reverse=reverse, backend='scan')
    native = recurrent.Layer(
      cell, reverse=reverse, backend='native', options=options
    )
    got, want = run(native, drops, arguments), run(scan, drops, arguments)
    chex.assert_trees_all_equal_shapes(got, want)
    # Forward and back through all steps, each a product over inputs and units
    # and a dozen operations; gradients of weights sum over rows and steps. Both
    # sides round as much.
    roundings = 2 * (2 * TIME * (FEATURES + units + 12) + ROWS * TIME)

    def check(got, want):
      scale = max(1.0, np.max(np.abs(want)))
      error = np.max(np.abs(np.float64(got) - np.float64(want)))
      self.assertLess(error, roundings * EPS * scale)

    jax.tree.map(check, got, want)

  def test_a_population_is_its_members(self):
    cell = gru.GRU(5)
    params, *others = case(cell)
    options = recurrence.Options(loops='native')
    layer = recurrent.Layer(cell, backend='native', options=options)
    members = jax.tree.map(lambda p: jnp.stack([p, 2.0 * p]), params)
    program = functools.partial(results, layer, False)
    of_one = jax.jit(lambda params: program(params, *others))
    both = jax.jit(jax.vmap(of_one))(members)
    for number in range(2):
      one = jax.tree.map(lambda p, n=number: p[n], members)
      chex.assert_trees_all_close(
        jax.tree.map(lambda r, n=number: r[n], both),
        of_one(one),
        rtol=100 * EPS,
        atol=100 * EPS,
      )


class LibraryTest(absltest.TestCase):
  def built_by(self, script):
    """What the builder says of a compiler that is this shell script."""
    folder = pathlib.Path(self.create_tempdir())
    compiler = folder / 'compiler'
    compiler.write_text(f'#!/bin/sh\n{script}\n')
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    environment = {'CXX': str(compiler), 'XDG_CACHE_HOME': str(folder)}
    with (
      mock.patch.dict(os.environ, environment),
      self.assertRaises(OSError) as raised,
    ):
      library.load.__wrapped__('lstm')
    self.assertEmpty(list((folder / 'rnnvae_jax').iterdir()))
    return str(raised.exception)

  def test_the_message_of_a_compiler_that_fails_is_shown(self):
    said = self.built_by('echo "x.cc:1: error: no such header" >&2; exit 1')
    self.assertIn('failed: x.cc:1: error: no such header', said)

  def test_without_a_home_it_says_so(self):
    with (
      mock.patch.object(compiled, 'cache', lambda: pathlib.Path('~', '.cache')),
      self.assertRaisesRegex(OSError, 'no home folder'),
    ):
      library.load.__wrapped__('lstm')

  def test_a_folder_that_cannot_be_written_is_an_obstacle(self):
    file = pathlib.Path(self.create_tempfile().full_path)
    with (
      mock.patch.object(compiled, 'cache', lambda: file / 'rnnvae_jax'),
      mock.patch.object(library, 'load', library.load.__wrapped__),
    ):
      self.assertIn(str(file), library.obstacle.__wrapped__('lstm'))

  def test_without_a_compiler_it_says_so(self):
    environment = {'CXX': '', 'PATH': '', 'XDG_CACHE_HOME': '/nowhere'}
    with (
      mock.patch.dict(os.environ, environment),
      self.assertRaisesRegex(OSError, 'there is no C\\+\\+ compiler'),
    ):
      library.load.__wrapped__('lstm')


if __name__ == '__main__':
  absltest.main()
