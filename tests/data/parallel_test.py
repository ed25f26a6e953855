"""Pairs of texts: files, ids, batches and the vocabulary."""

import dataclasses
import gzip
import os

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches, corpora, feed, parallel
from rnnvae_jax.data import vocab as vocab_lib

SOURCES = ('ein haus', 'zwei', 'drei alte haeuser hier', 'vier')
TARGETS = ('a house', 'two', 'three old', 'four of them here and there')


class FolderTest(parameterized.TestCase):
  def write(self, **files):
    """A folder with these files in all splits, '_' for '.' in their names."""
    folder = self.create_tempdir().full_path
    for split in ('train', 'valid', 'test'):
      for name, lines in files.items():
        path = os.path.join(
          folder, name.replace('SPLIT', split).replace('_', '.')
        )
        text = '\n'.join(lines) + '\n'
        if path.endswith('.gz'):
          with gzip.open(path, 'wt') as file:
            file.write(text)
        else:
          with open(path, 'w') as file:
            file.write(text)
    return folder

  def test_two_files_and_a_table_are_the_same(self):
    rows = list(map('\t'.join, zip(SOURCES, TARGETS, strict=True)))
    want = [
      {'source': source, 'text': target}
      for source, target in zip(SOURCES, TARGETS, strict=True)
    ]
    for folder, *endings in (
      (self.write(SPLIT_source=SOURCES, SPLIT_target=TARGETS),),
      (self.write(SPLIT_tsv=(*rows, '')),),
      (self.write(news_SPLIT_de=SOURCES, news_SPLIT_en_gz=TARGETS), 'de', 'en'),
    ):
      self.assertTrue(parallel.has_pairs(folder, *endings))
      records = parallel.read(folder, *endings)
      self.assertEqual(records, dict.fromkeys(('train', 'valid', 'test'), want))

  def test_lines_that_are_blank_on_both_sides_are_left_out(self):
    folder = self.write(
      SPLIT_source=('a', ' ', 'b'), SPLIT_target=('c', '', 'd')
    )
    self.assertLen(parallel.read(folder)['test'], 2)

  @parameterized.parameters(
    (
      {'SPLIT_source': ('a', 'b'), 'SPLIT_target': ('a', 'b', 'c')},
      r'train\.source has 2 lines, .*train\.target has 3',
    ),
    (
      {'SPLIT_source': ('a', 'b'), 'SPLIT_target': ('a', ' ')},
      r'train\.target, line 2 is blank',
    ),
    (
      {'SPLIT_source': ('a', ' '), 'SPLIT_target': ('a', 'b')},
      r'train\.source, line 2 is blank',
    ),
    ({'SPLIT_tsv': ('a\tb', 'c')}, r"train\.tsv, line 2: 'c' is not"),
    ({'SPLIT_tsv': ('a\tb\tc',)}, r'train\.tsv, line 1'),
    ({'SPLIT_tsv': ('a\t ',)}, r'train\.tsv, line 1'),
  )
  def test_what_is_not_aligned_is_named(self, files, message):
    with self.assertRaisesRegex(ValueError, message):
      parallel.read(self.write(**files))

  def test_what_is_missing_is_named(self):
    folder = self.write(SPLIT_source=('a',), SPLIT_txt=('a',))
    self.assertFalse(parallel.has_pairs(folder))
    with self.assertRaisesRegex(
      FileNotFoundError, r'train\.source with train\.target nor train\.tsv'
    ):
      parallel.read(folder)
    with self.assertRaisesRegex(ValueError, 'is no folder'):
      parallel.read(os.path.join(folder, 'train.source'))

  def build(self, **options):
    folder = self.write(SPLIT_source=SOURCES, SPLIT_target=TARGETS)
    return corpora.build(folder, 'mikolov', fields=('source',), **options)

  @parameterized.parameters(False, True)
  def test_a_batch_has_the_ids_of_both_sides(self, own):
    corpus = self.build(source_vocabulary=own)
    split, vocab = corpus.splits['train'], corpus.vocab
    sources = vocab.source if own else vocab
    self.assertEqual('haus' in vocab.tokens, not own)
    self.assertNotIn('house', sources.tokens if own else ())
    batch = batches.gather(
      batches.put(split),
      jnp.array([3, batches.BLANK, 0, 2]),
      batches.Bucket(7, (), 6),
    )
    for row, number in ((0, 3), (2, 0), (3, 2)):
      for name, mask, lines, ids in (
        ('source', 'source_mask', SOURCES, sources),
        ('targets', 'mask', TARGETS, vocab),
      ):
        real = np.asarray(batch[mask][row])
        want = [*ids.encode(lines[number].split()), vocab_lib.EOS]
        self.assertEqual(batch[name][row][real].tolist(), want)
        self.assertFalse(np.any(batch[name][row][~real]))
    self.assertFalse(np.any(batch['source_mask'][1]))
    self.assertEqual(split.references, TARGETS)

  def test_both_sides_are_cut_at_the_same_length(self):
    split = self.build(max_length=4).splits['train']
    self.assertEqual(split.lengths.tolist(), [3, 2, 3, 4])
    self.assertEqual(split.source.lengths.tolist(), [3, 2, 4, 2])
    self.assertEqual(split.source.sentence(2)[-1], vocab_lib.EOS)

  def test_an_autoencoder_reads_what_it_writes(self):
    folder = self.write(SPLIT_txt=TARGETS)
    corpus = corpora.build(
      folder, 'mikolov', fields=('source',), autoencoder=True
    )
    split = corpus.splits['valid']
    np.testing.assert_array_equal(split.source.tokens, split.tokens)
    np.testing.assert_array_equal(split.source.lengths, split.lengths)
    with self.assertRaisesRegex(ValueError, 'have no sources'):
      corpora.build('grammar', fields=('source',))

  def test_an_autoencoder_reads_sentences_or_whole_lines(self):
    folder = self.write(SPLIT_txt=['It is. It was.', 'It is.'])
    for options, lengths in (({}, [4, 4, 4]), ({'whole_lines': True}, [7, 4])):
      corpus = corpora.build(
        folder, 'plain', fields=('source',), autoencoder=True, **options
      )
      split = corpus.splits['train']
      self.assertEqual(split.lengths.tolist(), lengths)
      np.testing.assert_array_equal(split.source.tokens, split.tokens)

  def test_the_sources_are_part_of_the_hash(self):
    hashes = {
      self.build(**options).splits['train'].content_hash
      for options in ({}, {'source_vocabulary': True})
    }
    self.assertLen(hashes, 2)

  def test_a_saved_vocabulary_keeps_that_of_sources(self):
    vocab = self.build(source_vocabulary=True).vocab
    path = os.path.join(self.create_tempdir().full_path, 'vocab.json')
    vocab.save(path)
    loaded = vocab_lib.Vocabulary.load(path)
    self.assertEqual(loaded, vocab)
    self.assertEqual(loaded.content_hash, vocab.content_hash)
    self.assertNotEqual(vocab.content_hash, self.build().vocab.content_hash)


def make_split(count=37, seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda most: [
    np.append(rng.integers(4, 20, n), vocab_lib.EOS).astype(np.int32)
    for n in rng.integers(0, most, count)
  ]
  split = corpora.split_of(draw(9))
  return dataclasses.replace(split, source=parallel.sources_of(draw(6)))


class BatchesTest(parameterized.TestCase):
  @parameterized.product(
    platform=('cpu', 'gpu'), num_buckets=(0, 3), batch_size=(5, 8)
  )
  def test_buckets_hold_all_batches(self, platform, num_buckets, batch_size):
    split = make_split()
    sizes = split.sizes
    buckets = batches.buckets_for(sizes, batch_size, num_buckets, platform)
    plans = [
      batches.epoch_plan(sizes, buckets, batch_size, 1, epoch)
      for epoch in range(3)
    ]
    plans.append(batches.evaluation_plan(sizes, buckets, batch_size))
    for plan in plans:
      rows = plan.rows[plan.rows != batches.BLANK]
      np.testing.assert_array_equal(np.sort(rows), np.arange(len(split)))
      for some, number in zip(*plan, strict=True):
        own, source = sizes[some[some != batches.BLANK]].max(axis=0)
        self.assertLessEqual(own, buckets[number].length)
        self.assertLessEqual(source, buckets[number].source_length)

  def test_sentences_of_one_length_are_sorted_by_their_sources(self):
    split = make_split()
    buckets = batches.buckets_for(split.sizes, 1, 1, 'cpu')
    rows = batches.evaluation_plan(split.sizes, buckets, 1).rows[:, 0]
    sizes = split.sizes[rows].tolist()
    self.assertEqual(sizes, sorted(sizes))

  def test_batches_read_from_the_host_are_the_same(self):
    split = make_split()
    buckets = batches.buckets_for(split.sizes, 4, 2, 'cpu')
    schedule = batches.Schedule(split.sizes, buckets, 4, 0)
    calls = [
      list(feed.make(split, schedule, 3, 0, 9, share)) for share in (1.0, 0.0)
    ]
    for resident, streamed in zip(*calls, strict=True):
      for k in range(3):
        got, want = (
          batches.gather(corpus, rows[k], buckets[int(bucket[k])])
          for corpus, rows, bucket in (streamed, resident)
        )
        for name in ('source', 'source_mask', 'targets', 'index'):
          np.testing.assert_array_equal(got[name], want[name])


if __name__ == '__main__':
  absltest.main()
