"""Critics: language models that read what another has written."""

from absl.testing import absltest
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora
from rnnvae_jax.inference import judge
from rnnvae_jax.training import preparation


class DrawnTest(absltest.TestCase):
  def test_are_as_many_sentences_of_the_split_none_of_them_twice(self):
    sentences = [np.int32([4 + i, 5, 2]) for i in range(9)]
    split = corpora.split_of(sentences)
    first = lambda some: [int(some.sentence(i)[0]) for i in range(len(some))]
    some = first(judge._drawn(split, 4, seed=0))
    self.assertLen(set(some), 4)
    self.assertContainsSubset(some, first(split))
    self.assertNotEqual(some, first(judge._drawn(split, 4, seed=1)))
    every = judge._drawn(split, 20, seed=0)
    self.assertCountEqual(first(every), first(split))


class CriticsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_read_as_well_as_they_could_have_learnt_to(self):
    config = config_build.default('language_model')
    config.corpus.name = 'grammar'
    config.corpus.max_length = 12
    config.corpus.vocab_size = 60
    config.judge.critic_steps = 40
    corpus = preparation.build_corpus(config)
    valid, test = (corpus.splits[name] for name in ('valid', 'test'))
    # Samples as good as real text: both figures are those of a language model.
    samples = corpora.split_of([valid.sentence(i)[:-1] for i in range(600)])
    got = judge.perplexities(config, corpus, samples)
    for name, scored in (
      ('forward', samples),
      ('real_forward', test),
      ('reverse', test),
      ('real_reverse', test),
    ):
      counts = np.bincount(scored.tokens)
      share = counts[counts > 0] / counts.sum()
      unigram = np.exp(-np.sum(share * np.log(share)))
      self.assertBetween(got[f'{name}_perplexity'], 2.0, 0.8 * unigram)
    # There is more to learn from the whole training text than from samples,
    # and these are as good as real text: both are what they are compared with.
    self.assertLess(got['forward_perplexity'], got['reverse_perplexity'])
    self.assertLess(
      got['real_forward_perplexity'], got['real_reverse_perplexity']
    )
    for name in ('forward', 'reverse'):
      ratio = got[f'{name}_perplexity'] / got[f'real_{name}_perplexity']
      self.assertBetween(ratio, 0.85, 1.18)


if __name__ == '__main__':
  absltest.main()
