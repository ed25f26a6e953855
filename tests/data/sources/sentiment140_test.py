"""Tweets with the polarity of their emoticons."""

from absl.testing import absltest, parameterized
import pytest

from rnnvae_jax.data import corpora
from rnnvae_jax.data.sources import base, sentiment140

# Label 0 or 4, and a tweet.
TWEETS = (
  ('0', 'so sad :/ today'),
  ('0', 'SO SAD... today http://t.co/1'),  # A copy of the first.
  ('0', 'both labels'),
  ('0', ';-('),  # Nothing remains of it.
  ('4', 'both  labels =D'),  # With another label.
  ('4', 'you &lt;3 it &amp; me'),
  ('4', 'by hand!'),  # One of the manual test.
)
MANUAL = (
  '"4","1","Mon","kindle","somebody","By hand, yes"',
  '"4","2","Mon","kindle","somebody","by hand :)"',
  '"2","3","Mon","kindle","somebody","neutral"',
  '"0","4","Mon","kindle","somebody","worse"',
)


class Sentiment140Test(parameterized.TestCase):
  @parameterized.parameters(
    ('good ;) day', 'good day'),
    ('great:)) (: xD', 'great'),
    ('meh :-/ :P D: &lt;33 ^_^ >.<', 'meh'),
    ('see http://a.bc/d at 8:30 (8am)', 'see http://a.bc/d at 8:30 (8am)'),
    ('p.s.: 3 boxes, max 80', 'p.s.: 3 boxes, max 80'),
  )
  def test_emoticons_go_and_other_text_stays(self, text, want):
    self.assertEqual(sentiment140.without_emoticons(text), want)

  def test_copies_and_ambiguous_tweets_go_and_splits_are_the_texts(self):
    manual = self.create_tempfile('manual', '\n'.join(MANUAL)).full_path
    lines = ''.join(f'{label}\t{text}\n' for label, text in TWEETS)
    table = self.create_tempfile('table', lines).full_path
    texts = [
      self.create_tempfile(
        name, ''.join(f'{t}\n' for label, t in TWEETS if label == value)
      ).full_path
      for name, value in (('negative', '0'), ('positive', '4'))
    ]
    got = list(sentiment140.SOURCE.records(table, manual))
    other = sentiment140.SOURCE.otherwise.records(*texts, manual)
    self.assertEqual(got, list(other))
    self.assertEqual(
      [(r['text'], r['label']) for _, r in got],
      [
        ('By hand, yes', 'pos'),
        ('by hand', 'pos'),
        ('worse', 'neg'),
        ('so sad today', 'neg'),
        ('you it & me', 'pos'),
      ],
    )
    self.assertEqual([split for split, _ in got[:3]], ['manual'] * 3)
    for split, record in got[3:]:
      key = sentiment140.normal_form(record['text'])
      self.assertEqual(split, base.split_of(key))

  @pytest.mark.corpus
  def test_has_its_documented_splits(self):
    corpus = corpora.build('sentiment140', protocol='mikolov', fields=['label'])
    self.assertEqual(corpus.labels, ('neg', 'pos'))
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    want = {'train': 88_807, 'valid': 5_049, 'test': 4_919, 'manual': 359}
    self.assertEqual(sizes, want)
    positive = {
      s: int(x.fields['label'].sum()) for s, x in corpus.splits.items()
    }
    want = {'train': 44_581, 'valid': 2_501, 'test': 2_502, 'manual': 182}
    self.assertEqual(positive, want)


if __name__ == '__main__':
  absltest.main()
