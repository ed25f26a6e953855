"""The config of a task: defaults, checks, what makes two runs different."""

import os

from absl.testing import absltest, parameterized
import ml_collections

from rnnvae_jax.config import build, schema
from rnnvae_jax.training import preparation


class DefaultTest(absltest.TestCase):
  def test_is_valid_and_locked(self):
    config = build.default('sentence_vae')
    build.validate(config)
    with self.assertRaisesRegex(AttributeError, 'latent_size'):
      config.model.latent_sze = 4
    with self.assertRaises(TypeError):
      config.model.latent_size = 'many'


class ValidateTest(parameterized.TestCase):
  def error(self, **changes):
    changes = {key.replace('__', '.'): value for key, value in changes.items()}
    config = build.default(changes.pop('model.kind', 'sentence_vae'))
    config.update_from_flattened_dict(changes)
    with self.assertRaises(ValueError) as raised:
      build.validate(config)
    return str(raised.exception)

  @parameterized.parameters(
    ('corpus.protocol', 'twet', 'tweet'),
    ('model.cell', 'gruu', 'gru'),
    ('model.elman.activation', 'tan', 'tanh'),
    ('objective.kl_schedule', 'sigmoidal', 'sigmoid'),
    ('model.posterior', 'commited', 'committed'),
    ('model.backend', 'fuse', 'fused'),
    ('generate.format', 'json', 'jsonl'),
    ('objective.free_bits_per', 'sentences', 'sentence'),
    ('optimizer.name', 'adamw', 'adam'),
    ('optimizer.schedule', 'cosin', 'cosine'),
    ('evaluate.split', 'tests', 'test'),
  )
  def test_offers_the_nearest_name(self, key, wrong, nearest):
    message = self.error(**{key: wrong})
    self.assertStartsWith(message, f'config.{key} = {wrong!r} is unknown. ')
    self.assertIn(f'Did you mean {nearest!r}?', message)

  @parameterized.parameters(
    ({'model.cell': 'feed_forward'}, 'model.num_layers', 2),
    ({'model.cell': 'feed_forward'}, 'dropout.recurrent', 0.5),
    ({'model.cell': 'feed_forward'}, 'model.backend', 'scan'),
    ({'model.cell': 'gru'}, 'model.lstm.peepholes', True),
    ({'model.cell': 'lstm'}, 'model.gru.reset_after', False),
    ({'model.cell': 'mlstm'}, 'model.elman.activation', 'relu'),
    ({}, 'model.feed_forward.window', 7),
    ({}, 'optimizer.final_learning_rate', 1e-4),
    ({}, 'optimizer.decay_factor', 0.5),
    ({}, 'optimizer.plateau_factor', 0.9),
    ({'model.inputless': True}, 'dropout.embedding', 0.5),
    ({'model.inputless': True}, 'dropout.word_type', 0.5),
    ({}, 'train.validation_rows', 5),
    ({}, 'train.unroll', 70),
    ({'corpus.stream': True}, 'train.num_buckets', 2),
    ({}, 'train.unroll_spread', 5),
    ({}, 'objective.teacher_interval', 3),
    ({}, 'objective.final_teacher_temperature', 3.0),
    (
      {'objective.augmentation': 0.5, 'objective.teacher_interval': 3},
      'objective.teacher_stop_gradient',
      False,
    ),
  )
  def test_a_key_that_nothing_would_read_is_refused(self, base, key, value):
    base = {'model.kind': 'language_model'} | base
    message = self.error(**base, **{key: value})
    self.assertStartsWith(
      message, f'config.{key} = {value!r} would have no effect'
    )

  @parameterized.parameters(
    ({'model.posterior': 'von_mises_fisher'}, 'objective.kl_weight', 0.5),
    ({}, 'dropout.hidden', 0.5),
    ({}, 'dropout.locked', True),
    ({'dropout.word': 0.5}, 'dropout.locked', True),
    ({'corpus.name': 'ptb'}, 'corpus.valid_share', 0.2),
    ({'corpus.name': '.'}, 'corpus.valid_share', 0.2),
    ({'corpus.name': 'lee'}, 'corpus.test_share', 0.2),
    ({'generate.temperature': 0.0}, 'generate.top_k', 9),
    ({'generate.temperature': 0.0}, 'generate.top_p', 0.9),
    ({}, 'objective.kl_start', 0.1),
    ({}, 'objective.kl_anneal_steps', 5_000),
    (
      {'objective.kl_schedule': 'linear', 'objective.kl_anneal_steps': 9},
      'objective.kl_cycles',
      4,
    ),
    ({}, 'objective.target_rate', 5.0),
    ({}, 'objective.rate_control_speed', 0.5),
    ({'model.posterior': 'committed'}, 'model.posterior_scale', 0.5),
    ({}, 'model.committed_rate', 5.0),
    ({}, 'model.flow_layers', 2),
    ({}, 'model.concentration', 30.0),
    ({}, 'model.prior_components', 9),
    ({'model.inputless': True}, 'dropout.word', 0.3),
    ({'generate.temperature': 0.0}, 'generate.length_penalty', 0.5),
  )
  def test_nor_does_a_vae_accept_it(self, base, key, value):
    message = self.error(**base, **{key: value})
    self.assertStartsWith(
      message, f'config.{key} = {value!r} would have no effect'
    )

  @parameterized.parameters(
    ('ngrams', 'dropout.output'),
    ('ngrams', 'model.both_directions'),
    ('ngrams', 'model.tied_embeddings'),
    ('ngrams', 'model.cell'),
    ('ngrams', 'model.hidden_size'),
    ('ngrams', 'train.num_steps'),
    ('language_model', 'objective.free_bits'),
    ('language_model', 'objective.kl_weight'),
    ('language_model', 'objective.mmd_weight'),
    ('language_model', 'model.latent_size'),
    ('language_model', 'model.posterior'),
    ('language_model', 'model.bidirectional_encoder'),
    ('language_model', 'model.ngrams.order'),
    ('language_model', 'generate.posterior_sample'),
    ('language_model', 'evaluate.iw_samples'),
    ('language_model', 'train.pretrain_steps'),
    ('language_model', 'train.inner_steps'),
    ('sentence_vae', 'objective.augmentation'),
    ('sentence_vae', 'objective.activation_penalty'),
    ('sentence_vae', 'objective.temporal_penalty'),
    ('sentence_vae', 'model.both_directions'),
    ('sentence_vae', 'model.last_hidden_size'),
  )
  def test_a_task_has_no_keys_of_others(self, kind, key):
    self.assertIn(key, build.all_keys())
    self.assertNotIn(key, build.schema_for(kind).keys)
    config = build.default(kind)
    with self.assertRaises((KeyError, AttributeError)):
      config.update_from_flattened_dict({key: build.all_keys()[key].default})

  def test_a_config_of_another_task_is_refused(self):
    config = build.default('sentence_vae')
    config.model.kind = 'language_model'
    with self.assertRaisesRegex(
      ValueError, r'not those of a language_model: config\.\w+'
    ):
      build.validate(config)
    config.model.kind = 'sentence_vea'
    with self.assertRaisesRegex(ValueError, "Did you mean 'sentence_vae'"):
      build.validate(config)

  def test_a_sweep_of_free_bits_may_begin_at_none(self):
    for threshold in (0.0, 3.0):
      config = build.default('sentence_vae')
      config.objective.free_bits = threshold
      config.objective.free_bits_per = 'batch'
      build.validate(config)
      build.validate(config, ['objective.free_bits_per'])

  def test_a_reconstruction_that_is_drawn_reads_what_draws_read(self):
    config = build.default('sentence_vae')
    config.generate.temperature = 0.0
    config.generate.top_k = 9
    config.generate.reconstruct_temperature = 0.5
    build.validate(config)

  def test_shares_are_those_of_a_file(self):
    path = self.create_tempfile(content='a\n').full_path
    config = build.default('language_model')
    config.corpus.name = path
    config.corpus.valid_share, config.corpus.test_share = 0.2, 0.3
    build.validate(config)

  def test_what_belongs_to_something_switched_off_is_let_be(self):
    config = build.default('sentence_vae')
    config.objective.kl_anneal_steps = 5_000
    config.objective.kl_schedule = 'constant'
    with self.assertRaisesRegex(ValueError, 'would have no effect'):
      build.validate(config)
    build.validate(config, ['objective.kl_schedule'])
    with self.assertRaisesRegex(ValueError, 'would have no effect'):
      build.validate(config, ['objective.kl_anneal_steps'])

  def test_a_stream_is_for_language_models(self):
    message = self.error(corpus__stream=True)
    self.assertStartsWith(
      message, 'config.corpus.stream = True is for language'
    )

  def test_a_stream_cannot_be_read_in_reverse(self):
    message = self.error(
      model__kind='language_model',
      corpus__stream=True,
      model__both_directions=True,
    )
    self.assertIn('no end to begin at', message)

  def test_a_vae_needs_a_state(self):
    self.assertIn('no state', self.error(model__cell='feed_forward'))

  @parameterized.parameters(
    ('corpus.max_length', 1, 'at least 2', '2'),
    ('model.hidden_size', 0, 'at least 1', '1'),
    ('model.num_layers', -1, 'at least 1', '1'),
    ('dropout.word', 1.5, '0 to 1', '1.0'),
    ('dropout.output', 1.0, '0 to 0.99', '0.99'),
    ('dropout.embedding', -0.1, '0 to 0.99', '0.0'),
    ('objective.kl_cycles', 0, 'at least 1', '1'),
    ('objective.free_bits', -1.0, 'at least 0', '0.0'),
    ('optimizer.learning_rate', float('nan'), 'at least 0', ''),
    ('optimizer.plateau_factor', 2.0, '0 to 1', '1.0'),
    ('train.steps_per_call', 0, 'at least 1', '1'),
    ('evaluate.iw_samples', 0, 'at least 1', '1'),
    ('evaluate.mutual_information_group', 1, 'at least 2', '2'),
    ('generate.top_p', 1.5, '0 to 1', '1.0'),
    ('generate.interpolation_steps', 1, 'at least 2', '2'),
    ('generate.temperature', float('inf'), '0 to 1000.0', '1000.0'),
    ('generate.reconstruct_temperature', float('inf'), '0 to 1000.0', '1000.0'),
  )
  def test_names_the_range(self, key, wrong, bound, nearest):
    message = self.error(**{key: wrong})
    self.assertEqual(
      message,
      f'config.{key} = {wrong!r} is out of range: {bound}.'
      + (f' Nearest legal value: {nearest}.' if nearest else ''),
    )
    if nearest:
      config = build.default('sentence_vae')
      value = type(wrong)(nearest)
      config.update_from_flattened_dict({key: value})
      build.keys_of(config).check(config, ())

  def test_every_number_has_a_range_but_where_any_will_do(self):
    unbounded = {
      name
      for name, key in build.all_keys().items()
      if isinstance(key.default, int | float)
      and not isinstance(key.default, bool)
      and key.low is None
    }
    # A forget gate may be made to forget; columns count from either end.
    self.assertEqual(
      unbounded,
      {'model.lstm.forget_bias', 'corpus.word_column', 'corpus.tag_column'},
    )

  def test_no_number_may_be_infinite(self):
    for kind in build.TASKS:
      for name, key in build.schema_for(kind).keys.items():
        if isinstance(key.default, float):
          for value in (float('nan'), float('inf'), float('-inf')):
            config = build.default(kind)
            config.update_from_flattened_dict({name: value})
            with self.assertRaisesRegex(ValueError, f'config.{name} = '):
              build.validate(config)

  @parameterized.parameters(
    ('train.num_steps', 109, 100),
    ('train.eval_every', 39, 20),
    ('train.num_steps', 5, 20),
  )
  def test_wants_whole_calls_and_offers_the_nearest(self, key, wrong, nearest):
    message = self.error(**{key: wrong, 'train.steps_per_call': 20})
    self.assertStartsWith(message, f'config.{key}={wrong} is not a multiple')
    self.assertEndsWith(message, f'Nearest legal value: {nearest}.')
    config = build.default('sentence_vae')
    config.train.steps_per_call = 20
    config.update_from_flattened_dict({key: nearest})
    build.validate(config)

  @parameterized.parameters(
    (
      {
        'objective.free_bits': 3.0,
        'objective.rate_control': 'lagrangian',
        'objective.target_rate': 5.0,
      },
      'both hold the rate up',
    ),
    (
      {
        'objective.free_bits': 3.0,
        'objective.free_bits_per': 'sentence_latent',
        'model.prior': 'vamp',
      },
      "Legal: 'batch'",
    ),
    (
      {'objective.free_bits': 3.0, 'model.posterior': 'von_mises_fisher'},
      'constant KL',
    ),
    ({'objective.rate_control': 'soft_free_bits'}, 'target_rate above 0'),
    (
      {'objective.free_bits': 3.0, 'objective.kl_weight': 0.0},
      'takes away the KL term',
    ),
    (
      {
        'objective.rate_control': 'soft_free_bits',
        'objective.target_rate': 5.0,
        'objective.kl_weight': 0.0,
      },
      'takes away the KL term',
    ),
    (
      {
        'model.posterior': 'committed',
        'model.committed_rate': 8.0,
        'model.latent_size': 10,
        'objective.free_bits': 0.7,
        'objective.free_bits_per': 'sentence_latent',
      },
      'nothing to hold up to 7.',
    ),
    (
      {
        'model.posterior': 'committed',
        'model.committed_rate': 8.0,
        'objective.rate_control': 'lagrangian',
        'objective.target_rate': 5.0,
      },
      'nothing to hold up to 5.',
    ),
    (
      {
        'model.posterior': 'batch_norm',
        'model.posterior_scale': 0.5,
        'model.latent_size': 32,
        'objective.free_bits': 4.0,
        'objective.free_bits_per': 'batch',
      },
      'at least 4 nats, so there is nothing to hold up to 4',
    ),
    *(
      (
        {
          'model.posterior': 'batch_norm',
          'model.posterior_scale': 0.5,
          'model.latent_size': 32,
          'objective.rate_control': control,
          'objective.target_rate': 3.0,
        },
        'at least 4 nats, so there is nothing to hold up to 3',
      )
      for control in ('lagrangian', 'soft_free_bits')
    ),
    (
      {
        'objective.rate_control': 'lagrangian',
        'objective.target_rate': 5.0,
        'objective.kl_weight': 0.0,
      },
      'takes away the KL term',
    ),
    (
      {'train.pretrain_steps': 500, 'objective.kl_weight': 0.0},
      'an autoencoder to the end',
    ),
    (
      {
        'objective.rate_control': 'lagrangian',
        'objective.target_rate': 5.0,
        'objective.rate_control_speed': 0.0,
      },
      'rate_control_speed above 0',
    ),
    (
      {
        'model.kind': 'language_model',
        'model.cell': 'feed_forward',
        'model.feed_forward.direct': True,
        'objective.activation_penalty': 2.0,
      },
      'also penalise the embedded words',
    ),
    (
      {
        'model.kind': 'language_model',
        'corpus.stream': True,
        'train.unroll': 6,
        'train.unroll_spread': 3,
      },
      'Legal: up to 2',
    ),
    (
      {'model.prior': 'mixture', 'model.posterior': 'batch_norm'},
      'Legal: gaussian, planar',
    ),
    ({'train.inner_steps': 9}, "config.optimizer.name = 'sgd'"),
    (
      {
        'train.inner_steps': 9,
        'optimizer.name': 'sgd',
        'model.posterior': 'batch_norm',
      },
      'running statistics',
    ),
    ({'objective.kl_schedule': 'linear'}, 'kl_anneal_steps: at least 1'),
    (
      {'model.posterior': 'von_mises_fisher', 'model.latent_size': 1},
      'a direction needs a plane',
    ),
    (
      {'model.posterior': 'batch_norm', 'train.batch_size': 1},
      'of one sentence every mean is 0',
    ),
    (
      {'model.posterior': 'batch_norm', 'model.posterior_scale': 0.0},
      'posterior_scale > 0',
    ),
    (
      {
        'train.inner_steps': 9,
        'optimizer.name': 'sgd',
        'train.pretrain_steps': 500,
      },
      'no encoder that runs ahead',
    ),
    (
      {
        'model.kind': 'language_model',
        'model.both_directions': True,
        'objective.temporal_penalty': 1.0,
      },
      'these are of one direction',
    ),
    ({'train.pretrain_steps': 30}, 'Nearest legal value: 0'),
    ({'train.pretrain_steps': 10_000}, 'leaves nothing of'),
    (
      {'optimizer.average_patience': 3, 'train.patience': 3},
      'training stops first',
    ),
    (
      {'optimizer.average_patience': 3, 'model.posterior': 'batch_norm'},
      'running statistics',
    ),
    (
      {
        'train.inner_steps': 9,
        'optimizer.name': 'sgd',
        'model.posterior': 'planar',
      },
      'cannot be estimated here',
    ),
    (
      {'model.kind': 'language_model', 'train.select_by': 'reconstruction'},
      'Known: nll_per_sentence',
    ),
  )
  def test_refuses_what_makes_no_sense_together_with_a_reason(
    self, changes, reason
  ):
    self.assertIn(reason, self.error(**changes))

  def test_refuses_a_decoder_that_reads_what_it_predicts(self):
    message = self.error(model__bidirectional_decoder=True)
    self.assertIn('Legal: False', message)
    self.assertIn('config.model.bidirectional_encoder', message)

  def test_the_text_is_looked_for_where_it_is_read(self):
    # A trained run writes text though its own is gone.
    config = build.default('sentence_vae')
    folder = self.create_tempdir().full_path
    config.corpus.name = f'{folder}/none'
    build.validate(config)
    with self.assertRaisesRegex(ValueError, f'{folder}/none'):
      preparation.build_corpus(config)
    config.corpus.name = 'grammer'
    with self.assertRaisesRegex(ValueError, "Did you mean 'grammar'"):
      preparation.build_corpus(config)

  def test_vectors_of_words_are_for_words(self):
    config = build.default('language_model')
    config.corpus.name, config.corpus.protocol = 'grammar', 'characters'
    config.model.pretrained_embeddings = 'glove'
    workdir = os.path.join(self.create_tempdir().full_path, 'run')
    with self.assertRaisesRegex(ValueError, 'are characters'):
      preparation.prepare(config, workdir)
    self.assertFalse(os.path.exists(workdir))


class FlattenTest(parameterized.TestCase):
  def test_round_trip(self):
    config = build.default('sentence_vae')
    config.model.lstm.forget_bias = 2.5
    config.corpus.name = 'lee'
    flat = build.flatten(config)
    self.assertEqual(list(flat), sorted(flat))
    self.assertEqual(flat['model.lstm.forget_bias'], 2.5)
    self.assertFalse(
      any(isinstance(v, ml_collections.ConfigDict) for v in flat.values())
    )
    again = build.from_flat(flat)
    self.assertEqual(again, config)
    self.assertTrue(again.is_locked)

  def test_refuses_the_keys_of_another_version(self):
    flat = build.flatten(build.default('sentence_vae'))
    flat['model.heads'] = 8
    with self.assertRaisesRegex(ValueError, r'model\.heads is unknown'):
      build.from_flat(flat)

  def test_a_key_that_is_newer_than_the_run_has_its_default(self):
    flat = build.flatten(build.default('sentence_vae'))
    del flat['model.cell']
    self.assertEqual(build.from_flat(flat), build.default('sentence_vae'))

  def test_keys_of_other_tasks_which_old_runs_have_are_left_out(self):
    own = build.default('ngrams')
    flat = build.flatten(own) | {'model.latent_size': 32, 'train.num_steps': 7}
    self.assertEqual(build.from_flat(flat), own)

  @parameterized.parameters(
    ({}, "damaged: it has no 'model.kind'"),
    ({'model.kind': 'ngramms'}, "Did you mean 'ngrams'"),
    ({'model.kind': ['ngrams']}, "damaged: it has no 'model.kind'"),
    ({'model.kind': 3}, "damaged: it has no 'model.kind'"),
    ({'model.kind': 'ngrams', 'seed': 'x'}, 'The saved config is damaged'),
    ({'model.kind': 'ngrams', 'seed': {'x': 1}}, 'The saved config is damaged'),
    ({'model.kind': 'ngrams', 'seed': None}, 'damaged: seed is null'),
  )
  def test_says_what_is_damaged(self, flat, message):
    with self.assertRaisesRegex(ValueError, message):
      build.from_flat(flat)


class DifferencesTest(absltest.TestCase):
  def test_are_sorted_and_name_both_values(self):
    ours = {'seed': 0, 'model.cell': 'gru', 'train.patience': 3}
    theirs = {'seed': 0, 'model.cell': 'lstm', 'model.heads': 8}
    self.assertEqual(
      build.differences(ours, theirs),
      [
        "config.model.cell: 'lstm' there, 'gru' here",
        "config.model.heads: 8 there, '(absent)' here",
        "config.train.patience: '(absent)' there, 3 here",
      ],
    )

  def test_of_a_finished_run_are_not_how_it_is_looked_at(self):
    ours = build.flatten(build.default('sentence_vae'))
    changed = [
      key
      for key in ours
      if not build.differences(ours, {**ours, key: 'changed'})
    ]
    self.assertContainsSubset(
      ('evaluate.split', 'generate.temperature', 'judge.num_samples'), changed
    )
    # It is of use to a run that has stopped.
    others = {*changed} - {'train.skip_nonfinite'}
    for section in ('corpus.', 'model.', 'objective.', 'optimizer.', 'train.'):
      self.assertFalse([key for key in others if key.startswith(section)])
    free = [
      name
      for name, key in build.schema_for('sentence_vae').keys.items()
      if key.free is schema.Free.ALWAYS
    ]
    self.assertCountEqual(changed, free)

  def test_the_trained_may_read_another_text_with_another_backend(self):
    ours = build.flatten(build.default('sentence_vae'))
    for key in ('corpus.name', 'model.backend'):
      theirs = {**ours, key: 'changed'}
      self.assertLen(build.differences(ours, theirs), 1)
      self.assertEmpty(build.differences(ours, theirs, trained=True))
    theirs = {**ours, 'corpus.protocol': 'changed'}
    self.assertLen(build.differences(ours, theirs, trained=True), 1)

  def test_another_text_is_divided_in_its_own_way_but_not_the_runs(self):
    ours = build.flatten(build.default('sentence_vae'))
    for key in (
      'corpus.columns',
      'corpus.labelled',
      'corpus.valid_share',
      'corpus.test_share',
    ):
      theirs = {**ours, key: 'changed'}
      self.assertLen(build.differences(ours, theirs, trained=True), 1)
      theirs['corpus.name'] = 'changed'
      self.assertEmpty(build.differences(ours, theirs, trained=True))


if __name__ == '__main__':
  absltest.main()
