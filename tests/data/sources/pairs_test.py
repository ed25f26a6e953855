"""The synthetic pairs: each target is the answer, and no source is repeated."""

import datetime
import re

from absl.testing import absltest, parameterized

from rnnvae_jax.data.sources import dates, reversal


def parsed(text):
  """The day that a text names, by rules that are not those that wrote it."""
  text = text.lower()
  for day in ('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'):
    text = re.sub(rf'\b{day}[a-z]*', '', text)
  months = [
    'jan',
    'feb',
    'mar',
    'apr',
    'may',
    'jun',
    'jul',
    'aug',
    'sep',
    'oct',
    'nov',
    'dec',
  ]
  year = re.search(r'\b\d{4}\b', text)[0]
  rest = text.replace(year, '', 1)
  numbers = list(map(int, re.findall(r'\d+', rest)))
  found = [i for i, name in enumerate(months, 1) if name in rest]
  month, day = (*found, *numbers)
  return datetime.date(int(year), month, day)


class PairsTest(parameterized.TestCase):
  @parameterized.parameters(reversal, dates)
  def test_splits_have_their_sizes_and_share_no_source(self, module):
    splits = module.splits()
    self.assertEqual({k: len(v) for k, v in splits.items()}, module.SIZES)
    sources = [r['source'] for records in splits.values() for r in records]
    self.assertLen(set(sources), len(sources))
    self.assertEqual(splits, module.splits())

  def test_a_target_is_its_source_backwards(self):
    for records in reversal.splits().values():
      for record in records:
        # Letters and the spaces between them are palindromic in place.
        self.assertEqual(record['text'], record['source'][::-1])
        self.assertBetween(len(record['text'].split()), 1, reversal.LONGEST)

  def test_a_target_is_the_day_that_its_source_names(self):
    days = {}
    for split, records in dates.splits().items():
      for record in records:
        self.assertEqual(record['text'], parsed(record['source']).isoformat())
        self.assertEqual(days.setdefault(record['text'], split), split)

  def test_every_notation_of_a_day_is_that_day(self):
    for date in (datetime.date(1911, 3, 1), datetime.date(2022, 11, 23)):
      texts = {write(date) for write in dates.NOTATIONS}
      self.assertLen(texts, len(dates.NOTATIONS))
      self.assertEqual(set(map(parsed, texts)), {date})


if __name__ == '__main__':
  absltest.main()
