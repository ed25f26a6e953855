"""The config schema: arguments, validation, what makes two runs different."""

import os

from absl.testing import absltest, parameterized
import ml_collections

from rnnvae_jax import config_lib


class ParseArgTest(parameterized.TestCase):
  def parse(self, tail):
    return config_lib.parse_arg(
      tail, tiny=False, cell='gru', size=3, rate=0.5
    ).to_dict()

  @parameterized.parameters(
    ('', {}),
    ('tiny', {'tiny': True}),
    ('ptb', {'corpus': 'ptb'}),
    ('ptb,tiny', {'corpus': 'ptb', 'tiny': True}),
    (' tiny , cell=lstm,', {'tiny': True, 'cell': 'lstm'}),
    ('size=7,rate=2', {'size': 7, 'rate': 2.0}),
    ('rate=1e-3', {'rate': 0.001}),
    ('tiny=true', {'tiny': True}),
    ('tiny=False', {'tiny': False}),
    ('cell=', {'cell': ''}),
    ('corpus=lee', {'corpus': 'lee'}),
  )
  def test_reads_names_and_typed_pairs(self, tail, changed):
    defaults = {
      'corpus': '',
      'tiny': False,
      'cell': 'gru',
      'size': 3,
      'rate': 0.5,
    }
    self.assertEqual(self.parse(tail), defaults | changed)
    self.assertIsInstance(self.parse('rate=2')['rate'], float)

  def test_an_existing_folder_is_a_corpus(self):
    folder = self.create_tempdir().full_path
    self.assertEqual(self.parse(f'{folder},tiny')['corpus'], folder)

  @parameterized.parameters(
    ('tinny', "'tinny' is unknown. Did you mean 'tiny'?"),
    ('ptbb', "'ptbb' is unknown. Did you mean 'ptb'?"),
    ('sise=3', "'sise' is unknown. Did you mean 'size'?"),
    ('xyzzy', "'xyzzy' is unknown. Known: corpus, tiny, cell, size, rate, "),
    ('cell', "'cell' is unknown"),  # No switch: it wants a value.
    ('./no/such', 'no such folder or file. A corpus folder holds train.txt'),
    ('corpus.txt', 'no such folder'),
    ('size=2.5', "size='2.5' is not int"),
    ('rate=fast', "rate='fast' is not float"),
    ('tiny=yes', "tiny='yes': true or false"),
  )
  def test_offers_what_is_legal(self, tail, message):
    with self.assertRaises(ValueError) as raised:
      self.parse(tail)
    self.assertIn(message, str(raised.exception))


class TakeRowTest(absltest.TestCase):
  def test_parts_it_from_the_rest(self):
    take = config_lib.take_row
    self.assertEqual(take(''), ('', []))
    self.assertEqual(take('tiny,,ptb'), ('', ['tiny', 'ptb']))
    self.assertEqual(take('row=a, tiny,row=b_1'), ('b_1', ['tiny']))


class ApplyTest(parameterized.TestCase):
  def apply(self, tail):
    config = config_lib.default()
    arg = config_lib.parse_arg(tail, tiny=False)
    config_lib.apply(config, arg)
    return config

  def test_nothing_changes_nothing(self):
    self.assertEqual(self.apply(''), config_lib.default())

  def test_a_folder_is_made_absolute(self):
    folder = self.create_tempdir().full_path
    relative = os.path.relpath(folder)
    self.assertEqual(self.apply(relative).corpus.name, folder)

  def test_tiny_reads_the_grammar_unless_another_corpus_is_named(self):
    self.assertEqual(self.apply('tiny').corpus.name, 'grammar')
    self.assertEqual(self.apply('tiny,lee').corpus.name, 'lee')
    folder = self.create_tempdir().full_path
    self.assertEqual(self.apply(f'tiny,{folder}').corpus.name, folder)

  @parameterized.parameters(
    ('mikolov', 'ptb', 'mikolov'),
    ('mikolov', 'lee', ''),  # Which is no text of tokens between blanks.
    ('mikolov', '.', 'mikolov'),
    ('characters', 'lee', 'characters'),
  )
  def test_another_corpus_is_told_into_words_its_own_way(
    self, protocol, corpus, wanted
  ):
    config = config_lib.default()
    config.corpus.name, config.corpus.protocol = 'ptb', protocol
    config_lib.apply(config, config_lib.parse_arg(corpus, tiny=False))
    self.assertEqual(config.corpus.protocol, wanted)


class DefaultTest(absltest.TestCase):
  def test_is_valid_and_locked(self):
    config = config_lib.default()
    config_lib.validate(config)
    with self.assertRaisesRegex(AttributeError, 'latent_size'):
      config.model.latent_sze = 4
    with self.assertRaises(TypeError):
      config.model.latent_size = 'many'


class ValidateTest(parameterized.TestCase):
  def error(self, **changes):
    config = config_lib.default()
    config.update_from_flattened_dict(
      {key.replace('__', '.'): value for key, value in changes.items()}
    )
    with self.assertRaises(ValueError) as raised:
      config_lib.validate(config)
    return str(raised.exception)

  @parameterized.parameters(
    ('corpus.name', 'grammer', 'grammar'),
    ('corpus.protocol', 'twet', 'tweet'),
    ('model.kind', 'sentence_vea', 'sentence_vae'),
    ('model.cell', 'gruu', 'gru'),
    ('model.elman.activation', 'tan', 'tanh'),
    ('objective.kl_schedule', 'sigmoidal', 'sigmoid'),
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
    ({'model.kind': 'ngrams'}, 'dropout.output', 0.5),
    ({'model.kind': 'ngrams'}, 'model.both_directions', True),
    ({'model.kind': 'ngrams'}, 'model.tied_embeddings', True),
    ({'model.kind': 'ngrams'}, 'model.cell', 'lstm'),
    ({'model.kind': 'ngrams'}, 'model.hidden_size', 512),
    ({'model.kind': 'ngrams'}, 'train.num_steps', 5),
    ({'model.cell': 'feed_forward'}, 'model.num_layers', 2),
    ({'model.cell': 'feed_forward'}, 'dropout.recurrent', 0.5),
    ({'model.cell': 'feed_forward'}, 'model.backend', 'scan'),
    ({}, 'objective.free_bits', 5.0),
    ({}, 'objective.kl_weight', 0.1),
    ({}, 'objective.mmd_weight', 3.0),
    ({}, 'model.latent_size', 3),
    ({}, 'model.posterior', 'committed'),
    ({}, 'model.bidirectional_encoder', True),
    ({'model.cell': 'gru'}, 'model.lstm.peepholes', True),
    ({'model.cell': 'lstm'}, 'model.gru.reset_after', False),
    ({'model.cell': 'mlstm'}, 'model.elman.activation', 'relu'),
    ({}, 'model.feed_forward.window', 7),
    ({}, 'model.ngrams.order', 3),
    ({}, 'optimizer.final_learning_rate', 1e-4),
    ({}, 'optimizer.decay_factor', 0.5),
    ({}, 'optimizer.plateau_factor', 0.9),
    ({'model.inputless': True}, 'dropout.embedding', 0.5),
    ({'model.inputless': True}, 'dropout.word_type', 0.5),
    (
      {
        'model.kind': 'sentence_vae',
        'model.posterior': 'von_mises_fisher',
      },
      'objective.kl_weight',
      0.5,
    ),
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
    self.assertStartsWith(message, f'config.{key} = {value!r} would change')

  @parameterized.parameters(
    ({}, 'dropout.hidden', 0.5),
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
    ({}, 'objective.free_bits_per', 'latent'),
    ({'generate.temperature': 0.0}, 'generate.length_penalty', 0.5),
  )
  def test_nor_does_a_vae_accept_it(self, base, key, value):
    message = self.error(**base, **{key: value})
    self.assertStartsWith(message, f'config.{key} = {value!r} would change')

  def test_what_belongs_to_something_switched_off_is_let_be(self):
    config = config_lib.default()
    config.objective.kl_anneal_steps = 5_000
    config.objective.kl_schedule = 'constant'
    with self.assertRaisesRegex(ValueError, 'would change nothing'):
      config_lib.validate(config)
    config_lib.validate(config, ['objective.kl_schedule'])
    with self.assertRaisesRegex(ValueError, 'would change nothing'):
      config_lib.validate(config, ['objective.kl_anneal_steps'])

  @parameterized.parameters(
    ('corpus.stream', True),
    ('objective.augmentation', 0.5),
    ('objective.activation_penalty', 1.0),
    ('objective.temporal_penalty', 1.0),
    ('model.both_directions', True),
    ('model.last_hidden_size', 5),
  )
  def test_what_is_of_language_models_is_refused_for_vaes(self, key, value):
    message = self.error(**{key: value})
    self.assertStartsWith(message, f'config.{key} = {value} is for language')

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
    ('corpus.max_length', 1, 'at least 2'),
    ('model.hidden_size', 0, 'at least 1'),
    ('model.num_layers', -1, 'at least 1'),
    ('dropout.word', 1.5, '0 to 1'),
    ('dropout.output', 1.0, '0 to 0.99'),
    ('dropout.embedding', -0.1, '0 to 0.99'),
    ('objective.kl_cycles', 0, 'at least 1'),
    ('objective.free_bits', -1.0, 'at least 0'),
    ('optimizer.learning_rate', float('nan'), 'at least 0'),
    ('optimizer.plateau_factor', 2.0, '0 to 1'),
    ('train.steps_per_call', 0, 'at least 1'),
    ('evaluate.iw_samples', 0, 'at least 1'),
    ('evaluate.mutual_information_group', 1, 'at least 2'),
    ('generate.top_p', 1.5, '0 to 1'),
    ('generate.interpolation_steps', 1, 'at least 2'),
  )
  def test_names_the_range(self, key, wrong, bound):
    message = self.error(**{key: wrong})
    self.assertEqual(
      message, f'config.{key} = {wrong!r} is out of range: {bound}.'
    )

  def test_every_number_has_a_range_but_where_any_will_do(self):
    flat = config_lib.flatten(config_lib.default())
    unbounded = set()
    for key, value in flat.items():
      if isinstance(value, int | float) and not isinstance(value, bool):
        config = config_lib.default()
        if key.startswith('model.lstm.'):
          config.model.cell = 'lstm'
        config.update_from_flattened_dict({key: type(value)(-10)})
        try:
          config_lib.validate(config)
          unbounded.add(key)
        except ValueError as error:
          self.assertIn(f'config.{key}', str(error))
    # A forget gate may be made to forget.
    self.assertEqual(unbounded, {'model.lstm.forget_bias'})

  @parameterized.parameters(
    ('train.num_steps', 109, 100),
    ('train.eval_every', 39, 20),
    ('train.num_steps', 5, 20),
  )
  def test_wants_whole_calls_and_offers_the_nearest(self, key, wrong, nearest):
    message = self.error(**{key: wrong, 'train.steps_per_call': 20})
    self.assertStartsWith(message, f'config.{key}={wrong} is not a multiple')
    self.assertEndsWith(message, f'Nearest legal value: {nearest}.')
    config = config_lib.default()
    config.train.steps_per_call = 20
    config.update_from_flattened_dict({key: nearest})
    config_lib.validate(config)

  @parameterized.parameters(
    (
      {'objective.free_bits': 3.0, 'objective.rate_control': 'lagrangian'},
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
      {'train.pretrain_steps': 20, 'objective.kl_weight': 0.0},
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
      'beside the features',
    ),
    (
      {
        'model.kind': 'language_model',
        'corpus.protocol': 'characters',
        'model.pretrained_embeddings': 'glove',
      },
      'is about characters',
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
      'not known of flows',
    ),
    (
      {'model.kind': 'language_model', 'train.pretrain_steps': 500},
      'nothing to be an autoencoder of',
    ),
    (
      {'model.kind': 'language_model', 'train.inner_steps': 9},
      'has no encoder',
    ),
    (
      {'model.kind': 'language_model', 'train.select_by': 'reconstruction'},
      'a figure of VAEs',
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

  def test_an_existing_folder_is_a_corpus(self):
    config = config_lib.default()
    folder = self.create_tempdir().full_path
    config.corpus.name = folder
    config_lib.validate(config)
    config.corpus.name = f'{folder}/none'
    with self.assertRaisesRegex(ValueError, f'{folder}/none.* is unknown'):
      config_lib.validate(config)
    config_lib.validate(config, trained=True)


class FlattenTest(absltest.TestCase):
  def test_round_trip(self):
    config = config_lib.default()
    config.model.lstm.forget_bias = 2.5
    config.corpus.name = 'lee'
    flat = config_lib.flatten(config)
    self.assertEqual(list(flat), sorted(flat))
    self.assertEqual(flat['model.lstm.forget_bias'], 2.5)
    self.assertFalse(
      any(isinstance(v, ml_collections.ConfigDict) for v in flat.values())
    )
    again = config_lib.from_flat(flat)
    self.assertEqual(again, config)
    self.assertTrue(again.is_locked)

  def test_refuses_the_keys_of_another_version(self):
    flat = config_lib.flatten(config_lib.default())
    del flat['model.cell']
    flat['model.heads'] = 8
    with self.assertRaisesRegex(
      ValueError, r'model\.cell is missing, model\.heads is unknown'
    ):
      config_lib.from_flat(flat)


class DifferencesTest(absltest.TestCase):
  def test_are_sorted_and_name_both_values(self):
    ours = {'seed': 0, 'model.cell': 'gru', 'train.patience': 3}
    theirs = {'seed': 0, 'model.cell': 'lstm', 'model.heads': 8}
    self.assertEqual(
      config_lib.differences(ours, theirs),
      [
        "config.model.cell: 'lstm' there, 'gru' here",
        "config.model.heads: 8 there, '(absent)' here",
        "config.train.patience: '(absent)' there, 3 here",
      ],
    )

  def test_of_a_finished_run_are_not_how_it_is_looked_at(self):
    ours = config_lib.flatten(config_lib.default())
    changed = [
      key
      for key in ours
      if not config_lib.differences(ours, {**ours, key: 'changed'})
    ]
    looks = ('evaluate.', 'generate.', 'judge.', 'trace.', 'data.')
    self.assertEqual(changed, [key for key in ours if key.startswith(looks)])

  def test_the_trained_may_read_another_text_with_another_backend(self):
    ours = config_lib.flatten(config_lib.default())
    for key in ('corpus.name', 'model.backend'):
      theirs = {**ours, key: 'changed'}
      self.assertLen(config_lib.differences(ours, theirs), 1)
      self.assertEmpty(config_lib.differences(ours, theirs, trained=True))
    theirs = {**ours, 'corpus.protocol': 'changed'}
    self.assertLen(config_lib.differences(ours, theirs, trained=True), 1)

  def test_another_text_is_divided_in_its_own_way_but_not_the_runs(self):
    ours = config_lib.flatten(config_lib.default())
    for key in ('corpus.labelled', 'corpus.valid_share', 'corpus.test_share'):
      theirs = {**ours, key: 'changed'}
      self.assertLen(config_lib.differences(ours, theirs, trained=True), 1)
      theirs['corpus.name'] = 'changed'
      self.assertEmpty(config_lib.differences(ours, theirs, trained=True))


if __name__ == '__main__':
  absltest.main()
