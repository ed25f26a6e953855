"""The likelihood of a language model against its own decoding steps."""

import functools

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.ops import noise
from rnnvae_jax.tasks import base

import helpers
import small_models

pytestmark = pytest.mark.usefixtures('compile_once')


@functools.cache
def language_model():
  return small_models.Model('language_model')


class LanguageModelTest(absltest.TestCase):
  def test_loss_is_the_mean_nats_of_a_sentence(self):
    model = language_model()
    loss, (sums, extras) = model.loss()
    want = model.nll()[small_models.REAL].sum()
    np.testing.assert_allclose(loss, want / 4, rtol=small_models.RTOL)
    np.testing.assert_allclose(
      sums['reconstruction'], want, rtol=small_models.RTOL
    )
    self.assertEqual(sums['sentences'], 4)
    self.assertEqual(
      sums['tokens'],
      small_models.LENGTHS[small_models.ROWS[small_models.REAL]].sum(),
    )
    self.assertEqual(extras, {})

  def test_weights_are_dropped_once_for_all_steps(self):
    model = small_models.Model('language_model', **{'dropout.weight': 0.5})
    loss, _ = model.loss()
    dry = model.nll()[small_models.REAL].mean()
    model.params = noise.drop_weights(
      model.params, jnp.float32(0.5), model.key, 'recurrent'
    )
    want = model.nll()[small_models.REAL].mean()
    np.testing.assert_allclose(loss, want, rtol=small_models.RTOL)
    self.assertGreater(abs(want - dry), 1e-3)

  def test_first_weights_are_as_wide_as_configured(self):
    task = helpers.make_task(
      small_models.make_config('language_model', **{'model.init_scale': 0.2}),
      small_models.VOCAB,
    )
    params = jax.tree.leaves_with_path(jax.jit(task.init)(jax.random.key(0)))
    widest = {
      jax.tree_util.keystr(path): float(np.max(np.abs(leaf)))
      for path, leaf in params
      if leaf.ndim > 1
    }
    self.assertGreaterEqual(len(widest), 4)
    for name, width in widest.items():  # Of 40 draws and more.
      self.assertBetween(width, 0.15, 0.2, name)

  def test_evaluation_is_exact(self):
    model = language_model()
    values = model.evaluate(1)
    np.testing.assert_allclose(
      values['nll'], model.nll(), rtol=small_models.RTOL
    )
    self.assertNotIsInstance(model.task, base.HasLatents)


if __name__ == '__main__':
  absltest.main()
