"""Spaces of searches: every mistake is named before anything is trained."""

from absl.testing import absltest, parameterized

from rnnvae_jax.config import build, space


def make_sweep(varied=None, **settings):
  config = build.default(settings.pop('kind', 'sentence_vae'))
  first = {
    'config': config,
    'space': varied or {'dropout.word': space.uniform(0.0, 0.5)},
    'figure': 'elbo',
    'random': 3,
  }
  return space.Sweep(**(first | settings))


class CheckTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      'model.hidden_sze',
      space.choices(3, 4),
      "Did you mean 'model.hidden_size",
    ),
    (
      'model.head_size',
      space.choices(3, 4),
      'no key of a sentence_vae, but of',
    ),
    ('seed', space.choices(3, 4), 'finalists'),
    ('train.num_steps', space.choices(10, 20), 'equally many updates'),
    ('corpus.vocab_size', space.choices(10, 20), 'cannot be compared'),
    ('generate.beam_size', space.choices(1, 2), 'nothing that is trained'),
    ('model.cell', space.choices('gru', 'gruu'), "Did you mean 'gru'"),
    ('model.cell', space.uniform(0, 1), r'use choices\(\.\.\.\)'),
    ('model.tied_embeddings', space.uniform(0, 1), r'choices\(False\)'),
    ('model.hidden_size', space.uniform(0, 64), 'Nearest legal value: 1'),
    ('model.hidden_size', space.uniform(2.5, 64), 'is of type float, not int'),
    ('model.hidden_size', space.choices('2', '4'), 'is of type str, not int'),
    ('model.hidden_size', space.choices(True, 4), 'is of type bool, not int'),
    ('model.hidden_size', space.choices(4), 'two or more'),
    ('model.hidden_size', space.choices(4, 4), 'two or more'),
    ('model.hidden_size', space.uniform(64, 64), 'is empty: from 64 to 64'),
    ('dropout.word', space.uniform(0.1, 1.5), 'out of range'),
    ('dropout.word', space.log_uniform(0.0, 0.5), 'no logarithm'),
    ('model.lstm.forget_bias', space.uniform(0, 2), 'no effect'),
  )
  def test_a_key_or_its_values_are_refused(self, key, domain, message):
    with self.assertRaisesRegex(ValueError, message):
      space.check(make_sweep({key: domain}))

  @parameterized.parameters(
    ({'random': 0}, 'no trials'),
    ({'random': -1}, 'random = -1 .* is < 0'),
    ({'finalists': 0}, 'finalists = 0'),
    ({'seeds': 0}, 'seeds = 0'),
    ({'halving': 1}, 'stops no trial'),
    ({'first': 7}, 'first = 7'),
    ({'grid': ('dropout.output',)}, "key of the grid = 'dropout.output'"),
    ({'grid': ('dropout.word',), 'random': 0, 'tpe': 2}, 'no centre'),
    ({'neighbour': 0.0}, 'neighbour = 0.0'),
    ({'figure': 'elbow'}, "Did you mean 'elbo'"),
    ({'at_least': {'kll': 1.0}}, "Did you mean 'kl'"),
    ({'winner': {'train.num_stops': 7}}, "Did you mean 'train.num_steps'"),
    ({'winner': {'train.num_steps': 7}}, 'not a multiple'),
    ({'kind': 'ngrams', 'figure': 'perplexity'}, 'is fitted'),
  )
  def test_a_setting_is_refused(self, settings, message):
    with self.assertRaisesRegex(ValueError, message):
      space.check(make_sweep(**settings))

  def test_an_empty_space_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'names no key'):
      space.check(make_sweep()._replace(space={}))

  def test_a_key_that_another_one_switches_on_is_legal(self):
    varied = {
      'model.cell': space.choices('gru', 'lstm'),
      'model.lstm.forget_bias': space.uniform(0, 2),
    }
    space.check(make_sweep(varied))

  def test_a_config_is_no_search(self):
    with self.assertRaisesRegex(ValueError, 'gru_vae is no search'):
      space.load('gru_vae')

  @parameterized.parameters(
    '', 'tiny', 'halving=3', 'tiny,halving=2', 'epochs=1'
  )
  def test_the_search_of_the_report_is_legal(self, tail):
    found = space.load(f'sweeps/rnn_vae_report:{tail}')
    space.check(found)
    self.assertEqual(found.figure, 'elbo')
    self.assertEqual(found.at_least, {'kl': 1.0})
    if not tail:
      self.assertEqual(found.random, 48)
      # The rows of its table are in the space.
      for row in (
        {'model.hidden_size': 272, 'model.latent_size': 8},
        {'model.hidden_size': 1_024, 'model.latent_size': 16},
      ):
        for key, value in row.items():
          domain = found.space[key]
          if isinstance(domain, space.Choices):
            self.assertIn(value, domain.values)
          else:
            self.assertBetween(value, domain.low, domain.high)


class SettledTest(absltest.TestCase):
  def test_what_has_no_effect_is_at_its_default(self):
    config = build.default('sentence_vae')
    config.model.cell, config.model.lstm.forget_bias = 'lstm', 2.0
    without = space.settled(config, {'model.cell': 'gru'})
    default = build.default('sentence_vae').model.lstm.forget_bias
    self.assertEqual(without.model.lstm.forget_bias, default)
    build.validate(without)
    self.assertEqual(config.model.lstm.forget_bias, 2.0)  # Not modified.


class NeighboursTest(parameterized.TestCase):
  @parameterized.parameters(
    (space.choices(2, 4, 8), 4, [2, 4, 8]),
    (space.choices(2, 4, 8), 8, [4, 8]),
    (space.uniform(0.0, 0.5), 0.25, [0.2, 0.25, 0.3]),
    (space.uniform(0.0, 0.5), 0.48, [0.43, 0.48, 0.5]),
    (space.uniform(10, 30), 20, [18, 20, 22]),
    (space.uniform(10, 12), 11, [11]),
    (space.log_uniform(1.0, 1024.0), 2.0, [1.0, 2.0, 4.0]),
    (space.log_uniform(1, 1024), 64, [32, 64, 128]),
  )
  def test_they_stand_beside_the_value(self, domain, value, wanted):
    found = space.neighbours(domain, value, 0.1)
    self.assertLen(found, len(wanted))
    for ours, theirs in zip(found, wanted, strict=True):
      self.assertAlmostEqual(ours, theirs)


if __name__ == '__main__':
  absltest.main()
