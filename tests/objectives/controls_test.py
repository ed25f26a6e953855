"""Config keys of the KL term's controls, each refused with its reason."""

import dataclasses
from unittest import mock

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import ml_collections
import numpy as np

from rnnvae_jax import registry
from rnnvae_jax.config import schema
from rnnvae_jax.objectives import controls, losses, posteriors, rate_control
from rnnvae_jax.objectives.posteriors import base as posteriors_base

KEYS = schema.Schema([*controls.fragments(), losses.LabelSmoothingConfig])


def make(**values):
  """A config of a sentence VAE; `model__latent_size` is model.latent_size."""
  config = KEYS.default()
  others = {
    'model.latent_size': 32,
    'model.prior': 'standard',
    'objective.fit_prior': False,
    'optimizer.name': 'adam',
    'optimizer.average_patience': 0,
    'train.batch_size': 32,
    'train.inner_steps': 0,
    'train.pretrain_steps': 0,
  }
  config.unlock()
  for key, value in others.items():
    section, name = key.split('.')
    if section not in config:
      config[section] = ml_collections.ConfigDict()
    config[section][name] = value
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in values.items()}
  )
  return config


class DefaultsTest(parameterized.TestCase):
  @parameterized.parameters(*KEYS.keys)
  def test_names_defaults_and_ranges_are_those_that_runs_were_saved_with(
    self, name
  ):
    want = {
      'model.posterior': ('gaussian', None, None),
      'model.posterior_scale': (0.6, 0, None),
      'model.committed_rate': (3.0, 0, None),
      'model.flow_layers': (4, 1, None),
      'model.concentration': (13.0, 0, 5_000),
      'objective.kl_schedule': ('constant', None, None),
      'objective.kl_weight': (1.0, 0, None),
      'objective.kl_start': (0.0, 0, None),
      'objective.kl_anneal_steps': (0, 0, None),
      'objective.kl_cycles': (1, 1, None),
      'objective.free_bits': (0.0, 0, None),
      'objective.free_bits_per': ('sentence', None, None),
      'objective.rate_control': ('none', None, None),
      'objective.target_rate': (0.0, 0, None),
      'objective.rate_control_speed': (0.01, 0, 1),
      'objective.mmd_weight': (0.0, 0, None),
      'objective.label_smoothing': (0.0, 0, 0.99),
    }
    key = KEYS.keys[name]
    self.assertEqual((key.default, key.low, key.high), want[name])
    self.assertIs(type(key.default), type(want[name][0]))

  def test_what_a_compiled_step_reads_may_vary(self):
    self.assertEqual(
      KEYS.varying(),
      tuple(
        f'objective.{name}'
        for name in (
          'free_bits',
          'kl_anneal_steps',
          'kl_cycles',
          'kl_start',
          'kl_weight',
          'label_smoothing',
          'mmd_weight',
          'rate_control_speed',
          'target_rate',
        )
      ),
    )

  def test_the_defaults_are_legal(self):
    KEYS.check(KEYS.default())
    controls.check(make())


class KeysTest(parameterized.TestCase):
  def check(self, given=None, **values):
    config = KEYS.default()
    config.update_from_flattened_dict(
      {key.replace('__', '.'): value for key, value in values.items()}
    )
    KEYS.check(config, given)

  @parameterized.parameters(
    ('model.posterior_scale', 0.5, 'batch_norm'),
    ('model.committed_rate', 5.0, 'committed'),
    ('model.flow_layers', 2, 'planar'),
    ('model.concentration', 9.0, 'von_mises_fisher'),
  )
  def test_an_option_of_another_posterior_is_refused(self, key, value, kind):
    name = key.replace('.', '__')
    self.check(**{name: value, 'model__posterior': kind})
    with self.assertRaisesRegex(
      ValueError, f'{key} = .* no effect: .*posterior = {kind!r}'
    ):
      self.check(**{name: value})

  @parameterized.parameters(*posteriors.KINDS)
  def test_every_posterior_is_legal_and_built_from_its_config(self, kind):
    self.check(model__posterior=kind)
    config = make(model__posterior=kind, model__latent_size=5)
    family = posteriors.from_config(config)
    want = posteriors.build(
      kind,
      5,
      scale=0.6,
      committed_rate=3.0,
      flow_layers=4,
      concentration=13.0,
    )
    self.assertEqual(family.head_size, want.head_size)
    rng = np.random.default_rng(0)
    outputs = jnp.float32(rng.normal(size=(3, family.head_size)))
    noise = jnp.float32(rng.normal(size=(3, family.noise_size)))
    got, want = (
      f.draw(noise, f.read(outputs, f.initial())) for f in (family, want)
    )
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])

  def test_a_scale_of_zero_is_refused_where_it_is_read(self):
    with self.assertRaisesRegex(ValueError, 'posterior_scale > 0'):
      self.check(model__posterior='batch_norm', model__posterior_scale=0.0)

  @parameterized.parameters(
    ({}, 'target_rate above 0'),
    (
      {'objective__target_rate': 3.0, 'objective__rate_control_speed': 0.0},
      'rate_control_speed above 0',
    ),
  )
  def test_a_rate_control_wants_a_target_and_a_speed(self, values, message):
    for kind in ('lagrangian', 'soft_free_bits'):
      with self.assertRaisesRegex(ValueError, message):
        self.check(objective__rate_control=kind, **values)

  @parameterized.parameters(
    {'objective__target_rate': 3.0}, {'objective__rate_control_speed': 0.1}
  )
  def test_options_of_a_control_are_refused_without_one(self, **values):
    with self.assertRaisesRegex(
      ValueError, "no effect: .*rate_control = 'none'"
    ):
      self.check(**values)

  def test_a_sweep_of_free_bits_may_begin_at_zero(self):
    for nats in (0.0, 3.0):
      self.check(
        given=('objective.free_bits', 'objective.free_bits_per'),
        objective__free_bits=nats,
        objective__free_bits_per='batch',
      )


class CheckTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      {'objective__free_bits': 3.0, 'objective__rate_control': 'lagrangian'},
      'both hold the rate up',
    ),
    (
      {
        'objective__free_bits': 3.0,
        'objective__free_bits_per': 'sentence_latent',
        'model__prior': 'vamp',
      },
      "prior 'vamp' is known on average only. Legal: 'batch'",
    ),
    (
      {
        'model__posterior': 'planar',
        'model__prior': 'mixture',
        'objective__fit_prior': True,
      },
      "fit_prior: posterior 'planar' has no exact KL",
    ),
    (
      {'objective__free_bits': 3.0, 'model__posterior': 'planar'},
      "posterior 'planar' .* is known on average only. Legal: 'batch'",
    ),
    (
      {'objective__free_bits': 3.0, 'model__posterior': 'von_mises_fisher'},
      'constant KL.*Set config.model.concentration instead',
    ),
    (
      {'objective__free_bits': 3.0, 'objective__kl_weight': 0.0},
      'takes away the KL term',
    ),
    (
      {
        'objective__rate_control': 'soft_free_bits',
        'objective__target_rate': 5.0,
        'objective__kl_weight': 0.0,
      },
      'takes away the KL term',
    ),
    (
      {
        'model__posterior': 'committed',
        'model__committed_rate': 8.0,
        'model__latent_size': 10,
        'objective__free_bits': 0.7,
        'objective__free_bits_per': 'sentence_latent',
      },
      'committed_rate makes the KL at least 8 .* nothing to hold up to 7.',
    ),
    (
      {
        'model__posterior': 'batch_norm',
        'model__posterior_scale': 0.5,
        'objective__free_bits': 4.0,
        'objective__free_bits_per': 'batch',
      },
      'posterior_scale makes the KL at least 4 .* nothing to hold up to 4',
    ),
    (
      {
        'model__posterior': 'batch_norm',
        'model__posterior_scale': 0.5,
        'objective__rate_control': 'lagrangian',
        'objective__target_rate': 3.0,
      },
      'at least 4 nats, so there is nothing to hold up to 3',
    ),
    (
      {'train__pretrain_steps': 20, 'objective__kl_weight': 0.0},
      'an autoencoder to the end',
    ),
    (
      {'model__prior': 'mixture', 'model__posterior': 'batch_norm'},
      'Legal: gaussian, planar',
    ),
    ({'train__inner_steps': 9}, "config.optimizer.name = 'sgd'"),
    (
      {
        'train__inner_steps': 9,
        'optimizer__name': 'sgd',
        'model__posterior': 'batch_norm',
      },
      'running statistics',
    ),
    (
      {'optimizer__average_patience': 3, 'model__posterior': 'batch_norm'},
      'running statistics',
    ),
    (
      {
        'train__inner_steps': 9,
        'optimizer__name': 'sgd',
        'model__posterior': 'planar',
      },
      'mutual information',
    ),
    (
      {
        'train__inner_steps': 9,
        'optimizer__name': 'sgd',
        'train__pretrain_steps': 500,
      },
      'no encoder that runs ahead',
    ),
    (
      {'model__posterior': 'von_mises_fisher', 'model__latent_size': 1},
      'a direction needs a plane',
    ),
    (
      {'model__posterior': 'batch_norm', 'train__batch_size': 1},
      'of one sentence every mean is 0',
    ),
  )
  def test_what_cannot_work_together_is_refused(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      controls.check(make(**values))

  @parameterized.parameters(
    {
      'model__posterior': 'batch_norm',
      'model__posterior_scale': 0.5,
      'objective__free_bits': 4.0,
    },
    {
      'model__prior': 'mixture',
      'objective__fit_prior': True,
      'objective__free_bits': 0.2,
      'objective__free_bits_per': 'sentence_latent',
    },
    {
      'model__posterior': 'planar',
      'model__prior': 'vamp',
      'objective__free_bits': 4.0,
      'objective__free_bits_per': 'batch',
    },
    {
      'model__posterior': 'committed',
      'objective__rate_control': 'lagrangian',
      'objective__target_rate': 5.0,
    },
    {'train__inner_steps': 9, 'optimizer__name': 'sgd'},
  )
  def test_what_works_together_is_accepted(self, **values):
    controls.check(make(**values))


POSTERIOR = """
from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base


@schema.fragment('model', only_if=schema.one_of('model.posterior', 'narrow'))
class NarrowConfig:
  width: float = schema.field(0.5, 'Share of the deviation.', low=0)


CONFIG = NarrowConfig


def build(latent_size, config):
  gaussian = base.gaussian(latent_size)
  return gaussian._replace(
    draw=lambda noise, q: gaussian.draw(config.width * noise, q)
  )
"""
CONTROL = """
import jax.numpy as jnp
from rnnvae_jax.config import schema
from rnnvae_jax.objectives.rate_control import base


@schema.fragment(
  'objective', only_if=schema.one_of('objective.rate_control', 'hinge')
)
class HingeConfig:
  hinge_weight: float = schema.field(2.0, 'Its weight.', low=0, traced=True)


CONFIG = HingeConfig
CONTROL = base.Control(
  initial=dict,
  penalty=lambda state, kl, target, weight, scalars: (
    jnp.float32(1), scalars['hinge_weight'] * jnp.maximum(target - kl, 0)
  ),
  kl_weight=lambda state, weight: weight,
  update=lambda state, *_: state,
)
"""


class OneFileTest(absltest.TestCase):
  """A new posterior or control is one file, which brings its own keys."""

  def add(self, package, name, text):
    """Puts a module into the folder of a package, as `registry` sees it."""
    folder = self.create_tempdir()
    folder.create_file(f'{name}.py', text)
    path = [*package.__path__, folder.full_path]
    self.enter_context(mock.patch.object(package, '__path__', path))
    kinds = registry.Registry(package.__name__, 'kind')
    self.enter_context(mock.patch.object(package.base, 'REGISTRY', kinds))

  def test_a_posterior(self):
    self.add(posteriors, 'narrow', POSTERIOR)
    keys = schema.Schema(controls.fragments())
    config = keys.default()
    config.model.posterior, config.model.width = 'narrow', 0.25
    keys.check(config)
    with config.unlocked():
      config.model.latent_size = 3
    family = posteriors.from_config(config)
    z, _ = family.draw(
      jnp.ones((2, 3)), posteriors.Posterior(*jnp.zeros((2, 2, 3)))
    )
    np.testing.assert_array_equal(z, np.full((2, 3), 0.25))
    config.model.posterior = 'gaussian'
    with self.assertRaisesRegex(
      ValueError, 'width = 0.25 would have no effect'
    ):
      keys.check(config)

  def test_a_rate_control(self):
    self.add(rate_control, 'hinge', CONTROL)
    keys = schema.Schema(controls.fragments())
    self.assertIn('objective.hinge_weight', keys.varying())
    config = keys.default()
    config.objective.rate_control = 'hinge'
    config.objective.target_rate, config.objective.hinge_weight = 5.0, 3.0
    keys.check(config)
    _, added = rate_control.penalty(
      'hinge', {}, jnp.float32(4), 5.0, 1.0, config.objective
    )
    self.assertEqual(float(added), 3.0)


class ConstantKlTest(absltest.TestCase):
  def test_says_of_each_family_what_its_functions_do(self):
    for kind in posteriors.KINDS:
      family = posteriors.build(kind, 4)
      rng = np.random.default_rng(0)
      outputs = jnp.float32(3 * rng.normal(size=(9, family.head_size)))
      posterior, statistics = family.adapt(
        outputs, family.initial(), jnp.ones(9)
      )
      self.assertEqual(family.has_statistics, bool(statistics), kind)
      if family.kl is None:
        continue
      kl = np.float64(family.kl(posterior)).sum(axis=1)
      self.assertEqual(family.constant_kl, np.ptp(kl) == 0, kind)
      self.assertGreaterEqual(np.min(kl), family.least_kl * (1 - 1e-6), kind)
      # The floor under the variance takes up to 1e-5 of it.
      least = family.least_mean_kl * (1 - 1e-4)
      self.assertGreaterEqual(np.mean(kl), least, kind)

  def test_options_have_the_names_of_the_config(self):
    for kind in posteriors.KINDS:
      for entry in dataclasses.fields(posteriors_base.get(kind).CONFIG):
        self.assertIn(entry.name, posteriors.option_names(kind))
    with self.assertRaisesRegex(TypeError, 'option sale'):
      posteriors.build('batch_norm', 4, sale=0.5)


if __name__ == '__main__':
  absltest.main()
