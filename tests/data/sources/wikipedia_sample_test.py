"""Wikipedia articles that come with gensim."""

import bz2

from absl.testing import absltest

from rnnvae_jax.data.sources import base, wikipedia_sample

ARTICLE = """\
{{Infobox|name=Cat}}
[[File:cat.jpg|thumb|A [[cat]] that sits on a very old mat.]]
The '''cat''' ({{lang|la|felis}}) is a [[mammal|small animal]].<ref>No.</ref> It
is {{convert|30|cm|in}} tall.

The cat sat on the [[mat]]{{citation needed|date=May 2015}} for hours &ndash; it
slept. Its weight is <math>x^2</math> on most days.
==A heading that is not a sentence.==
* A bullet that is not a sentence either.
{| class="wikitable"
| A cell that is not a sentence.
|}
Dr. Smith called "the cat" a pet in the U.S. army.
Words that follow no order:
[[Category:Cats]]
""".replace('It\nis', 'It is').replace('it\nslept', 'it slept')


class WikipediaSampleTest(absltest.TestCase):
  def test_sentences_are_prose_without_markup(self):
    want = [
      'The cat is a small animal.',
      'The cat sat on the mat for hours – it slept.',
      'Dr. Smith called "the cat" a pet in the U.S. army.',
    ]
    self.assertEqual(list(wikipedia_sample.wikipedia_sentences(ARTICLE)), want)

  def test_an_article_is_in_one_split(self):
    namespace = 'http://www.mediawiki.org/xml/export-0.10/'
    page = '<page><title>{}</title><ns>{}</ns><id>1</id><revision><text>{}'
    pages = ''.join(
      page.format(title, number, text) + '</text></revision></page>'
      for title, number, text in (
        ('One', 0, 'The first cat sat here. The second cat sat there.'),
        ('Two', 0, 'The first cat sat here. The third cat sat there.'),
        ('Talk', 1, 'This page is no article at all.'),
      )
    )
    xml = f'<mediawiki xmlns="{namespace}"><siteinfo/>{pages}</mediawiki>'
    path = self.create_tempfile(content=bz2.compress(xml.encode())).full_path
    got = [(s, r['text']) for s, r in wikipedia_sample.records(path)]
    one, two = (base.split_of(title, '1') for title in ('One', 'Two'))
    want = [
      (one, 'The first cat sat here.'),
      (one, 'The second cat sat there.'),
      (two, 'The third cat sat there.'),
    ]
    self.assertEqual(got, want)

  def test_is_split_by_article(self):
    splits = wikipedia_sample.SOURCE.read()
    sizes = {split: len(records) for split, records in splits.items()}
    self.assertEqual(sizes, {'train': 14_463, 'valid': 912, 'test': 882})
    texts = [r['text'] for records in splits.values() for r in records]
    self.assertLen(set(texts), len(texts))


if __name__ == '__main__':
  absltest.main()
