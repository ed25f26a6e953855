"""The figures of a split, under each protocol named as such."""

import dataclasses

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.inference import evaluate
from rnnvae_jax.inference import run as run_lib

pytestmark = pytest.mark.usefixtures('compile_once')

WORDS = ('a', 'b', 'c', 'd', 'e')
# Sentences with their ends, and what is read before the first.
SENTENCES = ([4, 5, 8, vocab.EOS], [vocab.EOS], [6, 6, 7, 4, 5, vocab.EOS])


def log_softmax(logits):
  logits = np.float64(logits)
  return logits - np.logaddexp.reduce(logits)


class EvaluateSplitTest(absltest.TestCase):
  def make_run(self, **changes):
    config = config_build.default('language_model')
    config.update_from_flattened_dict(
      {
        'model.cell': 'lstm',
        'model.embedding_size': 5,
        'model.hidden_size': 6,
        **changes,
      }
    )
    words = vocab.Vocabulary('word', (*vocab.SPECIALS, *WORDS))
    task = config_build.task(config.model.kind).build(config, words)
    params = jax.jit(task.init)(jax.random.key(0))
    params = jax.tree.map(lambda x: 4 * x, params)
    return run_lib.Run(config, words, (), task, params, {}, 'none')

  def figures(self, run, bos):
    split = corpora.split_of([np.array(s) for s in SENTENCES], bos)
    corpus = corpora.Corpus('toy', 'mikolov', run.vocab, {'test': split})
    return evaluate.evaluate_split(run, corpus, 'test')

  def nats(self, run, carry, before, sentence):
    """One token after the other: the nats of each, and the last carry."""
    step, nats = jax.jit(run.task.step), []
    for token in sentence:
      carry, logits = step(run.params, carry, jnp.array([before]), None)
      nats.append(-log_softmax(logits[0])[token])
      before = token
    return nats, carry

  def test_of_a_stream_the_state_is_carried_and_reset_is_named_so(self):
    run = self.make_run(**{'corpus.stream': True})
    got = self.figures(run, vocab.EOS)
    carry = start = run.task.start(run.params, 1, None)
    carried, reset = [], []
    for sentence in SENTENCES:
      nats, carry = self.nats(run, carry, vocab.EOS, sentence)
      carried += nats
      reset += self.nats(run, start, vocab.EOS, sentence)[0]
    self.assertEqual(got['state'], 'carried')
    self.assertEqual(got['tokens'], len(carried))
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5)
    close(got['perplexity'], np.exp(np.mean(carried)))
    close(got['reset_perplexity'], np.exp(np.mean(reset)))
    close(got['reset_nll_per_sentence'], np.sum(reset) / len(SENTENCES))
    self.assertGreater(abs(np.mean(carried) - np.mean(reset)), 1e-3)

  @pytest.mark.slow
  def test_bits_a_character_count_the_bytes_of_each_together(self):
    text = 'naïve — 数'
    for protocol in ('bytes', 'characters'):
      run = self.make_run(
        **{'corpus.stream': True, 'corpus.protocol': protocol}
      )
      path = self.create_tempfile(content=text * 9).full_path
      corpus = corpora.build(path, protocol=protocol, stream=True)
      task = type(run.task).build(run.config, corpus.vocab)
      params = jax.jit(task.init)(jax.random.key(0))
      run = run_lib.Run(run.config, corpus.vocab, (), task, params, {}, 'none')
      got = evaluate.evaluate_split(run, corpus, 'train')
      per_token = got['bits_per_token']
      tokens = corpus.splits['train'].tokens
      characters = len(tokens)
      if protocol == 'bytes':
        spelt = ''.join(corpus.vocab.tokens[i] for i in tokens)
        characters = len(spelt.encode('latin1').decode(errors='ignore'))
        self.assertLess(characters, len(tokens))
      np.testing.assert_allclose(
        got['bits_per_character'], per_token * len(tokens) / characters
      )

  def test_of_sentences_the_state_is_reset(self):
    run = self.make_run()
    got = self.figures(run, vocab.BOS)
    start = run.task.start(run.params, 1, None)
    nats = [
      nat
      for sentence in SENTENCES
      for nat in self.nats(run, start, vocab.BOS, sentence)[0]
    ]
    self.assertEqual(got['state'], 'reset at each sentence')
    self.assertNotIn('reset_perplexity', got)
    np.testing.assert_allclose(
      got['perplexity'], np.exp(np.mean(nats)), rtol=1e-5
    )

  def test_figures_of_a_label_are_those_of_its_sentences_alone(self):
    run = self.make_run()
    names = ('x', 'y', 'x')
    split = corpora.split_of([np.array(s) for s in SENTENCES])
    split = dataclasses.replace(
      split, labels={'topic': names, 'id': ('1', '1', '1')}
    )
    corpus = corpora.Corpus('toy', 'mikolov', run.vocab, {'test': split})
    got = evaluate.evaluate_split(run, corpus, 'test')['labels']
    self.assertEqual(set(got), {'topic'})  # All sentences have one id.
    for label in ('x', 'y'):
      rows = [i for i, name in enumerate(names) if name == label]
      some = corpora.split_of([np.array(SENTENCES[i]) for i in rows])
      corpus = corpora.Corpus('toy', 'mikolov', run.vocab, {'test': some})
      want = evaluate.evaluate_split(run, corpus, 'test')
      self.assertEqual(got['topic'][label]['sentences'], len(rows))
      self.assertEqual(got['topic'][label]['tokens'], want['tokens'])
      for figure in ('nll_per_sentence', 'perplexity'):
        np.testing.assert_allclose(
          got['topic'][label][figure], want[figure], rtol=1e-5
        )


if __name__ == '__main__':
  absltest.main()
