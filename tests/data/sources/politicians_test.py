"""Tweets, once each and in one split."""

from absl.testing import absltest
import pytest

from rnnvae_jax.data.sources import base, politicians

TWEETS = """\
source\tauthor\tparty\ttext
s\tann\tD\tWe will "win" this together.
s\tbob\tR\tRT @ann: We will win this together! https://t.co/1
s\tbob\tR\thttps://t.co/2
s\tcid\t\t@ann no.
"""


class PoliticiansTest(absltest.TestCase):
  def test_keeps_one_of_the_same_texts_with_its_labels(self):
    want = [
      ('ann', 'D', 'We will "win" this together.'),
      ('cid', '', '@ann no.'),
    ]
    path = self.create_tempfile(content=TWEETS).full_path
    records = [r for _, r in politicians.records(path)]
    self.assertEqual(
      [(r['author'], r['party'], r['text']) for r in records], want
    )

  @pytest.mark.corpus
  def test_no_text_is_in_two_splits(self):
    splits = politicians.SOURCE.read()
    forms = {
      split: {politicians.normal_form(r['text']) for r in records}
      for split, records in splits.items()
    }
    self.assertEqual(sum(map(len, forms.values())), 14_442)
    beginnings = [{f[:40] for f in forms[s]} for s in base.SPLITS]
    for i in range(3):
      self.assertLen(forms[base.SPLITS[i]], len(splits[base.SPLITS[i]]))
      for j in range(i):
        self.assertEmpty(beginnings[i] & beginnings[j])


if __name__ == '__main__':
  absltest.main()
