"""Encoder-decoders as a task: loss, figures, decoding and runs."""

import contextlib
import functools
import io
import os
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.analysis import overlap
from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import argument, build
from rnnvae_jax.data import batches
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import evaluate, loading, translation
from rnnvae_jax.tasks import seq2seq
from rnnvae_jax.training import loop, preparation

import helpers
import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')


def write_folder(folder, seed=0):
  """Short sequences of few words, and their reverse."""
  rng = np.random.default_rng(seed)
  for split, count in (('train', 60), ('valid', 11), ('test', 13)):
    with open(os.path.join(folder, f'{split}.tsv'), 'w') as file:
      for _ in range(count):
        words = rng.choice(list('abcd'), size=rng.integers(1, 5)).tolist()
        file.write(f'{" ".join(words)}\t{" ".join(words[::-1])}\n')


@functools.cache
def text():
  folder = tempfile.mkdtemp()
  write_folder(folder)
  return folder


def make_config(**overrides):
  config = build.default('seq2seq')
  argument.apply(config, argument.parse(f'tiny,{text()}', tiny=False))
  config.update_from_flattened_dict(
    {
      'corpus.protocol': 'mikolov',
      'train.num_steps': 30,
      'train.steps_per_call': 15,
      'train.eval_every': 15,
      'train.num_buckets': 1,
      'evaluate.num_buckets': 1,
      'optimizer.learning_rate': 0.02,
      **overrides,
    }
  )
  build.validate(config, overrides)
  return config


@functools.cache
def trained():
  """The folder of a run, and the run."""
  workdir = tempfile.mkdtemp()
  config = make_config(**{'model.bidirectional_encoder': True})
  loop.train(config, workdir)
  return workdir, loading.load(workdir)


def test_split(run):
  corpus = preparation.build_corpus(run.config, run.vocab, run.labels)
  return corpus.splits['test']


test_split.__test__ = False  # No test, whatever its name.


class TaskTest(parameterized.TestCase):
  def make(self, **overrides):
    config = make_config(**overrides)
    corpus = preparation.build_corpus(config)
    task = seq2seq.TASK.build(config, corpus.vocab)
    batch = helpers.gather(
      batches.put(corpus.splits['train']),
      jnp.array([3, 8, batches.BLANK, 0]),
      batches.Bucket(6, (), 7),
    )
    return config, task, batch

  def test_a_classifier_finds_the_encoders_parts(self):
    _, task, _ = self.make()
    params = jax.eval_shape(task.init, jax.random.key(0))['params']
    self.assertEqual(set(params), {'embedding', 'recurrent', 'decoder'})
    self.assertContainsSubset(
      {'embedding', 'recurrent', 'attention'}, params['decoder']
    )

  @parameterized.parameters(
    ('embeddings', {'embedding'}), ('all', {'embedding', 'recurrent'})
  )
  def test_the_gradient_of_shared_weights_is_the_sum_of_both_uses(
    self, shared, names
  ):
    overrides = {'model.bridge': 'copy'}
    config, task, batch = self.make(
      **overrides, **{'model.shared_weights': shared}
    )
    _, apart, _ = self.make(**overrides)
    params = jax.jit(task.init)(jax.random.key(0))
    self.assertEmpty(names & set(params['params']['decoder']))
    whole = task._whole(params)
    scalars = helpers.make_hyperparameters(config)

    def grads_of(task, params):
      value = lambda params: task.loss(
        params, batch, scalars, jax.random.key(1), {}
      )[0]
      return jax.jit(jax.value_and_grad(value))(params)

    got_value, got = grads_of(task, params)
    want_value, want = grads_of(apart, whole)
    rtol = tolerances.chain(64)
    np.testing.assert_allclose(got_value, want_value, rtol=rtol)
    for name in names:
      of_both = jax.tree.map(
        np.add, want['params'][name], want['params']['decoder'][name]
      )
      for x, y in zip(
        jax.tree.leaves(got['params'][name]),
        jax.tree.leaves(of_both),
        strict=True,
      ):
        np.testing.assert_allclose(x, y, rtol=0, atol=rtol * np.max(np.abs(y)))

  def test_dropout_is_a_function_of_the_key(self):
    config, task, batch = self.make(**{'dropout.embedding': 0.5})
    params = jax.jit(task.init)(jax.random.key(0))
    scalars = helpers.make_hyperparameters(config)
    loss = jax.jit(
      lambda seed: task.loss(params, batch, scalars, jax.random.key(seed), {})[
        0
      ]
    )
    self.assertNotEqual(loss(1), loss(2))
    self.assertEqual(loss(1), loss(1))

  @parameterized.parameters(
    ({'model.bridge': 'copy', 'model.bidirectional_encoder': True}, 'bridge'),
    ({'model.bridge': 'copy', 'model.encoder_hidden_size': 3}, 'bridge'),
    ({'model.attention': 'dot', 'model.encoder_hidden_size': 3}, 'attention'),
    ({'model.shared_weights': 'all', 'model.source_every_step': True}, 'all'),
    (
      {'model.shared_weights': 'embeddings', 'corpus.source_vocabulary': True},
      'source_vocabulary = False',
    ),
  )
  def test_parts_that_do_not_fit_are_refused(self, overrides, message):
    with self.assertRaisesRegex(ValueError, message):
      make_config(**overrides)


@pytest.mark.slow
class RunTest(parameterized.TestCase):
  def test_greedy_decoding_is_right_where_every_token_is_the_likeliest(self):
    _, run = trained()
    corpus = preparation.build_corpus(run.config, run.vocab, run.labels)
    split = corpus.splits['train']
    figures = evaluate.evaluate_split(run, corpus, 'train')
    self.assertEqual(figures['exact_match'], figures['sequence_accuracy'])
    self.assertBetween(figures['sequence_accuracy'], 0.01, 0.99)
    self.assertGreater(
      figures['token_accuracy'], figures['sequence_accuracy'] / 2
    )
    self.assertEqual(figures['tokens'], int(split.lengths.sum()))

  def test_one_beam_is_greedy(self):
    _, run = trained()
    split = test_split(run)
    sources = [split.source.sentence(i) for i in range(len(split))]
    encode = jax.jit(run.task.encode)
    follow = jax.jit(run.task.follow)
    greedy = translation.write(run, sources)
    for source, got in zip(sources, greedy, strict=True):
      batch = {
        'source': source[None],
        'source_mask': np.ones((1, len(source)), bool),
      }
      encoded = encode(run.params, batch)
      carry, token, want = run.task.begin(encoded), vocab_lib.BOS, []
      for _ in range(run.config.generate.max_length):
        carry, logits = follow(
          run.params, carry, np.array([token], np.int32), encoded
        )
        logits = np.array(logits[0])
        logits[[vocab_lib.PAD, vocab_lib.BOS, vocab_lib.UNK]] = -np.inf
        token = int(np.argmax(logits))
        want.append(token)
        if token == vocab_lib.EOS:
          break
      self.assertEqual(got.tolist(), want)

  def test_nats_of_what_is_written_are_those_of_the_pair(self):
    _, run = trained()
    texts = ['a b', '', 'd c b a', 'a']
    found = run.translate(texts)
    self.assertEqual([made.source for made in found], texts)
    self.assertEqual(found[1], translation.Translation('', '', None, 0))
    ended = [made for made in found if made.text and made.tokens < 13]
    self.assertNotEmpty(ended)
    scores = run.score([f'{made.source}\t{made.text}' for made in ended])
    np.testing.assert_allclose(
      [score.nats for score in scores],
      [made.nats for made in ended],
      rtol=tolerances.chain(13, len(run.vocab), 64),
    )
    # Alone, a text is written as among others.
    (alone,) = run.translate(['d c b a'])
    self.assertEqual(alone.text, found[2].text)
    with self.assertRaisesRegex(ValueError, "line 1: 'a b' is not"):
      run.score(['a b'])
    with self.assertRaisesRegex(ValueError, "'temperature' is no option"):
      run.translate(['a'], temperature=1.0)

  def test_modes_write_a_row_for_each_line(self):
    workdir, _ = trained()
    folder = self.create_tempdir().full_path
    lines = os.path.join(folder, 'lines')
    with open(lines, 'w') as file:
      file.write('a b\n\nc\n')
    written = os.path.join(folder, 'written')
    config = loading.load(workdir).config
    config.generate.input, config.generate.output = lines, written
    commands.REGISTRY['translate'].run(commands.Context(workdir, config))
    with open(written) as file:
      rows = [line.rstrip('\n').split('\t') for line in file]
    self.assertEqual(rows[0], ['nats', 'source', 'text'])
    self.assertEqual([row[1] for row in rows[1:]], ['a b', '', 'c'])

  def test_bleu_is_that_of_sacrebleu_on_files(self):
    _, run = trained()
    split = test_split(run)
    figures = translation.figures(run, split)
    folder = self.create_tempdir().full_path
    sources = [run.text(split.source.sentence(i)) for i in range(len(split))]
    for name, lines in (
      ('outputs', [made.text for made in run.translate(sources)]),
      ('references', split.references),
    ):
      with open(os.path.join(folder, name), 'w') as file:
        file.writelines(f'{line}\n' for line in lines)
    got = subprocess.run(
      [
        *(sys.executable, '-m', 'sacrebleu', 'references', '-i', 'outputs'),
        *('--score-only', '--width', '10', '--force'),
      ],
      cwd=folder,
      check=True,
      capture_output=True,
      text=True,
    )
    self.assertAlmostEqual(figures['bleu'], float(got.stdout), delta=1e-10)
    self.assertIn('tok:13a', figures['bleu_signature'])

  def test_bleu_may_ignore_case_and_compare_characters(self):
    bleu = overlap.text_bleu
    self.assertAlmostEqual(bleu(['a b c d'], ['A B C D'], True)[0], 100)
    self.assertEqual(bleu(['a b c d'], ['A B C D'])[0], 0)
    self.assertAlmostEqual(
      bleu(['2014-03-07'], ['2014-03-07'], by_character=True)[0], 100
    )

  def test_an_autoencoder_trains_on_any_text(self):
    workdir = self.create_tempdir().full_path
    config = make_config(
      **{
        'corpus.name': 'grammar',
        'corpus.autoencoder': True,
        'model.shared_weights': 'all',
        'model.bridge': 'copy',
        'model.attention': 'none',
      }
    )
    loop.train(config, workdir)
    run = loading.load(workdir)
    with contextlib.redirect_stdout(io.StringIO()):
      results = evaluate.evaluate(run.config, workdir)
    self.assertEqual(results['test']['corpus'], 'grammar')
    (score,) = run.score(['the cook stirs the soup .'])
    self.assertGreater(score.nats, 0)


if __name__ == '__main__':
  absltest.main()
