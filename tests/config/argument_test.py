"""The text after a config file's colon."""

import os

from absl.testing import absltest, parameterized

from rnnvae_jax.config import argument, build


class ParseArgTest(parameterized.TestCase):
  def parse(self, tail):
    return argument.parse(
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

  @parameterized.parameters('a,b', 'a=b', 'size=b', 'a=b,c', 'a,tiny', 'ptb,a')
  def test_a_path_may_have_commas_and_equals_signs(self, name):
    folder = os.path.join(self.create_tempdir().full_path, name)
    os.makedirs(folder)
    for tail in (
      folder,
      f'{folder},tiny',
      f'tiny,{folder}',
      f'corpus={folder},tiny',
    ):
      values = self.parse(tail)
      self.assertEqual(values['corpus'], folder, tail)
      self.assertEqual(values['tiny'], 'tiny' in tail.replace(folder, ''))
      self.assertEqual(values['size'], 3)

  @parameterized.parameters(
    ('tinny', "'tinny' is unknown. Did you mean 'tiny'?"),
    ('ptbb', "'ptbb' is unknown. Did you mean 'ptb'?"),
    ('sise=3', "'sise' is unknown. Did you mean 'size'?"),
    ('xyzzy', "'xyzzy' is unknown. Known: corpus, tiny, cell, size, rate, "),
    ('cell', "'cell' wants a value, as in 'cell=gru'"),  # No switch.
    ('labelled', '--config.corpus.labelled=True'),
    ('latent_size', '--config.model.latent_size=VALUE'),
    ('latent_size=8', '--config.model.latent_size=8'),
    ('model.latent_size=8', '--config.model.latent_size=8'),
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
    take = argument.take_row
    self.assertEqual(take(''), ('', []))
    self.assertEqual(take('tiny,,ptb'), ('', ['tiny', 'ptb']))
    self.assertEqual(take('row=a, tiny,row=b_1'), ('b_1', ['tiny']))


class ApplyTest(parameterized.TestCase):
  def apply(self, tail):
    config = build.default('sentence_vae')
    arg = argument.parse(tail, tiny=False)
    argument.apply(config, arg)
    return config

  def test_nothing_changes_nothing(self):
    self.assertEqual(self.apply(''), build.default('sentence_vae'))

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
    config = build.default('sentence_vae')
    config.corpus.name, config.corpus.protocol = 'ptb', protocol
    argument.apply(config, argument.parse(corpus, tiny=False))
    self.assertEqual(config.corpus.protocol, wanted)


if __name__ == '__main__':
  absltest.main()
