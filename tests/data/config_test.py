"""Config keys of the text: defaults, ranges, and when they may change."""

from absl.testing import absltest, parameterized

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpus_config, feed, protocols

SCHEMA = schema.Schema([corpus_config.CorpusConfig, feed.DataConfig])


class ConfigTest(parameterized.TestCase):
  def test_keys_have_their_defaults(self):
    want = {
      'corpus.blank_lines': 'skip',
      'corpus.columns': False,
      'corpus.labelled': False,
      'corpus.max_length': 60,
      'corpus.min_count': 0,
      'corpus.name': 'wikipedia_sample',
      'corpus.protocol': '',
      'corpus.stream': False,
      'corpus.test_share': 0.0,
      'corpus.unknown_token': '',
      'corpus.valid_share': 0.1,
      'corpus.vocab_size': 0,
      'data.device_share': 0.2,
      'data.dir': '',
    }
    self.assertEqual(schema.flatten(SCHEMA.default()), want)
    SCHEMA.check(SCHEMA.default())

  @parameterized.parameters(
    ('corpus.max_length', 1, 'at least 2. Nearest legal value: 2'),
    ('corpus.valid_share', 0.95, '0 to 0.9. Nearest legal value: 0.9'),
    ('corpus.test_share', -0.1, '0 to 0.9. Nearest legal value: 0'),
    ('corpus.vocab_size', -1, 'at least 0'),
    ('corpus.min_count', -1, 'at least 0'),
    ('corpus.protocol', 'mikolow', "Did you mean 'mikolov'"),
    ('corpus.blank_lines', 'sentences', "Did you mean 'sentence'"),
    ('data.device_share', 1.5, '0 to 1'),
  )
  def test_what_is_illegal_is_refused(self, key, value, message):
    config = SCHEMA.default()
    config.update_from_flattened_dict({key: value})
    with self.assertRaisesRegex(ValueError, f'config.{key}.*{message}'):
      SCHEMA.check(config)

  def test_columns_are_not_labelled_lines(self):
    config = SCHEMA.default()
    config.corpus.columns = config.corpus.labelled = True
    with self.assertRaisesRegex(ValueError, 'columns = True would have no eff'):
      SCHEMA.check(config)

  def test_every_protocol_is_legal(self):
    legal = SCHEMA.keys['corpus.protocol'].legal()
    self.assertEqual(legal, ('', *protocols.PROTOCOLS))

  def test_a_trained_run_may_read_another_text(self):
    free = {name: key.free for name, key in SCHEMA.keys.items()}
    other_text = {
      name for name, f in free.items() if f is schema.Free.OTHER_TEXT
    }
    self.assertEqual(free['corpus.name'], schema.Free.TRAINED)
    self.assertEqual(
      other_text,
      {
        'corpus.columns',
        'corpus.labelled',
        'corpus.test_share',
        'corpus.valid_share',
      },
    )
    for name, f in free.items():
      if name.startswith('data.'):
        self.assertEqual(f, schema.Free.ALWAYS)

  def test_tiny_is_a_few_short_sentences(self):
    config = SCHEMA.default()
    SCHEMA.shrink(config)
    self.assertEqual(config.corpus.max_length, 12)
    self.assertEqual(config.corpus.vocab_size, 200)


if __name__ == '__main__':
  absltest.main()
