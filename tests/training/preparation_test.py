"""A run begins in a folder that is its own, or is refused."""

import json
import os
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

import helpers


def write_corpus(folder, train='a b b c .\nb a d .\n'):
  os.makedirs(folder, exist_ok=True)
  for split in ('train', 'valid', 'test'):
    text = train if split == 'train' else 'a b .\n'
    with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
      file.write(text)


class PrepareTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    root = self.create_tempdir().full_path
    self.folder = os.path.join(root, 'corpus')
    self.workdir = os.path.join(root, 'runs', 'one')
    write_corpus(self.folder)
    self.config = config_build.default('sentence_vae')
    self.config.corpus.name = self.folder
    self.config.corpus.protocol = 'mikolov'

  def path(self, name):
    return os.path.join(self.workdir, name)

  def prepare_and_train(self):
    corpus = preparation.prepare(self.config, self.workdir)
    os.makedirs(self.path('checkpoints/latest/6'))
    return corpus

  def test_prepare_writes_config_and_vocabulary(self):
    corpus = preparation.prepare(self.config, self.workdir)
    saved = vocab_lib.Vocabulary.load(self.path('vocab.json'))
    self.assertEqual(saved, corpus.vocab)
    self.assertIn('d', saved.tokens)
    loaded = workdir_lib.load_config(self.workdir)
    self.assertEqual(
      config_build.flatten(loaded), config_build.flatten(self.config)
    )

  def test_a_loaded_config_names_its_protocol(self):
    self.config.corpus.protocol = ''
    preparation.prepare(self.config, self.workdir)
    loaded = workdir_lib.load_config(self.workdir)
    self.assertEqual(loaded.corpus.protocol, 'plain')

  def test_prepare_overwrites_what_came_to_nothing(self):
    preparation.prepare(self.config, self.workdir)
    write_corpus(self.folder, train='a new text .\n')
    self.config.seed = 3
    corpus = preparation.prepare(self.config, self.workdir)
    self.assertEqual(workdir_lib.load_config(self.workdir).seed, 3)
    saved = vocab_lib.Vocabulary.load(self.path('vocab.json'))
    self.assertEqual(saved, corpus.vocab)
    self.assertIn('new', saved.tokens)

  @parameterized.parameters('config.json', 'vocab.json', 'text.json')
  def test_prepare_overwrites_no_file_of_others(self, name):
    os.makedirs(self.workdir)
    with open(self.path(name), 'w') as file:
      file.write('{"model_type": "gpt2"}')
    with self.assertRaisesRegex(ValueError, name):
      preparation.prepare(self.config, self.workdir)
    self.assertEqual(os.listdir(self.workdir), [name])

  def test_prepare_writes_nothing_where_the_text_is_bad(self):
    with open(os.path.join(self.folder, 'valid.txt'), 'wb') as file:
      file.write(b'fine\nna\xefve\n')
    with self.assertRaisesRegex(ValueError, r'valid\.txt, line 2: byte 0xef'):
      preparation.prepare(self.config, self.workdir)
    self.assertFalse(os.path.exists(self.workdir))

  def test_prepare_takes_its_own_run_up_again(self):
    first = self.prepare_and_train()
    before = [os.stat(self.path(n)).st_mtime_ns for n in ('config.json',)]
    again = preparation.prepare(self.config, self.workdir)
    self.assertEqual(again.vocab, first.vocab)
    after = [os.stat(self.path(n)).st_mtime_ns for n in ('config.json',)]
    self.assertEqual(after, before)

  def test_prepare_goes_on_where_it_was_killed_before_the_config(self):
    preparation.prepare(self.config, self.workdir)
    os.remove(self.path('config.json'))
    preparation.prepare(self.config, self.workdir)
    loaded = workdir_lib.load_config(self.workdir)
    self.assertEqual(
      config_build.flatten(loaded), config_build.flatten(self.config)
    )

  @parameterized.parameters('config.json', 'vocab.json', 'text.json')
  def test_prepare_writes_what_a_trained_run_has_lost(self, name):
    self.prepare_and_train()
    os.remove(self.path(name))
    preparation.prepare(self.config, self.workdir)
    self.assertTrue(os.path.exists(self.path(name)))

  def test_prepare_leaves_the_folder_of_a_training_alone(self):
    preparation.prepare(self.config, self.workdir)
    self.config.seed = 3
    with workdir_lib.locked(self.workdir):
      with self.assertRaisesRegex(ValueError, 'Another process is training'):
        preparation.prepare(self.config, self.workdir)
      self.assertEqual(workdir_lib.load_config(self.workdir).seed, 0)
    preparation.prepare(self.config, self.workdir)
    self.assertEqual(workdir_lib.load_config(self.workdir).seed, 3)

  def test_a_run_that_another_process_has_begun_since_is_not_taken_over(self):
    corpus = preparation.prepare(self.config, self.workdir)
    preparation.confirm(self.config, self.workdir, corpus)
    other = self.config.copy_and_resolve_references()
    other.seed = 3
    preparation.prepare(other, self.workdir)
    with self.assertRaisesRegex(ValueError, 'begun another run'):
      preparation.confirm(self.config, self.workdir, corpus)

  def test_a_run_that_ends_while_the_text_is_read_is_not_overwritten(self):
    build = preparation.build_corpus
    other = self.config.copy_and_resolve_references()
    other.seed = 3

    def build_slowly(config, vocab):
      workdir_lib.save_config(other, self.workdir)
      os.makedirs(self.path('checkpoints/latest/6'))
      return build(config, vocab)

    os.makedirs(self.workdir)
    with (
      mock.patch.object(preparation, 'build_corpus', build_slowly),
      self.assertRaisesRegex(ValueError, r'config\.seed'),
    ):
      preparation.prepare(self.config, self.workdir)
    self.assertEqual(workdir_lib.load_config(self.workdir).seed, 3)

  def test_the_same_text_in_another_place_goes_on(self):
    self.prepare_and_train()
    moved = os.path.join(os.path.dirname(self.folder), 'moved')
    os.rename(self.folder, moved)
    self.config.corpus.name = moved
    preparation.prepare(self.config, self.workdir)
    # Later modes find it there.
    self.assertEqual(workdir_lib.load_config(self.workdir).corpus.name, moved)
    write_corpus(moved, train='b a d .\na b b c .\n')  # Lines exchanged.
    with self.assertRaisesRegex(ValueError, 'train split .* has changed'):
      preparation.prepare(self.config, self.workdir)

  def test_results_of_something_else_are_found_before_training(self):
    os.makedirs(self.workdir)
    with open(self.path('results.json'), 'w') as file:
      file.write('{"test": {"accuracy": 0.9}}')
    with self.assertRaisesRegex(ValueError, 'no figures of a run'):
      preparation.prepare(self.config, self.workdir)
    self.assertEqual(os.listdir(self.workdir), ['results.json'])

  def test_embeddings_begin_with_the_word_vectors_that_there_are(self):
    path = os.path.join(self.folder, 'vectors.txt')
    with open(path, 'w') as file:
      file.write('b 1.5 -2 0\nnowhere 4 4 4\nd 0 1 3\n')
    self.config.model.embedding_size = 3
    corpus = preparation.build_corpus(self.config)
    task = helpers.make_task(self.config, corpus.vocab)
    state = state_lib.create(task, optimizers.build(self.config), seed=0)
    self.assertIs(
      preparation.with_word_vectors(self.config, state, corpus), state
    )
    self.config.model.pretrained_embeddings = path
    after = preparation.with_word_vectors(self.config, state, corpus)
    table = lambda state: np.array(
      state.params['params']['decoder']['embedding']['embedding']
    )
    want = table(state)
    b, d = (int(corpus.vocab.encode([word])[0]) for word in 'bd')
    want[b], want[d] = (1.5, -2, 0), (0, 1, 3)
    np.testing.assert_array_equal(table(after), want)
    changed = jax.tree.map(lambda x, y: np.any(x != y), after, state)
    self.assertEqual(sum(jax.tree.leaves(changed)), 1)  # Nothing else.
    self.config.model.embedding_size = 4
    with self.assertRaisesRegex(ValueError, 'have 3 numbers'):
      preparation.prepare(self.config, self.workdir)
    self.assertFalse(os.path.exists(self.workdir))

  def test_prepare_lists_the_keys_that_differ(self):
    self.prepare_and_train()
    self.config.model.hidden_size = 3
    self.config.optimizer.name = 'sgd'
    self.config.evaluate.iw_samples = 7  # Which may differ.
    with self.assertRaises(ValueError) as raised:
      preparation.prepare(self.config, self.workdir)
    lines = str(raised.exception).splitlines()
    self.assertEqual(
      [line.strip() for line in lines if line.startswith('  ')],
      [
        'config.model.hidden_size: 256 there, 3 here',
        "config.optimizer.name: 'adam' there, 'sgd' here",
      ],
    )
    self.assertIn(self.workdir, str(raised.exception))

  @parameterized.parameters(
    ('evaluate.iw_samples', 7),
    ('generate.temperature', 0.5),
    ('data.dir', '/elsewhere'),
  )
  def test_prepare_lets_what_no_weight_depends_on_differ(self, key, value):
    first = self.prepare_and_train()
    self.config.update_from_flattened_dict({key: value})
    again = preparation.prepare(self.config, self.workdir)
    self.assertEqual(again.vocab, first.vocab)

  def test_prepare_refuses_a_changed_text(self):
    self.prepare_and_train()
    write_corpus(self.folder, train='a new text .\n')
    with self.assertRaisesRegex(ValueError, 'the text has changed'):
      preparation.prepare(self.config, self.workdir)

  def test_prepare_refuses_an_edited_vocabulary(self):
    self.prepare_and_train()
    with open(self.path('vocab.json')) as file:
      content = json.load(file)
    content['tokens'][-1] = 'edited'
    with open(self.path('vocab.json'), 'w') as file:
      json.dump(content, file)
    with self.assertRaisesRegex(ValueError, 'vocab.json was edited'):
      preparation.prepare(self.config, self.workdir)


if __name__ == '__main__':
  absltest.main()
