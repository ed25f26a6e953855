"""Text read as one stream: windows, a carried state, truncated gradients."""

import dataclasses

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora, vocab
from rnnvae_jax.models import build
from rnnvae_jax.ops import noise
from rnnvae_jax.training import (
  evaluation,
  optimizers,
  population,
  preparation,
  validation,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import step as step_lib

import helpers
import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

V, N, B, T = 13, 97, 3, 5
EMBEDDING, HIDDEN = 7, 6
# Nats are sums over the text of sums over words, of products and of a row's
# steps.
RTOL = tolerances.chain(
  N, V, EMBEDDING + HIDDEN, (N // B + 1) * (EMBEDDING + HIDDEN)
)


def make_split(num_tokens=N, bos=vocab.EOS):
  """A stream of words with ends, the last token one of them."""
  tokens = np.random.default_rng(3).integers(4, V, num_tokens)
  tokens[[*range(6, num_tokens, 9), -1]] = vocab.EOS
  ends = np.flatnonzero(tokens == vocab.EOS) + 1
  lengths = np.diff(np.concatenate([[0], ends])).astype(np.int32)
  starts = (ends - lengths).astype(np.int32)
  return corpora.Split(tokens.astype(np.int32), starts, lengths, 0, 0, {}, bos)


def make_config(**settings):
  config = helpers.make_config('language_model')
  config.model.cell = 'lstm'
  config.model.embedding_size = EMBEDDING
  config.model.hidden_size = HIDDEN
  config.corpus.stream = True
  config.optimizer.name, config.optimizer.clip_norm = 'sgd', 0.0
  config.optimizer.learning_rate = 0.3
  config.train.batch_size, config.train.unroll = B, T
  config.update_from_flattened_dict(settings)
  config_build.validate(config)
  return config


def make_state(config):
  task = helpers.make_task(config, V)
  tx = optimizers.build(config)
  return task, tx, state_lib.create(task, tx, seed=1)


def train(config, split, num_steps, per_call=1, state=None, first=0):
  """The state after some steps, and their losses."""
  task, tx, fresh = make_state(config)
  state = fresh if state is None else state
  feeding = preparation.feeding(config, split)
  train_step = step_lib.make_train_step(
    task, tx, feeding.buckets, 'constant', feeding.gather
  )
  text = feeding.schedule.put(split)
  hyperparameters = helpers.make_hyperparameters(config)
  losses = []
  for start in range(first, num_steps, per_call):
    plan = feeding.schedule.steps(start, per_call)
    state, _, loss = train_step(
      state, text, *map(jnp.asarray, plan), hyperparameters
    )
    losses += np.asarray(loss).tolist()
  return state, losses


def whole_loss(config, split):
  """(params) -> nats of all parts read at once, a sentence each, over B."""
  task, _, _ = make_state(config)
  schedule = batches.StreamSchedule(
    len(split.tokens), (batches.Bucket(len(split.tokens)),), B, 0
  )
  text = schedule.put(split)
  starts = jnp.zeros(B, jnp.int32)
  bucket = batches.Bucket(int(text.lengths.max()))
  batch = batches.gather_windows(text, starts, bucket)
  return lambda params: task.read(params, batch).total / B


class WindowsTest(parameterized.TestCase):
  @parameterized.product(spread=(0, 1), seed=(0, 4))
  def test_an_epoch_predicts_every_token_once_from_the_one_before(
    self, spread, seed
  ):
    split = make_split()
    buckets, weights = batches.windows(T, spread)
    schedule = batches.StreamSchedule(N, buckets, B, seed, weights)
    text = schedule.put(split)
    seen = []
    for starts, bucket in zip(
      *schedule.steps(0, schedule.steps_per_epoch), strict=True
    ):
      batch = batches.gather_windows(text, jnp.asarray(starts), buckets[bucket])
      np.testing.assert_array_equal(batch['begins'], starts == 0)
      for row in range(B):
        where = int(text.offsets[row]) + int(starts[row])
        count = int(batch['mask'][row].sum())
        seen += range(where, where + count)
        np.testing.assert_array_equal(
          batch['targets'][row, :count], split.tokens[where : where + count]
        )
        before = np.concatenate([[split.bos], split.tokens])
        np.testing.assert_array_equal(
          batch['inputs'][row, :count], before[where : where + count]
        )
    self.assertCountEqual(seen, range(N))

  @parameterized.parameters(0, 1)
  def test_is_the_same_however_it_is_cut(self, spread):
    buckets, weights = batches.windows(T, spread)
    make = lambda: batches.StreamSchedule(N, buckets, B, 0, weights)
    whole = make().steps(0, 40)
    for first, count in ((0, 13), (13, 20), (33, 7)):
      part = make().steps(first, count)
      for ours, theirs in zip(part, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs[first : first + count])

  def test_drawn_lengths_are_as_frequent_as_probable(self):
    buckets, weights = batches.windows(70, 5)
    self.assertEqual([b.length for b in buckets], [35, 60, 65, 70, 75, 80])
    self.assertAlmostEqual(sum(weights), 1.0, places=3)
    schedule = batches.StreamSchedule(900_000, buckets, 10, 0, weights)
    drawn = schedule.steps(0, schedule.steps_per_epoch - 1).bucket
    share = np.bincount(drawn, minlength=6) / len(drawn)
    # Three standard deviations of a share.
    error = 3 * np.sqrt(np.array(weights) / len(drawn))
    np.testing.assert_array_less(np.abs(share - weights), error)

  def test_bad_arguments_are_named(self):
    with self.assertRaisesRegex(ValueError, 'unroll_spread = 3'):
      batches.windows(6, 3)
    with self.assertRaisesRegex(ValueError, 'stream of 2 tokens'):
      batches.StreamSchedule(2, (batches.Bucket(4),), 3, 0)


class EvaluationTest(parameterized.TestCase):
  @parameterized.product(window=(1, 4, 50, 97), rows=(1,))
  @pytest.mark.slow
  def test_a_carry_split_anywhere_gives_the_same(self, window, rows):
    config, split = make_config(), make_split()
    task, _, state = make_state(config)
    evaluate = evaluation.make_stream_evaluator(
      task, split, rows=rows, window=window
    )
    got = evaluate(state.params, state.extras, None)['nll']
    self.assertLen(got, len(split.lengths))
    inputs = np.concatenate([[split.bos], split.tokens[:-1]])[None]
    batch = {
      'inputs': jnp.asarray(inputs),
      'targets': jnp.asarray(split.tokens[None]),
      'mask': jnp.ones((1, N), bool),
      'token_counts': (),
    }
    nll = np.asarray(task.read(state.params, batch).nll[0], np.float64)
    np.testing.assert_allclose(
      got, np.add.reduceat(nll, split.offsets), rtol=RTOL
    )

  def test_several_rows_begin_with_states_of_zeros(self):
    config, split = make_config(), make_split()
    task, _, state = make_state(config)
    evaluate = evaluation.make_stream_evaluator(task, split, rows=B, window=4)
    total = evaluate(state.params, state.extras, None)['nll'].sum()
    wanted = B * float(whole_loss(config, split)(state.params))
    np.testing.assert_allclose(total, wanted, rtol=RTOL)

  def test_of_a_sentence_by_itself_what_comes_before_it_is_an_end(self):
    config, split = make_config(), make_split()
    task, _, state = make_state(config)
    evaluate = evaluation.make_evaluator(
      task, split, batch_size=4, num_buckets=2
    )
    got = evaluate(state.params, state.extras, jax.random.key(0))['nll']
    for number in (0, 5):
      alone = corpora.split_of([split.sentence(number)])
      alone = dataclasses.replace(alone, bos=vocab.EOS)
      read = evaluation.make_stream_evaluator(task, alone, rows=1, window=3)
      wanted = read(state.params, state.extras, None)['nll']
      np.testing.assert_allclose(got[number], wanted[0], rtol=RTOL)


class TrainingTest(parameterized.TestCase):
  def test_one_window_of_the_whole_text_is_full_backpropagation(self):
    split = make_split()
    config = make_config(**{'train.unroll': N})
    _, _, state = make_state(config)
    wanted_loss, grads = jax.value_and_grad(whole_loss(config, split))(
      state.params
    )
    wanted = jax.tree.map(lambda p, g: p - 0.3 * g, state.params, grads)
    after, (loss,) = train(config, split, 1)
    np.testing.assert_allclose(loss, wanted_loss, rtol=RTOL)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=RTOL, atol=0.3 * RTOL),
      after.params,
      wanted,
    )

  def test_windows_are_given_the_state_that_the_ones_before_left(self):
    split = make_split()
    config = make_config(**{'optimizer.learning_rate': 0.0})
    _, _, state = make_state(config)
    windows = preparation.feeding(config, split).schedule.steps_per_epoch
    # Twice: the second epoch begins with zeros again.
    _, losses = train(config, split, 2 * windows)
    wanted = float(whole_loss(config, split)(state.params))
    np.testing.assert_allclose(sum(losses[:windows]), wanted, rtol=RTOL)
    np.testing.assert_allclose(losses[windows:], losses[:windows], rtol=RTOL)

  @pytest.mark.slow
  def test_gradients_stop_at_the_window(self):
    split = make_split()
    config = make_config()
    task, _, state = make_state(config)
    feeding = preparation.feeding(config, split)
    text = feeding.schedule.put(split)
    plan = feeding.schedule.steps(0, 2)
    first, second = (
      batches.gather_windows(text, jnp.asarray(s), feeding.buckets[0])
      for s in plan.rows
    )
    params = state.params
    carry = task.read(params, first).carry
    params = jax.tree.map(
      lambda p, g: p - 0.3 * g,
      params,
      jax.grad(lambda p: task.read(p, first).total / B)(params),
    )
    grads = jax.grad(lambda p: task.read(p, second, carry).total / B)(params)
    wanted = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
    after, _ = train(config, split, 2)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=RTOL, atol=0.3 * RTOL),
      after.params,
      wanted,
    )

  @pytest.mark.slow
  def test_several_steps_a_call_and_a_restart_change_nothing(self):
    config, of_fused = self.check_restart(spread=0)
    _, losses = train(config, make_split(), 12)
    np.testing.assert_allclose(of_fused, losses, rtol=12 * RTOL)

  @pytest.mark.slow
  def test_a_restart_changes_nothing_where_windows_are_drawn(self):
    self.check_restart(spread=1)

  def check_restart(self, spread):
    split = make_split()
    config = make_config(
      **{
        'train.unroll_spread': spread,
        'dropout.output': 0.3,
        'dropout.word_type': 0.2,
        'dropout.weight': 0.2,
        'dropout.locked': True,
      }
    )
    fused, of_fused = train(config, split, 12, per_call=3)
    part, _ = train(config, split, 6, per_call=3)
    resumed, _ = train(config, split, 12, per_call=3, state=part, first=6)
    jax.tree.map(
      np.testing.assert_array_equal,
      jax.device_get((fused.params, fused.extras)),
      jax.device_get((resumed.params, resumed.extras)),
    )
    return config, of_fused

  def test_masks_are_new_in_every_window_and_the_same_in_every_run(self):
    # Of a text of one word, whose windows are alike but for the first.
    split = make_split()
    words = np.full_like(split.tokens, 5)
    split = dataclasses.replace(split, tokens=words, bos=5)
    settings = {'dropout.embedding': 0.5, 'dropout.locked': True}
    config = make_config(**settings, **{'optimizer.learning_rate': 0.0})
    _, once = train(config, split, 7)
    _, again = train(config, split, 14)
    self.assertEqual(once, again[:7])
    self.assertLen(set(again), 14)

  @pytest.mark.slow
  def test_a_mask_is_constant_within_a_window(self):
    config = make_config(
      **{
        'model.cell': 'elman',
        'dropout.embedding': 0.5,
        'dropout.output': 0.5,
        'dropout.recurrent': 0.5,
        'dropout.locked': True,
      }
    )
    _, _, state = make_state(config)
    # A cell that forgets, on a text of one word: steps differ by masks alone.
    params = jax.tree_util.tree_map_with_path(
      lambda path, x: 0 * x if 'recurrent_kernel' in str(path[-1]) else x,
      state.params,
    )
    words = jnp.full((B, T), 5)
    mask = jnp.ones((B, T), bool)
    rates = noise.rates(helpers.make_hyperparameters(config).dropout)
    model = build.language_model(config, V)
    windows = [
      model.apply(
        params,
        words,
        words,
        mask,
        rates=rates,
        keys=noise.row_keys(jax.random.key(step), jnp.arange(B)),
      ).nll
      for step in range(2)
    ]
    for nats in windows:
      np.testing.assert_allclose(nats, nats[:, :1] + 0 * nats, rtol=RTOL)
    firsts = np.concatenate([nats[:, 0] for nats in windows])
    self.assertLen(np.unique(firsts), 2 * B)

  @pytest.mark.slow
  def test_a_population_is_its_members(self):
    split = make_split()
    corpus = corpora.Corpus('stream', 'mikolov', None, {'train': split})
    corpus.splits['valid'] = make_split(31)
    windows = preparation.feeding(make_config(), split).schedule.steps_per_epoch
    configs = [
      make_config(
        **{
          'train.num_steps': windows,
          'train.eval_every': windows,
          'train.steps_per_call': 1,
          'optimizer.learning_rate': rate,
          'seed': seed,
        }
      )
      for rate, seed in ((0.3, 0), (0.1, 2))
    ]
    corpus = dataclasses.replace(corpus, vocab=range(V))
    for config, result in zip(
      configs, population.train(configs, corpus), strict=True
    ):
      task, tx, _ = make_state(config)
      state = state_lib.create(task, tx, config.seed)
      state, _ = train(config, split, windows, state=state)
      evaluate = validation.make_validator(config, task, corpus.splits['valid'])
      values = evaluate(state.params, state.extras, None)
      wanted = np.mean(values['nll'])
      np.testing.assert_allclose(
        result.best['nll_per_sentence'], wanted, rtol=RTOL
      )
    drawn = make_config(**{'train.unroll_spread': 1})
    with self.assertRaisesRegex(ValueError, 'windows of one length'):
      population.train([drawn], corpus)

  @pytest.mark.slow
  def test_a_frozen_teacher_is_a_copy_of_some_steps_ago(self):
    split = make_split()
    config = make_config(
      **{'objective.augmentation': 0.5, 'objective.teacher_interval': 3}
    )
    _, _, state = make_state(config)
    of_params = lambda params: params['params']['embedding']['embedding']
    tables, taught = [], []
    for step in range(7):
      tables.append(np.asarray(of_params(state.params)))
      state, _ = train(config, split, step + 1, state=state, first=step)
      taught.append(np.asarray(state.extras['teacher']))
    for step, table in enumerate(taught):
      np.testing.assert_array_equal(table, tables[step - step % 3])
    self.assertGreater(np.max(np.abs(tables[3] - tables[0])), 1e-3)

  @parameterized.parameters(True, False)
  @pytest.mark.slow
  def test_the_augmented_loss_is_the_paper_s(self, stopped):
    split = make_split()
    config = make_config(
      **{
        'objective.augmentation': 0.5,
        'objective.teacher_temperature': 4.0,
        'objective.teacher_stop_gradient': stopped,
        'model.tied_embeddings': True,
        'model.output_bias': False,
        'model.embedding_size': 6,
      }
    )
    task, _, state = make_state(config)
    feeding = preparation.feeding(config, split)
    (starts,) = feeding.schedule.steps(0, 1).rows
    text = feeding.schedule.put(split)
    batch = batches.gather_windows(
      text, jnp.asarray(starts), feeding.buckets[0]
    )

    def wanted(params):
      reading = task.read(params, batch)
      table = params['params']['embedding']['embedding']
      logits = reading.outputs @ table.T
      own = jnp.take_along_axis(
        jax.nn.log_softmax(logits), batch['targets'][:, :, None], axis=-1
      )
      taught = table[batch['targets']] @ table.T
      if stopped:
        taught = jax.lax.stop_gradient(taught)
      taught = jax.nn.log_softmax(taught / 4.0)
      surplus = taught - jax.nn.log_softmax(logits / 4.0)
      divergence = jnp.sum(jnp.exp(taught) * surplus, axis=-1)
      return jnp.sum(0.5 * 4.0 * divergence - own[:, :, 0]) / B

    of_loss = lambda params: task.loss(
      params,
      batch,
      helpers.make_hyperparameters(config),
      jax.random.key(0),
      state.extras,
    )[0]
    for got, want in zip(
      jax.tree.leaves(jax.value_and_grad(of_loss)(state.params)),
      jax.tree.leaves(jax.value_and_grad(wanted)(state.params)),
      strict=True,
    ):
      np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)

  def test_the_teacher_s_temperature_goes_straight_to_its_end(self):
    config = make_config(
      **{
        'objective.augmentation': 0.5,
        'objective.teacher_temperature': 10.0,
        'objective.final_teacher_temperature': 2.0,
        'train.num_steps': 40,
      }
    )
    task = helpers.make_task(config, V)
    scalars = helpers.make_hyperparameters(config)
    for step, wanted in ((0, 10.0), (10, 8.0), (40, 2.0)):
      now = task.schedule(scalars, jnp.int32(step)).objective
      self.assertAlmostEqual(float(now.teacher_temperature), wanted, places=5)

  def test_weight_decay_is_added_to_the_gradients(self):
    split = make_split()
    _, _, state = make_state(make_config())
    plain, _ = train(make_config(), split, 1)
    decayed, _ = train(make_config(**{'optimizer.weight_decay': 0.1}), split, 1)
    jax.tree.map(
      lambda start, a, b: np.testing.assert_allclose(
        np.asarray(a) - b, 0.3 * 0.1 * start, atol=0.3 * RTOL
      ),
      state.params,
      plain.params,
      decayed.params,
    )

  def test_penalties_are_means_over_features_of_real_tokens(self):
    split = make_split()
    for name in ('activation_penalty', 'temporal_penalty'):
      config = make_config(**{f'objective.{name}': 1.5})
      task, _, state = make_state(config)
      feeding = preparation.feeding(config, split)
      text = feeding.schedule.put(split)
      last = feeding.schedule.steps_per_epoch - 1  # Partly past the end.
      (starts,) = feeding.schedule.steps(last, 1).rows
      batch = batches.gather_windows(
        text, jnp.asarray(starts), feeding.buckets[0]
      )
      reading = task.read(state.params, batch)
      value, _ = task.loss(
        state.params,
        batch,
        helpers.make_hyperparameters(config),
        jax.random.key(0),
        state.extras,
      )
      outputs, mask = np.asarray(reading.outputs), np.asarray(batch['mask'])
      penalty = 0.0
      for row, time in zip(*np.nonzero(mask), strict=True):
        now = outputs[row, time]
        if name == 'activation_penalty':
          penalty += np.mean(now**2)
        elif time:
          penalty += np.mean((now - outputs[row, time - 1]) ** 2)
      np.testing.assert_allclose(
        value, (float(reading.total) + 1.5 * penalty) / B, rtol=RTOL
      )

  @pytest.mark.slow
  def test_penalties_are_of_what_is_dropped_and_of_what_is_not(self):
    # Merity et al., arXiv:1708.01009: activations as the output layer reads
    # them, their changes as the recurrence gives them.
    split = make_split()
    values = {}
    for name in ('none', 'activation_penalty', 'temporal_penalty'):
      overrides = {} if name == 'none' else {f'objective.{name}': 1.5}
      config = make_config(**{'dropout.output': 0.5}, **overrides)
      task, _, state = make_state(config)
      feeding = preparation.feeding(config, split)
      (starts,) = feeding.schedule.steps(0, 1).rows
      batch = batches.gather_windows(
        feeding.schedule.put(split), jnp.asarray(starts), feeding.buckets[0]
      )
      scalars, key = helpers.make_hyperparameters(config), jax.random.key(0)
      values[name], _ = task.loss(
        state.params, batch, scalars, key, state.extras
      )
    reading = task.model.apply(
      state.params,
      *(batch[name] for name in ('inputs', 'targets', 'mask')),
      token_counts=batch['token_counts'],
      rates=noise.rates(scalars.dropout),
      keys=noise.row_keys(key, batch['index']),
    )
    dropped, outputs = np.asarray(reading.dropped), np.asarray(reading.outputs)
    self.assertGreater(np.abs(dropped - outputs).max(), 0.01)
    self.assertTrue(np.all(batch['mask']))
    output_penalty = np.mean(dropped**2, axis=-1).sum()
    change_penalty = np.mean(np.diff(outputs, axis=1) ** 2, axis=-1).sum()
    for name, penalty in (
      ('activation_penalty', output_penalty),
      ('temporal_penalty', change_penalty),
    ):
      np.testing.assert_allclose(
        values[name] - values['none'], 1.5 * penalty / B, rtol=1e-3
      )


if __name__ == '__main__':
  absltest.main()
