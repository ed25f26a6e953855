"""Taggers: their model against PyTorch, padding, unseen tags, the figures."""

import os

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora, schemes
from rnnvae_jax.tasks import _tags
from rnnvae_jax.tasks.tagging import task as task_lib
from rnnvae_jax.training import evaluation
from tests import helpers, tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

TEXT = """\
Anna I-PER
Berg I-PER
saw O
Oslo I-LOC
. O

Berg I-PER
Anna B-PER
left O

-DOCSTART- O

Oslo I-LOC
"""
TEST = 'Anna I-PER\nleft O\nNorway I-GPE\n\nsaw O\n'


def write(folder, **texts):
  for split in ('train', 'valid', 'test'):
    path = os.path.join(folder, f'{split}.txt')
    with open(path, 'w', encoding='utf-8', newline='') as file:
      file.write(texts.get(split, TEXT))
  return folder


def config_of(**overrides):
  small = {
    'corpus.columns': True,
    'corpus.protocol': 'mikolov',
    'corpus.tag_scheme': 'iob1',
    'corpus.learnt_scheme': 'bioes',
    'corpus.max_characters': 6,
    'model.cell': 'lstm',
    'model.backend': 'fused',
    'model.embedding_size': 5,
    'model.hidden_size': 4,
    'model.character_size': 3,
    'model.character_units': 7,
  }
  if overrides.get('model.characters') == 'none':
    del small['model.character_size'], small['model.character_units']
  return helpers.make_config('tagging', **(small | overrides))


def corpus_of(config, folder, **options):
  settings = dict(config.corpus)
  settings.pop('name')
  fields = task_lib.Tagging.FIELDS
  return corpora.build(folder, fields=fields, **(settings | options))


class TaggingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = write(self.create_tempdir().full_path)

  def made(self, **overrides):
    """A config, its corpus, its task and random parameters."""
    config = config_of(**overrides)
    config_build.validate(config)
    corpus = corpus_of(config, self.folder)
    task = task_lib.Tagging.build(config, corpus.vocab, corpus.labels)
    params = jax.jit(task.init)(jax.random.key(1))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    params = jax.tree.unflatten(
      tree, [np.float32(rng.normal(size=x.shape, scale=0.5)) for x in leaves]
    )
    return config, corpus, task, params

  def batch(self, split, length, rows=(0, 1, 2)):
    return helpers.gather(
      batches.put(split), jnp.array(rows), batches.Bucket(length)
    )

  def test_words_and_tags_are_those_of_the_columns(self):
    _, corpus, _, _ = self.made()
    split = corpus.splits['train']
    self.assertEqual(
      [corpus.labels[i] for i in split.fields['tags'][:5]],
      ['B-PER', 'E-PER', 'O', 'S-LOC', 'O'],
    )
    batch = self.batch(split, 7)
    words = _tags.words_of(batch)
    self.assertEqual(words.ids.shape, (3, 6))
    np.testing.assert_array_equal(words.mask.sum(axis=1), [5, 3, 1])
    counts = words.chars_mask.sum(axis=2)
    np.testing.assert_array_equal(counts[0], [4, 4, 3, 4, 1, 0])
    np.testing.assert_array_equal(words.chars[0, 0], words.chars[1, 1])

  def test_cutting_a_sentence_cuts_its_tags_and_ends_its_spans(self):
    config = config_of(**{'corpus.max_length': 2})
    split = corpus_of(config, self.folder).splits['train']
    names = corpus_of(config, self.folder).labels
    self.assertEqual(names, ('S-LOC', 'S-PER'))
    np.testing.assert_array_equal(split.lengths, [2, 2, 2])
    self.assertEqual(names[split.fields['tags'][0]], 'S-PER')

  def test_the_model_is_that_of_pytorch(self):
    try:
      import torch
    except ImportError:
      self.skipTest('PyTorch is not installed.')
    _, corpus, task, params = self.made(**{'dropout.embedding': 0.0})
    split = corpus.splits['train']
    p = params['params']
    as_torch = lambda x: torch.tensor(np.array(x, np.float64))
    kernel = as_torch(p['characters']['kernel_3']).reshape(3, 3, 7)
    layers = torch.nn.LSTM(12, 4, bidirectional=True, dtype=torch.float64)
    for name, ending in (('layer_0', ''), ('layer_0_reverse', '_reverse')):
      weights = {
        jax.tree_util.keystr(path[-1:], simple=True): as_torch(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(p['layers'][name])
      }
      for theirs, ours in (
        ('weight_ih', weights['kernel'].T),
        ('weight_hh', weights['recurrent_kernel'].T),
        ('bias_ih', weights['bias']),
        ('bias_hh', torch.zeros(16, dtype=torch.float64)),
      ):
        getattr(layers, f'{theirs}_l0{ending}').data = ours
    index = split.fields['spelling']
    emissions, _ = task.model.apply(
      params, _tags.words_of(self.batch(split, 9))
    )
    for row, (offset, length) in enumerate(
      zip(split.offsets, split.lengths, strict=True)
    ):
      words = range(offset, offset + length - 1)
      x = []
      for t in words:
        count = split.spellings.lengths[index[t]]
        chars = split.spellings.chars[index[t], :count]
        e = as_torch(p['character_embedding']['embedding'])[list(chars)]
        e = torch.nn.functional.pad(e, (0, 0, 2, 2))
        responses = torch.nn.functional.conv1d(
          e.T[None], kernel.permute(2, 1, 0)
        )[0]
        spelt = torch.relu(
          responses.max(dim=1).values + as_torch(p['characters']['bias_3'])
        )
        word = as_torch(p['embedding']['embedding'])[split.tokens[t]]
        x.append(torch.cat([word, spelt]))
      h = layers(torch.stack(x))[0].detach()
      want = h @ as_torch(p['output']['kernel']) + as_torch(p['output']['bias'])
      scale = float(want.abs().max()) + 10
      np.testing.assert_allclose(
        emissions[row, : length - 1],
        want.numpy(),
        rtol=0,
        atol=scale * tolerances.chain(20, 20, 20, 20),
      )

  @parameterized.product(
    output=('crf', 'softmax'), characters=('convolution', 'recurrent', 'none')
  )
  @pytest.mark.slow
  def test_padding_and_order_change_nothing(self, output, characters):
    _, corpus, task, params = self.made(
      **{'model.output': output, 'model.characters': characters}
    )
    split = corpus.splits['train']
    run = jax.jit(lambda b: task.evaluate(params, b, jax.random.key(0), {}))
    want = run(self.batch(split, 6))
    more = run(self.batch(split, 11, (2, -1, 0, 1)))
    back = np.array([2, 3, 0])
    allowed = 1e-4  # Products of other shapes are summed in another order.
    np.testing.assert_allclose(more['nll'][back], want['nll'], atol=allowed)
    np.testing.assert_array_equal(
      more['predicted'][back, :5], want['predicted']
    )
    self.assertEqual(float(more['nll'][1]), 0.0)

  def test_order_of_sentences_and_size_of_batches_change_nothing(self):
    config, corpus, task, params = self.made()
    turned = TEXT.rstrip('\n').split('\n\n')[::-1]
    other = write(
      self.create_tempdir().full_path, test='\n\n'.join(turned) + '\n'
    )
    again = corpus_of(config, other, vocab=corpus.vocab, labels=corpus.labels)
    found = []
    for split, batch_size in (
      (corpus.splits['test'], 3),
      (again.splits['test'], 2),
    ):
      evaluate = evaluation.make_evaluator(
        task, split, batch_size=batch_size, num_buckets=2
      )
      values = evaluate(params, {}, jax.random.key(0))
      found.append((values, task.summarise(values, split, config)))
    (values, want), (others, got) = found
    np.testing.assert_array_equal(
      others['predicted'][::-1], values['predicted']
    )
    # Rows of products of another size are summed in another order.
    np.testing.assert_allclose(others['nll'][::-1], values['nll'], atol=1e-4)
    nats = got.pop('nll_per_token'), want.pop('nll_per_token')
    np.testing.assert_allclose(*nats, atol=1e-4)
    self.assertEqual(got, want)

  def test_the_loss_does_not_depend_on_the_order_of_rows_or_on_blank_ones(self):
    config, corpus, task, params = self.made(
      **{'dropout.embedding': 0.5, 'dropout.output': 0.5, 'dropout.word': 0.5}
    )
    scalars = helpers.make_hyperparameters(config)
    split, key = corpus.splits['train'], jax.random.key(3)
    loss = jax.jit(lambda b: task.loss(params, b, scalars, key, {})[0])
    want = loss(self.batch(split, 6, (0, 1, 2, -1)))
    for rows in ((2, 0, 1, -1), (1, -1, 2, 0)):
      got = loss(self.batch(split, 6, rows))
      np.testing.assert_allclose(got, want, atol=1e-4)
    self.assertGreater(
      abs(float(loss(self.batch(split, 6, (0, 1, -1, -1)))) - want), 0.01
    )

  def test_capitals_are_read_where_the_config_says_so(self):
    _, corpus, task, params = self.made(
      **{'model.case_size': 2, 'model.characters': 'none'}
    )
    self.assertEqual(
      params['params']['case_embedding']['embedding'].shape, (7, 2)
    )
    words = _tags.words_of(self.batch(corpus.splits['train'], 6))
    emissions = jax.jit(lambda words: task.model.apply(params, words)[0])
    # The first word is Anna; with no letter but its capital it is no name.
    fewer = words.chars_mask.at[0, 0, 1:].set(False)
    moved = emissions(words._replace(chars_mask=fewer)) - emissions(words)
    self.assertGreater(float(jnp.max(jnp.abs(moved[0, 0]))), 0.01)
    np.testing.assert_allclose(moved[1], 0.0, atol=1e-5)

  @pytest.mark.slow
  def test_forbidden_moves_are_never_chosen(self):
    _, corpus, task, params = self.made(**{'model.constrained': True})
    values = task.evaluate(
      params, self.batch(corpus.splits['train'], 6), jax.random.key(0), {}
    )
    for tags, count in zip(values['predicted'], (5, 3, 1), strict=True):
      names = [corpus.labels[i] for i in tags[:count]]
      self.assertIsNone(schemes.fault(names, 'bioes'))
    self.assertLess(float(jnp.max(values['nll'])), 100.0)

  def test_an_unseen_tag_is_scored_and_told(self):
    write(self.folder, test=TEST)
    config, corpus, task, params = self.made()
    split = corpus.splits['test']
    self.assertEqual(split.unseen, ('S-GPE',))
    self.assertIn('S-GPE', ' '.join(corpus.warnings()))
    evaluate = evaluation.make_evaluator(
      task, split, batch_size=1, num_buckets=2
    )
    values = evaluate(params, {}, jax.random.key(0))
    figures = task.summarise(values, split, config)
    self.assertEqual(figures['tokens'], 4)
    self.assertEqual(figures['unseen_tags'], 1)
    self.assertEqual(figures['spans']['GPE']['count'], 1)
    self.assertEqual(figures['spans']['GPE']['recall'], 0.0)
    self.assertTrue(np.isfinite(figures['nll_per_token']))
    self.assertLen(task.warnings(figures), 1)

  @parameterized.parameters('iob1', 'bio', 'bioes')
  def test_gold_tags_score_100(self, learnt):
    config, corpus, task, _ = self.made(**{'corpus.learnt_scheme': learnt})
    self.assertEqual(task.scheme, learnt)
    split = corpus.splits['train']
    gold = np.zeros((3, 6))
    for row, (start, n) in enumerate(
      zip(split.offsets, split.lengths, strict=True)
    ):
      gold[row, : n - 1] = split.fields['tags'][start : start + n - 1]
    values = {'predicted': gold, 'nll': np.zeros(3), 'known': np.ones(3)}
    figures = task.summarise(values, split, config)
    self.assertEqual(figures['accuracy'], 1.0)
    self.assertEqual(figures['f1'], 100.0)

  def test_the_loss_falls(self):
    config, corpus, task, params = self.made()
    batch = self.batch(corpus.splits['train'], 6)
    scalars = helpers.make_hyperparameters(config)

    @jax.jit
    def step(params):
      loss = lambda p: task.loss(p, batch, scalars, jax.random.key(0), {})[0]
      value, grads = jax.value_and_grad(loss)(params)
      return value, jax.tree.map(lambda p, g: p - 0.2 * g, params, grads)

    first, params = step(params)
    for _ in range(100):
      last, params = step(params)
    self.assertLess(float(last), 0.5 * float(first))


class InputTest(parameterized.TestCase):
  @parameterized.parameters(
    ('Anna I-PER\nsaw\n', r'train.txt, line 2: .* is not a token and its tag'),
    ('Anna N I-PER\nsaw O\n', r'train.txt, line 2: .*has 2 columns; line 1'),
    ('Anna\nsaw\n', r'train.txt, line 1: .* is not a token and its tag'),
    ('saw O\n\nOslo B-LOC\n', r"train.txt, line 3: in iob1 'B-LOC' must not"),
    ('saw O\r\nOslo X\r\n', r"train.txt, line 2: 'X' is no tag of iob1"),
    ('\n\n \n', r'train.txt.* is empty'),
    ('a O\n\nb O\rc O\rd O\ne O\n', r'train.txt, line 3: .*carriage return'),
  )
  def test_names_the_file_and_the_line(self, text, message):
    folder = write(self.create_tempdir().full_path, train=text)
    with self.assertRaisesRegex(ValueError, message):
      corpus_of(config_of(), folder)

  def test_blank_lines_and_old_line_ends_lose_nothing(self):
    texts = {
      'unix': 'a O\nb I-X\n\nc O\n',
      'blank': '\n\n \t \na O\nb I-X\n\n\n\t\n\nc O\n\n\n',
      'windows': 'a O\r\nb I-X\r\n\r\nc O',
      'old': 'a O\rb I-X\r\rc O\r',
      'mark': '\ufeffa O\nb I-X\n\nc O\n',
    }
    for name, text in texts.items():
      folder = write(self.create_tempdir().full_path, train=text)
      split = corpus_of(config_of(), folder).splits['train']
      np.testing.assert_array_equal(split.lengths, [3, 2], name)
      np.testing.assert_array_equal(split.fields['tags'], [0, 1, 0, 0, 0], name)

  def test_tabs_spaces_and_line_ends_may_mix(self):
    folder = write(
      self.create_tempdir().full_path,
      train='a\tDT\tO\r\nb NN O\n\n\n \nc\tNN\tI-X\n',
    )
    corpus = corpus_of(config_of(), folder)
    split = corpus.splits['train']
    np.testing.assert_array_equal(split.lengths, [3, 2])
    parts_of_speech = config_of(
      **{
        'corpus.tag_column': 2,
        'corpus.tag_scheme': 'none',
        'corpus.learnt_scheme': '',
      }
    )
    second = corpus_of(parts_of_speech, folder)
    self.assertEqual(second.labels, ('DT', 'NN'))


if __name__ == '__main__':
  absltest.main()
