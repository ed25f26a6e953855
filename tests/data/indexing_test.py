"""An index holds what reading the whole text into memory gives."""

import contextlib
import gzip
import json
import os
import pathlib
import random
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import (
  batches,
  blocks,
  corpora,
  feed,
  formats,
  indexed,
  indexing,
)
from rnnvae_jax.data import vocab as vocab_lib

LINES = {
  'train': 'A cat sat.  Another one lay down.\n\nThe dog <unk> barked!\n' * 9
  + 'Grüße an alle 日本 with many words in a sentence that is too long\n',
  'valid': 'The cat barked.\nA zebra sat.\n',
  'test': 'One dog.\n',
}
DEFAULTS = {
  'max_length': 9,
  'vocab_size': 0,
  'min_count': 0,
  'blank_lines': 'skip',
  'unknown_token': '',
  'stream': False,
}


def write_text(folder, texts=LINES, packed=False, **replaced):
  folder = pathlib.Path(folder)
  for split, text in {**texts, **replaced}.items():
    data = text.encode() if isinstance(text, str) else text
    if packed:
      (folder / f'{split}.txt.gz').write_bytes(gzip.compress(data))
    else:
      (folder / f'{split}.txt').write_bytes(data)
  return str(folder)


def settings_of(folder, protocol='plain', **changed):
  return indexing.Settings(folder, protocol, **{**DEFAULTS, **changed})


def opened(folder, protocol='plain', **changed):
  return indexed.build(folder, protocol=protocol, **{**DEFAULTS, **changed})


def many_lines(count, seed=0):
  """Lines of 1 to 30 words of 50."""
  draw = random.Random(seed)
  words = [f'w{i}' for i in range(50)]
  return ''.join(
    ' '.join(draw.choices(words, k=draw.randint(1, 30))) + '\n'
    for _ in range(count)
  )


class IndexTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.text = self.create_tempdir().full_path
    self.folder = os.path.join(self.create_tempdir().full_path, 'index')

  @parameterized.product(
    block=[1, 64, 2**20],
    changed=[
      {},
      {'protocol': 'mikolov', 'min_count': 2},
      {'protocol': 'characters', 'max_length': 0},
      {'protocol': 'bytes'},
      {'vocab_size': 12, 'blank_lines': 'sentence'},
      {'unknown_token': 'cat'},
      {'packed': True},
      {'protocol': 'mikolov', 'max_length': 0, 'stream': True},
      {'protocol': 'characters', 'max_length': 0, 'stream': True},
      {'protocol': 'bytes', 'max_length': 0, 'stream': True},
    ],
  )
  def test_equals_the_text_in_memory(self, block, changed):
    changed = dict(changed)
    write_text(self.text, packed=changed.pop('packed', False))
    protocol = changed.pop('protocol', 'plain')
    made = indexing.build(
      settings_of(self.text, protocol, **changed),
      self.folder,
      processes=1,
      block=block,
    )
    wanted = corpora.build(self.text, protocol, **{**DEFAULTS, **changed})
    found = opened(self.folder, protocol, **changed)
    self.assertEqual(found.vocab, wanted.vocab)
    self.assertEqual(found.blank_lines, wanted.blank_lines)
    self.assertEqual(found.remarks, wanted.remarks)
    for name, whole in wanted.splits.items():
      split = found.splits[name]
      size = len(whole.tokens)
      bounds = (0, size), (1, 2), (3, size + 9), (size, size + 2), (5, 4)
      for spans in (split.spans(bounds), whole.spans(bounds)):
        for ids, (begin, end) in zip(spans, bounds, strict=True):
          np.testing.assert_array_equal(ids, whole.tokens[begin:end])
      self.assertEmpty(split.spans([(2, 2)])[0])
      np.testing.assert_array_equal(split.lengths, whole.lengths)
      self.assertLen(split.tokens, len(whole.tokens))
      for key in (
        *('num_truncated', 'num_empty', 'truncated_tokens', 'ends'),
        *('unknown_share', 'truncated_share', 'bos'),
      ):
        self.assertEqual(getattr(split, key), getattr(whole, key), key)
    train = wanted.splits['train']
    self.assertIn(f'{len(train):,} sentences', found.summary())
    rows = np.array([5, 0, 5])
    if not train.ends:  # It is one sentence.
      with self.assertRaisesRegex(ValueError, 'needs all of it in memory'):
        found.splits['train'].tokens_of(rows)
    else:
      np.testing.assert_array_equal(
        found.splits['train'].tokens_of(rows),
        np.concatenate([train.sentence(i) for i in rows]),
      )
      self.assertEqual(made['splits']['train']['sentences'], len(train))
    left = {name.rpartition('.')[2] for name in os.listdir(self.folder)}
    self.assertEqual(left, {'array_record', 'json', 'npy'})

  def test_a_line_without_end_is_read_in_parts(self):
    line = 'abc ' * 5_000
    write_text(self.text, train=f'{line}\n')
    settings = {'protocol': 'characters', 'max_length': 0, 'stream': True}
    indexing.build(settings_of(self.text, **settings), self.folder, processes=1)
    found = opened(self.folder, **settings)
    wanted = corpora.build(self.text, **{**DEFAULTS, **settings})
    split, whole = found.splits['train'], wanted.splits['train']
    self.assertEqual(split.unknown_share, whole.unknown_share)
    self.assertLessEqual(max(split.sizes_of_records), 4_096)
    ids = split.spans([(4_000, 9_000)])[0]
    np.testing.assert_array_equal(ids, whole.tokens[4_000:9_000])

  def test_long_sentences_of_a_stream_of_words_are_remarked(self):
    write_text(self.text, train='a b ' * 60_000)
    settings = settings_of(self.text, 'mikolov', max_length=0, stream=True)
    made = indexing.build(settings, self.folder, processes=1)
    self.assertIn('a sentence has 120,001 tokens', ' '.join(made['remarks']))

  @parameterized.product(
    split=('train', 'valid'),
    text=('\n', '  \n\n'),
    protocol=('characters', 'bytes'),
  )
  def test_a_stream_of_blank_lines_is_refused(self, split, text, protocol):
    write_text(self.text, **{split: text})
    settings = settings_of(self.text, protocol, max_length=0, stream=True)
    with self.assertRaisesRegex(
      ValueError, f'{split}: no sentence is left|without any character'
    ):
      indexing.build(settings, self.folder, processes=1)

  def test_an_index_of_before_there_were_streams_is_read(self):
    write_text(self.text)
    build = lambda: indexing.build(
      settings_of(self.text), self.folder, processes=1
    )
    made = build()
    for name in ('index.json', 'begun.json'):
      path = pathlib.Path(self.folder, name)
      content = json.loads(path.read_text())
      del content['settings']['stream']
      path.write_text(json.dumps(content))
    self.assertEqual(build()['splits'], made['splits'])
    self.assertLen(opened(self.folder).splits['train'], 28)

  def test_several_processes_write_the_same(self):
    write_text(self.text, train=many_lines(400))
    build = lambda folder, processes: indexing.build(
      settings_of(self.text), folder, processes=processes, block=2_000
    )
    alone = build(self.folder, 1)
    together = build(f'{self.folder}2', 2)
    self.assertEqual(alone, together)
    self.assertGreater(len(alone['splits']['train']['blocks']), 5)

  @parameterized.parameters('_count_block', '_write_block')
  def test_an_interrupted_index_goes_on(self, function):
    write_text(self.text, train=many_lines(400))
    build = lambda folder: indexing.build(
      settings_of(self.text), folder, processes=1, block=2_000
    )
    whole = build(self.folder)
    real = getattr(indexing, function)
    calls = []

    def work(*args):
      calls.append(args)
      if len(calls) == 4:
        raise KeyboardInterrupt
      return real(*args)

    folder = f'{self.folder}2'
    with (
      mock.patch.object(indexing, function, work),
      mock.patch.object(indexing, '_NOTE_EVERY', 1),
    ):
      with self.assertRaises(KeyboardInterrupt):
        build(folder)
      with self.assertRaisesRegex(ValueError, 'is not complete'):
        opened(folder)
      self.assertTrue(indexed.is_index(folder))
      del calls[:]
      calls += [()] * 4  # No more interruption.
      written = []
      real_json = indexing.write_json

      def note(path, value):
        written.append(os.path.basename(path))
        real_json(path, value)

      with mock.patch.object(indexing, 'write_json', note):
        self.assertEqual(build(folder), whole)
    # Three blocks were whole.
    first = 'train-00003.json' if function == '_write_block' else ''
    if first:
      self.assertNotIn('train-00002.json', written)
      self.assertIn(first, written)
    else:
      blocks_read = len(whole['splits']['train']['blocks'])
      self.assertEqual(written.count('counts.json'), blocks_read - 3)
    before = os.stat(os.path.join(folder, 'index.json')).st_mtime_ns
    self.assertEqual(build(folder), whole)  # Nothing is done again.
    after = os.stat(os.path.join(folder, 'index.json')).st_mtime_ns
    self.assertEqual(before, after)

  def test_rare_words_are_dropped_where_there_are_too_many(self):
    write_text(self.text, train=many_lines(400))
    with mock.patch.object(indexing, '_MOST_WORDS', 20):
      made = indexing.build(
        settings_of(self.text), self.folder, processes=1, block=1_000
      )
    vocab = vocab_lib.Vocabulary.load(os.path.join(self.folder, 'vocab.json'))
    self.assertBetween(len(vocab), 14, 24)
    self.assertGreater(made['splits']['train']['unknown'], 0)

  def test_a_given_vocabulary(self):
    write_text(self.text)
    vocab = corpora.build(self.text, 'plain', min_count=5).vocab
    indexing.build(settings_of(self.text), self.folder, vocab, processes=1)
    found = indexed.build(
      self.folder, vocab=vocab, protocol='plain', **DEFAULTS
    )
    self.assertEqual(found.vocab, vocab)
    wanted = corpora.build(self.text, 'plain', max_length=9, vocab=vocab)
    rows = np.arange(len(wanted.splits['train']))
    np.testing.assert_array_equal(
      found.splits['train'].tokens_of(rows), wanted.splits['train'].tokens
    )
    other = corpora.build(self.text, 'plain', min_count=1).vocab
    with self.assertRaisesRegex(ValueError, 'has another vocabulary'):
      indexed.build(self.folder, vocab=other, protocol='', **DEFAULTS)

  def test_ids_of_a_large_vocabulary(self):
    words = ' '.join(f'x{i}' for i in range(2**16))
    write_text(self.text, train=words)
    made = indexing.build(
      settings_of(self.text, max_length=0, min_count=1),
      self.folder,
      processes=1,
    )
    self.assertEqual(made['type'], '<i4')
    found = opened(self.folder, max_length=0, min_count=1)
    ids = found.splits['train'].sentence(0)
    self.assertEqual(sorted(ids[:-1]), [*range(4, 4 + 2**16)])

  @parameterized.parameters(
    ({'train': 'a\0b\n'}, 'line 1'),
    ({'train': 'a\n' * 50 + 'b\0\n'}, 'binary: there is a NUL byte in line 51'),
    (
      {'train': b'fine\n' * 70 + b'\xff\xfe\n'},
      'line 71: byte 0xff is not UTF',
    ),
    ({'train': ''}, 'train.txt is empty'),
    ({'train': ' \n \n'}, 'without any word'),
    ({'valid': '\n'}, 'valid: no sentence is left'),
    ({'train': 'label,text\nx,y\n'}, 'is a table'),
  )
  def test_bad_text_is_named(self, replaced, message):
    write_text(self.text, **replaced)
    with self.assertRaisesRegex(ValueError, message):
      indexing.build(settings_of(self.text), self.folder, processes=1, block=16)

  @parameterized.parameters(
    ('penn_treebank', 'an index is made of a folder'),
    ('', 'an index is made of a folder'),
  )
  def test_what_is_no_folder_is_refused(self, name, message):
    with self.assertRaisesRegex(ValueError, message):
      indexing.build(settings_of(name), self.folder)

  def test_tables_and_damaged_archives_are_refused(self):
    write_text(self.text, packed=True)
    path = pathlib.Path(self.text, 'train.txt.gz')
    path.write_bytes(path.read_bytes()[:-9])
    with self.assertRaisesRegex(ValueError, 'no intact gzip file'):
      indexing.build(settings_of(self.text), self.folder, processes=1)
    path.rename(path.with_name('train.csv.gz'))
    with self.assertRaisesRegex(ValueError, 'is a table or a text in columns'):
      indexing.build(settings_of(self.text), self.folder, processes=1)

  def test_archives_that_unpack_to_too_much_are_refused(self):
    write_text(self.text, packed=True)
    path = pathlib.Path(self.text, 'train.txt.gz')
    path.write_bytes(gzip.compress(b'a b\n' * 10**6))
    with (
      mock.patch.object(formats, '_SMALL_BYTES', 2**20),
      self.assertRaisesRegex(ValueError, 'unpacks to more than'),
    ):
      indexing.build(
        settings_of(self.text), self.folder, processes=1, block=2**16
      )

  def test_a_line_without_end_is_refused(self):
    write_text(self.text, train='a ' * 1000)
    with (
      mock.patch.object(blocks, '_LONGEST_LINE', 500),
      self.assertRaisesRegex(ValueError, 'line 1: it has more than 500 bytes'),
    ):
      indexing.build(settings_of(self.text), self.folder, block=100)

  @parameterized.parameters(
    ('a\r\nb\r\n', ['a', 'b']),
    ('a\rb\rc', ['a', 'b', 'c']),
    ('a\n\nb', ['a', '', 'b']),
    ('a\n\r\n', ['a', '']),
    ('\ufeffa\nb\n', ['a', 'b']),
  )
  def test_blocks_have_the_lines_of_the_file(self, text, wanted):
    path = os.path.join(self.text, 'x.txt')
    pathlib.Path(path).write_bytes(text.encode())
    self.assertEqual(formats.read_lines(path), wanted)
    for size in range(1, 9):
      found = [
        line
        for block in blocks.read(path, size)
        for line in blocks.lines(block)
      ]
      self.assertEqual(found, wanted, size)

  def test_another_text_or_other_settings_are_refused(self):
    write_text(self.text)
    build = lambda **changed: indexing.build(
      settings_of(self.text, **changed), self.folder, processes=1
    )
    build()
    with self.assertRaisesRegex(ValueError, 'of other settings: settings is'):
      build(max_length=7)
    write_text(self.text, test='Another text.\n')
    with self.assertRaisesRegex(ValueError, 'the index of another text'):
      build()
    with self.assertRaisesRegex(ValueError, 'has other files: '):
      indexing.build(settings_of(self.text), self.text)


class CorpusTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.text = write_text(
      self.create_tempdir().full_path, train=many_lines(500)
    )
    self.folder = os.path.join(self.create_tempdir().full_path, 'index')
    indexing.build(
      settings_of(self.text, max_length=20), self.folder, processes=1
    )
    self.settings = {**DEFAULTS, 'max_length': 20}

  def open(self, **changed):
    return indexed.build(
      self.folder,
      **{'protocol': '', **self.settings, **changed},
    )

  @parameterized.parameters(
    ({'max_length': 30}, r'corpus.max_length = 30: .* was made with 20'),
    ({'vocab_size': 9}, r'corpus.vocab_size = 9'),
    ({'min_count': 3}, r'corpus.min_count = 3'),
    (
      {'protocol': 'bytes'},
      r"corpus.protocol = 'bytes': .* Legal: '', 'plain'",
    ),
    ({'unknown_token': 'x'}, "corpus.unknown_token = 'x'"),
    ({'blank_lines': 'sentence'}, 'corpus.blank_lines'),
    ({'stream': True}, 'corpus.stream = True: .* was made with False'),
    ({'fields': ('label',)}, 'without label'),
  )
  def test_other_settings_are_refused(self, changed, message):
    self.open()
    with self.assertRaisesRegex(ValueError, message):
      self.open(**changed)

  def test_damage_is_said(self):
    def damaged(name, data):
      path = pathlib.Path(self.folder, name)
      before = path.read_bytes()
      path.write_bytes(data(before))
      try:
        with self.assertRaisesRegex(ValueError, message) as raised:
          self.open()
      finally:
        path.write_bytes(before)
      return str(raised.exception)

    message = 'is not of an index'
    damaged('index.json', lambda data: b'[]')
    damaged('index.json', lambda data: b'{"version": 1}')
    damaged('index.json', lambda data: data.replace(b'"splits"', b'"split"'))
    damaged('index.json', lambda data: b'{')
    damaged('index.json', lambda data: b'[' * 10**5)
    message = 'this library reads 1'
    damaged('index.json', lambda data: b'{"version": 0}')
    message = 'is damaged'
    damaged('train.lengths.npy', lambda data: data[:200])
    damaged('train-00000.array_record', lambda data: data[: len(data) // 2])
    message = 'vocabulary'
    other = vocab_lib.Vocabulary('word', (*vocab_lib.SPECIALS, 'w0'))
    path = os.path.join(self.text, 'vocab.json')
    other.save(path)
    damaged('vocab.json', lambda data: pathlib.Path(path).read_bytes())
    self.open()

  def records_size(self):
    """Bytes of all ids, which are less than their records take."""
    return 2 * len(self.open().splits['train'].tokens)

  def test_a_flipped_byte_is_an_error(self):
    path = pathlib.Path(self.folder, 'train-00000.array_record')
    data = bytearray(path.read_bytes())
    # The file ends with padding.
    for at in range(100, self.records_size(), 3_000):
      changed = data.copy()
      changed[at] ^= 1
      path.write_bytes(changed)
      with self.assertRaisesRegex(ValueError, f'{self.folder} is damaged'):
        split = self.open().splits['train']
        split.tokens_of(np.arange(len(split)))

  @parameterized.parameters(
    lambda split: np.asarray(split.tokens),
    lambda split: split.tokens[3],
    lambda split: split.tokens >= 4,
    lambda split: np.mean(split.tokens == 3),
    lambda split: batches.put(split),
    lambda split: split.offsets[np.arange(3)],
  )
  def test_what_needs_all_tokens_is_refused(self, use):
    split = self.open().splits['train']
    with self.assertRaisesRegex(ValueError, 'is indexed: its training text'):
      use(split)

  @parameterized.product(pool=[1, 3, 100], batch_size=[7, 32])
  def test_an_epoch_has_each_sentence_once(self, pool, batch_size):
    split = self.open().splits['train']
    buckets = indexed.buckets_for(split.described, batch_size, 3, 'cpu')
    make = lambda seed: indexed.Schedule(
      split.lengths, buckets, batch_size, seed, pool
    )
    schedule = make(5)
    epoch = schedule.steps_per_epoch
    self.assertEqual(epoch, -(-len(split) // batch_size))
    plans = [schedule.steps(start, epoch) for start in (0, epoch)]
    for plan in plans:
      rows = plan.rows[plan.rows != batches.BLANK]
      np.testing.assert_array_equal(np.sort(rows), np.arange(len(split)))
    self.assertFalse(np.array_equal(plans[0].rows, plans[1].rows))
    other = make(6).steps(0, epoch)
    self.assertFalse(np.array_equal(plans[0].rows, other.rows))
    # A resumed run begins anywhere, and finds the same batches.
    for first, count in ((0, 1), (epoch - 2, 5), (epoch + 3, 2)):
      plan = make(5).steps(first, count)
      both = np.concatenate([part.rows for part in plans])
      np.testing.assert_array_equal(plan.rows, both[first : first + count])

  @parameterized.product(platform=['cpu', 'gpu'], parts=[1, 2])
  def test_shapes_have_room_for_every_batch(self, platform, parts):
    split = self.open().splits['train']
    buckets = indexed.buckets_for(split.described, 8, 0, platform, parts)
    schedule = indexed.Schedule(split.lengths, buckets, 8, 0, pool=4)
    plan = schedule.steps(0, 2 * schedule.steps_per_epoch)
    for rows, number in zip(plan.rows, plan.bucket, strict=True):
      lengths = np.where(rows == batches.BLANK, 0, split.lengths[rows])
      bucket = buckets[number]
      self.assertLessEqual(lengths.max(), bucket.length)
      tokens = lengths.reshape(parts, -1).sum(axis=1).max()
      self.assertLessEqual(tokens, bucket.token_counts[-1])
    # Sorting within a pool leaves little padding.
    padded = sum(
      8 * split.lengths[rows].max() for rows in plan.rows if min(rows) >= 0
    )
    self.assertLess(padded, 1.35 * 2 * split.lengths.sum())

  def test_calls_have_the_sentences_of_their_batches(self):
    split = self.open().splits['train']
    whole = corpora.build(self.text, 'plain', max_length=20).splits['train']
    buckets = indexed.buckets_for(split.described, 8, 1, 'cpu')
    schedule = indexed.Schedule(split.lengths, buckets, 8, 0, pool=4)
    self.assertFalse(feed.fits(split, 1.0))
    calls = feed.make(split, schedule, 3, 60, 66, 0.2)
    on_device = batches.put(whole)
    seen = 0
    for step, (corpus, rows, bucket) in zip((60, 63), calls, strict=True):
      plan = schedule.steps(step, 3)
      np.testing.assert_array_equal(bucket, plan.bucket)
      for local, wanted in zip(rows, plan.rows, strict=True):
        ours = batches.gather(corpus, local, buckets[0])
        theirs = batches.gather(on_device, wanted, buckets[0])
        for name in ('inputs', 'targets', 'mask', 'index', 'weights'):
          np.testing.assert_array_equal(ours[name], theirs[name], name)
        seen += 1
    self.assertEqual(seen, 6)
    read = schedule.read(split, 61)
    for row, ids in read.items():
      np.testing.assert_array_equal(ids, whole.sentence(row))

  def test_the_hash_tells_texts_apart(self):
    first = self.open().splits['train'].content_hash
    with open(os.path.join(self.folder, 'index.json')) as file:
      self.assertEqual(json.load(file)['splits']['train']['hash'], first)
    folder = f'{self.folder}2'
    with contextlib.chdir(self.text):
      text = pathlib.Path('train.txt').read_text()
      pathlib.Path('train.txt').write_text(text.replace('w1 w2', 'w2 w1', 1))
    indexing.build(settings_of(self.text, max_length=20), folder, processes=1)
    second = indexed.build(folder, protocol='', **self.settings).splits['train']
    self.assertNotEqual(first, second.content_hash)


if __name__ == '__main__':
  absltest.main()
