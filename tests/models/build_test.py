"""Every option of a model changes the model."""

import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.models import build
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import products

VOCAB, ROWS, TIME = 13, 5, 7
SIZES = {'embedding_size': 6, 'hidden_size': 4, 'latent_size': 3}


@schema.fragment('model')
class Kind:
  """Which of the two models; in the package it is the task that knows."""

  kind: str = schema.field('sentence_vae', 'Which model.')


SCHEMA = schema.Schema(
  [
    Kind,
    build.RecurrentConfig,
    build.LanguageModelConfig,
    build.LatentConfig,
    build.DropoutConfig,
    *base.fragments(),
  ]
)


def configure(**changes):
  """A small config with some keys changed, as `model__cell='lstm'`."""
  config = SCHEMA.default()
  changes = {key.replace('__', '.'): value for key, value in changes.items()}
  config.model.update(SIZES)
  config.update_from_flattened_dict(changes)
  SCHEMA.check(config)
  return config


def built(config):
  """The model of a config."""
  if config.model.kind == 'language_model':
    return build.language_model(config, VOCAB)
  return build.sentence_vae(config, VOCAB)


def arrays():
  tokens = np.random.default_rng(0).integers(VOCAB, size=(2, ROWS, TIME))
  inputs, targets = np.int32(tokens)
  return inputs, targets, np.ones((ROWS, TIME), bool)


def shapes(config):
  model = built(config)
  params = jax.eval_shape(model.init, jax.random.key(0), *arrays())
  return jax.tree.map(lambda leaf: leaf.shape, params['params'])


def operands(jaxpr):
  """The types of what every matrix product of a program reads."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      yield from (variable.aval.dtype for variable in equation.invars)
    for part in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      body = getattr(part, 'jaxpr', part)
      if hasattr(body, 'eqns'):
        yield from operands(body)


@functools.cache
def outputs(**changes):
  """Nats per token, with weights that are a function of the shapes."""
  model = built(configure(**changes))
  rng = np.random.default_rng(0)
  draw = lambda leaf: np.float32(rng.uniform(-1, 1, size=leaf.shape))
  params = jax.tree.map(
    draw, jax.eval_shape(model.init, jax.random.key(0), *arrays())
  )
  latents = np.ones((ROWS, SIZES['latent_size']), np.float32)
  apply = functools.partial(model.apply, method='decode')
  return np.asarray(jax.jit(apply)(params, latents, *arrays()).nll)


# The changed key and value, and what else the base config needs for it.
TREE = (
  ({'model__kind': 'language_model'}, {}),
  ({'model__cell': 'lstm'}, {}),
  ({'model__cell': 'elman'}, {}),
  ({'model__embedding_size': 8}, {}),
  ({'model__hidden_size': 8}, {}),
  ({'model__num_layers': 2}, {}),
  ({'model__tied_embeddings': True}, {}),
  ({'model__latent_size': 8}, {}),
  ({'model__latent_every_step': True}, {}),
  ({'model__latent_to_output': True}, {}),
  ({'model__output_bias': False}, {}),
  ({'model__prior': 'mixture'}, {}),
  ({'model__prior': 'vamp'}, {}),
  ({'model__prior_components': 2}, {'model__prior': 'vamp'}),
  ({'model__encoder_hidden_size': 8}, {}),
  ({'model__bidirectional_encoder': True}, {}),
  ({'model__gru__reset_after': False}, {}),
  ({'model__lstm__peepholes': True}, {'model__cell': 'lstm'}),
)
OUTPUTS = (
  ({'model__inputless': True}, {}),
  ({'model__elman__activation': 'relu'}, {'model__cell': 'elman'}),
  ({'model__elman__activation': 'sigmoid'}, {'model__cell': 'elman'}),
  ({'model__lstm__cell_clip': 0.1}, {'model__cell': 'lstm'}),
  ({'model__precision': 'bfloat16'}, {}),
)


class BuildTest(parameterized.TestCase):
  @parameterized.parameters(*TREE)
  def test_the_option_changes_the_parameters(self, change, base):
    before = shapes(configure(**base))
    after = shapes(configure(**(base | change)))
    self.assertNotEqual(after, before)

  @parameterized.parameters(*OUTPUTS)
  def test_the_option_changes_the_outputs_alone(self, change, base):
    after = base | change
    self.assertEqual(shapes(configure(**after)), shapes(configure(**base)))
    difference = np.abs(outputs(**after) - outputs(**base))
    self.assertGreater(np.max(difference), 0.001)

  def test_these_are_all_options(self):
    tested = {key for change, _ in TREE + OUTPUTS for key in change}
    tested = {key.replace('__', '.') for key in tested}
    # Tested below, in cells/feed_forward_test, of no module, or, the last,
    # refused if True.
    tested |= {
      'dropout.locked',
      'model.backend',
      'model.init_scale',
      'model.embedding_init_scale',
      'model.lstm.forget_bias',
      'model.feed_forward.window',
      'model.feed_forward.direct',
      'model.last_hidden_size',
      'model.both_directions',
      'model.pretrained_embeddings',
      'model.bidirectional_decoder',
    }
    options = [
      key
      for key in SCHEMA.keys
      if key.startswith('model.') or key == 'dropout.locked'
    ]
    self.assertSetEqual(tested, set(options))

  @parameterized.product(bias=(0.0, 1.0, 2.5), cell=('lstm', 'mlstm'))
  def test_the_forget_bias_is_that_of_the_forget_gates_alone(self, bias, cell):
    config = configure(model__cell=cell, model__lstm__forget_bias=bias)
    model = built(config)
    size, key = SIZES['hidden_size'], jax.random.key(0)
    for stack in (model.encoder, model.decoder.stack):
      # The order of the gates is i, f, g, o, after m.
      want = [0, bias, 0, 0] if cell == 'lstm' else [0, 0, bias, 0, 0]
      want = np.repeat(np.float32(want), size)
      got = stack.cell.bias_init(key, want.shape)
      np.testing.assert_array_equal(got, want)

  def test_new_biases_of_a_model_are_those_of_the_config(self):
    config = configure(model__cell='lstm', model__lstm__forget_bias=2.5)
    model = built(config)

    @jax.jit  # Of the biases alone: the rest of init takes long to compile.
    def biases(key):
      params = model.init(key, *arrays())['params']
      stacks = params['encoder'], params['decoder']['recurrent']
      return [stack['layer_0']['bias'] for stack in stacks]

    want = np.repeat(np.float32([0, 2.5, 0, 0]), SIZES['hidden_size'])
    for bias in biases(jax.random.key(0)):
      np.testing.assert_array_equal(bias, want)

  def test_initial_parameters_fill_the_intervals_asked_for(self):
    config = configure(model__init_scale=0.2, model__embedding_init_scale=0.7)
    model = built(config)
    params = jax.eval_shape(model.init, jax.random.key(0), *arrays())
    params = jax.tree.map(lambda leaf: jnp.zeros((40, 50)), params)
    drawn = build.initialised(config, params, jax.random.key(1))
    leaves = jax.tree.leaves_with_path(drawn)
    for path, leaf in leaves:
      bound = 0.7 if 'embedding' in jax.tree_util.keystr(path) else 0.2
      self.assertLessEqual(np.max(np.abs(leaf)), bound)
      # Of a uniform distribution: deviation bound / sqrt(3).
      self.assertAlmostEqual(np.std(leaf), bound / 3**0.5, delta=0.02 * bound)
    self.assertFalse(np.any(leaves[0][1] == leaves[1][1]))
    key = jax.random.key(1)
    same = build.initialised(configure(), params, key)
    jax.tree.map(np.testing.assert_array_equal, same, params)

  def test_biases_are_drawn_around_their_beginning(self):
    config = configure(model__init_scale=0.2)
    params = {'bias': jnp.full((40, 50), 1.5)}
    drawn = build.initialised(config, params, jax.random.key(1))['bias']
    self.assertAlmostEqual(np.mean(drawn), 1.5, delta=0.02)
    self.assertAlmostEqual(np.std(drawn), 0.2 / 3**0.5, delta=0.01)

  def test_components_of_a_prior_do_not_begin_alike(self):
    config = configure(model__init_scale=0.2, model__prior='mixture')
    params = {'prior_outputs': jnp.ones((3, 4)), 'kernel': jnp.ones((3, 4))}
    drawn = build.initialised(config, params, jax.random.key(1))
    np.testing.assert_array_equal(drawn['prior_outputs'], 1.0)
    self.assertLess(np.max(drawn['kernel']), 0.2)

  @parameterized.parameters(False, True)
  def test_locked_dropout_is_that_of_all_dropout(self, locked):
    model = built(configure(dropout__locked=locked, dropout__output=0.1))
    for part in (model.decoder, model.decoder.stack, model.encoder):
      self.assertEqual(part.locked_dropout, locked)

  @parameterized.parameters('scan', 'fused')
  def test_the_backend_is_that_of_all_stacks(self, backend):
    model = built(configure(model__backend=backend))
    self.assertEqual(model.encoder.backend, backend)
    self.assertEqual(model.decoder.stack.backend, backend)

  def test_a_backend_that_does_not_fit_is_refused(self):
    config = configure(model__backend='cluster')
    with self.assertRaisesRegex(ValueError, r"model\.backend = 'cluster'"):
      built(config)

  @parameterized.parameters(*products.PRECISIONS)
  def test_the_precision_is_that_of_all_products(self, precision):
    model = built(configure(model__precision=precision))
    self.assertEqual(model.decoder.precision, precision)
    for stack in (model.decoder.stack, model.encoder):
      self.assertEqual(stack.options.precision, precision)
      self.assertEqual(stack.cell.precision, precision)

  @parameterized.parameters(
    {},
    {'model__latent_to_output': True, 'model__tied_embeddings': True},
    {
      'model__kind': 'language_model',
      'model__cell': 'feed_forward',
      'model__feed_forward__direct': True,
      'model__tied_embeddings': True,
    },
  )
  def test_all_products_of_a_bfloat16_model_are_of_bfloat16(self, **changes):
    # The gradients' products as well.
    config = configure(model__precision='bfloat16', **changes)
    model = built(config)
    batch = tuple(map(jnp.asarray, arrays()))
    params = jax.eval_shape(model.init, jax.random.key(0), *batch)
    value = lambda params: model.apply(params, *batch).total
    program = jax.make_jaxpr(jax.grad(value))(params)
    found = list(operands(program.jaxpr))
    # At least one product forward and two in the gradient of each kernel but
    # the embedding table's, which some models have no product with.
    kernels = jax.tree_util.tree_leaves_with_path(params)
    kernels = [path for path, _ in kernels if 'kernel' in str(path[-1])]
    self.assertGreaterEqual(len(found), 2 * 3 * len(kernels))
    self.assertEqual(set(found), {jnp.dtype(jnp.bfloat16)})

  def test_a_decoder_that_reads_backwards_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'words that it is asked'):
      configure(model__bidirectional_decoder=True)

  def test_an_encoder_of_no_given_size_has_that_of_the_decoder(self):
    model = built(configure())
    self.assertEqual(model.encoder.cell.features, SIZES['hidden_size'])

  def test_a_language_model_has_no_latents(self):
    config = configure(model__kind='language_model')
    tree = shapes(config)
    self.assertNotIn('initial', tree)
    kernel = tree['recurrent']['layer_0']['kernel']
    self.assertEqual(kernel[0], SIZES['embedding_size'])

  def test_the_last_layer_may_be_of_another_size(self):
    config = configure(
      model__kind='language_model',
      model__cell='lstm',
      model__num_layers=3,
      model__last_hidden_size=5,
    )
    tree = shapes(config)['recurrent']
    hidden = SIZES['hidden_size']
    kernels = [tree[f'layer_{n}']['kernel'] for n in range(3)]
    sizes = SIZES['embedding_size'], hidden, hidden
    self.assertEqual(
      kernels,
      [
        (size, 4 * units)
        for size, units in zip(sizes, (hidden, hidden, 5), strict=True)
      ],
    )

  @parameterized.parameters('elman', 'gru', 'lstm', 'mlstm')
  def test_a_decoder_reads_in_one_direction(self, cell):
    config = configure(model__cell=cell, model__bidirectional_encoder=True)
    model = built(config)
    self.assertFalse(model.decoder.stack.bidirectional)
    self.assertTrue(model.encoder.bidirectional)


if __name__ == '__main__':
  absltest.main()
