"""The registry of cells, and a new cell that is one file."""

import pathlib
import sys
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax import registry
from rnnvae_jax.config import schema
from rnnvae_jax.models import build, cells, recurrent
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import recurrence

TOY = pathlib.Path(__file__).parent / 'toy'
VOCAB, ROWS, TIME = 7, 5, 6


def make_schema():
  return schema.Schema(
    [
      build.RecurrentConfig,
      build.LanguageModelConfig,
      build.LatentConfig,
      build.DropoutConfig,
      *base.fragments(),
    ]
  )


def configure(**model):
  config = make_schema().default()
  config.model.update({'embedding_size': 6, 'hidden_size': 9, **model})
  return config


class RegistryTest(parameterized.TestCase):
  def test_finds_every_cell_and_its_keys(self):
    names = ('elman', 'feed_forward', 'gru', 'lstm', 'mlstm')
    self.assertEqual(tuple(base.REGISTRY), names)
    keys = {key for key in make_schema().keys if key.count('.') == 2}
    self.assertEqual(
      keys,
      {
        'model.elman.activation',
        'model.feed_forward.direct',
        'model.feed_forward.window',
        'model.gru.reset_after',
        'model.lstm.cell_clip',
        'model.lstm.forget_bias',
        'model.lstm.peepholes',
      },
    )
    self.assertEqual(
      base.recurrent_names(), tuple(n for n in names if n != 'feed_forward')
    )

  @parameterized.parameters(*base.REGISTRY)
  def test_a_cell_has_an_attribute_for_each_of_its_keys(self, name):
    # `from_config` passes them by name; their defaults may differ.
    options = base.get(name).CONFIG.__dataclass_fields__
    self.assertContainsSubset(options, base.get(name).__dataclass_fields__)

  def test_an_unknown_cell_is_an_error_wherever_it_is_named(self):
    config = configure(cell='gruu')
    for build_it in (
      lambda: base.get('gruu'),
      lambda: base.is_recurrent('gruu'),
      lambda: make_schema().check(config),
      lambda: build.language_model(config, VOCAB),
      lambda: build.sentence_vae(config, VOCAB),
      lambda: build.recurrent(config, 4),
    ):
      with self.assertRaisesRegex(
        ValueError, "config.model.cell = 'gruu' is unknown.*mean 'gru'.*mlstm"
      ):
        build_it()

  def test_a_cell_without_state_is_no_encoder(self):
    config = configure(cell='feed_forward')
    for build_it in (
      lambda: build.sentence_vae(config, VOCAB),
      lambda: build.recurrent(config, 4),
    ):
      with self.assertRaisesRegex(ValueError, 'no state.* elman, gru, lstm'):
        build_it()

  @parameterized.parameters(
    ({'cell': 'gru'}, 'model.elman.activation', 'relu', "= 'elman'"),
    ({'cell': 'elman'}, 'model.gru.reset_after', False, "= 'gru'"),
    ({'cell': 'gru'}, 'model.lstm.peepholes', True, "'lstm' or 'mlstm'"),
    ({'cell': 'lstm'}, 'model.feed_forward.window', 7, "= 'feed_forward'"),
    ({'cell': 'feed_forward'}, 'model.num_layers', 2, 'no recurrent layers'),
    ({'cell': 'feed_forward'}, 'model.backend', 'scan', 'no recurrent layers'),
    ({'cell': 'feed_forward'}, 'dropout.recurrent', 0.5, 'no recurrent layers'),
    ({'cell': 'feed_forward'}, 'dropout.weight', 0.5, 'no recurrent layers'),
    ({}, 'dropout.hidden', 0.5, 'num_layers'),
    ({'inputless': True}, 'dropout.word', 0.5, 'inputless'),
    ({'inputless': True}, 'dropout.embedding', 0.5, 'inputless'),
    ({'inputless': True}, 'dropout.word_type', 0.5, 'inputless'),
    ({}, 'dropout.locked', True, 'dropout.embedding, config.dropout.hidden'),
    ({}, 'model.prior_components', 3, 'model.prior'),
  )
  def test_a_key_without_effect_is_an_error(self, model, key, value, why):
    config = configure(**model)
    make_schema().check(config)
    config.update_from_flattened_dict({key: value})
    with self.assertRaisesRegex(
      ValueError, f'config.{key} = .*no effect.*{why}'
    ):
      make_schema().check(config)

  @parameterized.parameters(
    ({'cell': 'mlstm'}, 'model.lstm.cell_clip', 0.5),
    ({'num_layers': 2}, 'dropout.hidden', 0.5),
    ({'prior': 'vamp'}, 'model.prior_components', 3),
  )
  def test_a_key_with_an_effect_is_legal(self, model, key, value):
    config = configure(**model)
    config.update_from_flattened_dict({key: value})
    make_schema().check(config)

  @parameterized.parameters('embedding', 'output')
  def test_locked_dropout_is_legal_with_what_it_locks(self, site):
    config = configure()
    config.dropout.update({site: 0.1, 'locked': True})
    make_schema().check(config)


class NewCellTest(absltest.TestCase):
  """A cell that is one file in the folder of cells, and nothing else."""

  def setUp(self):
    super().setUp()
    path = [*cells.__path__, str(TOY)]
    found = registry.Registry(cells.__name__, 'config.model.cell')
    for patch in (
      mock.patch.object(cells, '__path__', path),
      mock.patch.object(base, 'REGISTRY', found),
    ):
      patch.start()
      self.addCleanup(patch.stop)
    self.addCleanup(sys.modules.pop, f'{cells.__name__}.minimal', None)

  def test_is_found_with_its_keys(self):
    self.assertIn('minimal', base.recurrent_names())
    config = configure(cell='minimal')
    make_schema().check(config)
    config.model.minimal.gate_bias = 2.5
    model = build.language_model(config, VOCAB)
    self.assertEqual(model.stack.cell.gate_bias, 2.5)

  def test_automatic_choice_is_scan_and_says_why(self):
    config = configure(cell='minimal', latent_size=3)
    for stack in (
      build.language_model(config, VOCAB).stack,
      build.sentence_vae(config, VOCAB).encoder,
    ):
      self.assertEqual(stack.backend, 'scan')
      self.assertEqual(
        stack.backend_reason, 'cell minimal has no hand-derived rule: nn.scan'
      )

  def test_other_backends_are_refused(self):
    for backend in ('fused', 'native', 'cluster'):
      config = configure(cell='minimal', backend=backend)
      with self.assertRaisesRegex(
        ValueError, rf"config\.model\.backend = '{backend}'.*auto, scan\."
      ):
        build.language_model(config, VOCAB)
    cell = base.get('minimal')(4)
    x, mask = jnp.ones((2, 3, 5)), jnp.ones((2, 3), bool)
    with self.assertRaisesRegex(ValueError, "'minimal' has no hand-derived"):
      recurrent.Recurrent(cell, backend='fused').init(
        jax.random.key(0), x, mask
      )
    with self.assertRaisesRegex(ValueError, "'minimal' has no hand-derived"):
      recurrence.run(cell.spec, {}, x, mask, (jnp.zeros((2, 4)),))

  def test_learns(self):
    # Words that follow each other in a circle: certain but for the first.
    model = build.language_model(configure(cell='minimal'), VOCAB)
    first = np.arange(ROWS)[:, None]
    words = jnp.int32((first + np.arange(TIME + 1)[None]) % VOCAB)
    batch = words[:, :-1], words[:, 1:], jnp.ones((ROWS, TIME), bool)
    params = jax.jit(model.init)(jax.random.key(0), *batch)

    @jax.jit
    def train(params):
      loss = lambda p: model.apply(p, *batch).total / (ROWS * TIME)

      def update(params, _):
        value, grads = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - g, params, grads), value

      return jax.lax.scan(update, params, length=60)[1]

    values = train(params)
    # Worse than a guess at first, or nearly; then far better.
    self.assertGreater(values[0], 0.9 * np.log(VOCAB))
    self.assertLess(values[-1], 0.1 * np.log(VOCAB))


if __name__ == '__main__':
  absltest.main()
