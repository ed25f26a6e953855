"""Mode `tag`: words in, columns with tags and probabilities out."""

import contextlib
import io
import json

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.inference import tag_mistakes, tagging
from rnnvae_jax.tasks.hidden_markov_tagging import task as task_lib
from tests import helpers

TEXT = 'Anna B-PER\nBerg I-PER\nsaw O\nOslo B-LOC\n\nBerg B-PER\nleft O\n'


class TagTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = helpers.make_config(
      'hidden_markov_tagging',
      **{
        'corpus.columns': True,
        'corpus.protocol': 'mikolov',
        'corpus.tag_scheme': 'bio',
      },
    )

  def setUp(self):
    super().setUp()
    folder = self.create_tempdir()
    for split in ('train', 'valid', 'test'):
      folder.create_file(f'{split}.txt', TEXT)
    config = self.config.copy_and_resolve_references()
    config.corpus.name = folder.full_path
    settings = dict(config.corpus)
    name = settings.pop('name')
    fields = task_lib.HiddenMarkovTagging.FIELDS
    corpus = corpora.build(name, fields=fields, **settings)
    task = task_lib.HiddenMarkovTagging.fit(config, corpus)
    self.corpus = corpus
    self.run_ = run_lib.Run(
      config, corpus.vocab, corpus.labels, task, {}, {}, 'fitted'
    )

  def written(self, text, **settings):
    generate = self.run_.config.generate
    path = self.create_tempfile('input', text).full_path
    generate.update({'input': path, 'columns': False, **settings})
    with contextlib.redirect_stdout(io.StringIO()) as out:
      tagging.write_tags(self.run_)
    return out.getvalue()

  def test_lines_become_columns(self):
    lines = self.written('Berg saw Oslo\n\nAnna left\n').split('\n')
    words = [line.split('\t') for line in lines]
    self.assertEqual(
      [row[:2] for row in words[:3]],
      [['Berg', 'B-PER'], ['saw', 'O'], ['Oslo', 'B-LOC']],
    )
    self.assertEqual(words[3:5], [[''], ['']])
    self.assertEqual(words[5][0], 'Anna')
    self.assertTrue(all(0 < float(row[2]) <= 1 for row in words[:3]))

  def test_columns_keep_their_cells_and_documents(self):
    text = '-DOCSTART- -X-\n\nBerg NNP\r\nleft VBD\r\n\n\nOslo\tNNP\n'
    got = self.written(text, columns=True)
    lines = [line.split('\t') for line in got.split('\n')]
    self.assertEqual(lines[0], ['-DOCSTART-', '-X-'])
    self.assertEqual(lines[2][:3], ['Berg', 'NNP', 'B-PER'])
    self.assertEqual(lines[3][:3], ['left', 'VBD', 'O'])
    self.assertEqual(lines[5][:3], ['Oslo', 'NNP', 'B-LOC'])

  def test_a_missing_column_has_its_line(self):
    self.run_.config.corpus.word_column = 2
    with self.assertRaisesRegex(ValueError, 'line 2: .*no column 2'):
      self.written('1 Berg\n2\n', columns=True)

  def test_mixed_line_ends_lose_no_word(self):
    with self.assertRaisesRegex(ValueError, 'line 2: .*carriage return'):
      self.written('Berg NNP\nleft VBD\rOslo NNP\n', columns=True)

  def test_punctuation_may_be_split_off(self):
    got = self.written("Anna didn't leave.\n", split_words=True)
    words = [line.split('\t')[0] for line in got.splitlines()]
    self.assertEqual(words, ['Anna', 'did', "n't", 'leave', '.', ''])

  def test_json_has_spans_and_the_best_sequences(self):
    got = self.written('Anna Berg left\n', format='jsonl', n_best=4)
    record = json.loads(got)
    self.assertEqual(record['words'], ['Anna', 'Berg', 'left'])
    self.assertEqual(record['spans'], [{'start': 0, 'stop': 2, 'type': 'PER'}])
    nats = [sequence['log_prob'] for sequence in record['sequences']]
    self.assertLen(nats, 4)
    self.assertEqual(nats, sorted(nats, reverse=True))
    self.assertLess(np.sum(np.exp(nats)), 1.0)

  def test_text_has_a_column_for_each_further_sequence(self):
    rows = self.written('Anna Berg left\n', n_best=3).splitlines()
    (found,) = self.run_.tag([['Anna', 'Berg', 'left']], 3)
    self.assertEqual(
      [tuple(row.split('\t')[3:]) for row in rows[:3]],
      list(zip(*found.others, strict=True)),
    )
    self.assertLen(found.others, 2)

  @parameterized.parameters('bio', 'none')
  def test_a_page_shows_the_spans(self, scheme):
    self.run_.task.scheme = scheme
    path = self.create_tempdir().full_path + '/tags.html'
    self.written('Anna Berg saw <i>\n\nOslo\n', page=path)
    with open(path, encoding='utf-8') as file:
      page = file.read()
    self.assertIn('&lt;i&gt;', page)
    self.assertEqual(page.count('<li>'), 3)
    spans = {'bio': ('>Anna Berg <small>PER', '>Oslo <small>LOC')}
    for span in spans.get(scheme, ('>Anna <small>B-PER', '>saw <small>O')):
      self.assertIn(span, page)

  @parameterized.parameters('bio', 'none')
  def test_mistakes_are_listed_by_kind(self, scheme):
    # Anna Berg saw Oslo; Berg left: missed, spurious, and wrong in its type.
    names = self.run_.labels
    rows = [['O', 'O', 'B-LOC', 'B-PER'], ['B-PER', 'O']]
    predicted = np.zeros((2, 4))
    for row, tags in enumerate(rows):
      predicted[row, : len(tags)] = [names.index(tag) for tag in tags]
    self.run_.task.scheme = scheme
    folder = self.create_tempdir().full_path
    tag_mistakes.write(
      self.run_,
      {'predicted': predicted},
      self.corpus.splits['test'],
      folder,
      'test',
    )
    with open(f'{folder}/mistakes_test.tsv', encoding='utf-8') as file:
      found = [line.rstrip('\n').split('\t') for line in file]
    text = 'Anna Berg saw Oslo'
    want = {
      'bio': [
        ['type', '1', '4', 'LOC', 'Oslo', 'PER', 'Oslo', text],
        ['missed', '1', '1', 'PER', 'Anna Berg', '', '', text],
        ['spurious', '1', '3', '', '', 'LOC', 'saw', text],
      ],
      'none': [
        ['tag', '1', '1', 'B-PER', 'Anna', 'O', 'Anna', text],
        ['tag', '1', '2', 'I-PER', 'Berg', 'O', 'Berg', text],
        ['tag', '1', '3', 'O', 'saw', 'B-LOC', 'saw', text],
        ['tag', '1', '4', 'B-LOC', 'Oslo', 'B-PER', 'Oslo', text],
      ],
    }
    self.assertLen(found[0], 8)
    self.assertEqual(found[1:], want[scheme])

  def test_a_sentence_has_the_same_tags_among_others(self):
    sentences = [['Berg'], ['Anna', 'Berg', 'saw', 'Oslo'] * 5, [], ['x', 'y']]
    together = self.run_.tag(sentences)
    for sentence, found in zip(sentences, together, strict=True):
      (alone,) = self.run_.tag([sentence])
      self.assertEqual(alone.tags, found.tags)
      np.testing.assert_allclose(
        alone.probabilities, found.probabilities, rtol=1e-5
      )
    # Of all sequences of tags together the probability is one.
    (every,) = self.run_.tag([['Anna', 'Berg']], len(self.run_.labels) ** 2)
    self.assertAlmostEqual(
      float(np.sum(np.exp(every.log_probs))), 1.0, places=5
    )


if __name__ == '__main__':
  absltest.main()
