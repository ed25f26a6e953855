"""Our contestants, assembled as training and sampling of the package do it."""

from collections.abc import Callable, Mapping
import functools
import os
from typing import Any, NamedTuple

from absl import flags
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import recipe
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.ops import noise, sampling
from rnnvae_jax.training import hyperparameters as hyperparameters_lib
from rnnvae_jax.training import optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import step as step_lib

HIDDEN_SIZE = flags.DEFINE_integer(
  'hidden_size', 256, 'Units of a recurrent layer.', lower_bound=1
)

CORPUS = flags.DEFINE_string(
  'corpus',
  'ptb' if 'RNNVAE_DATA_DIR' in os.environ else 'wikipedia_sample',
  'Name or folder of the text.',
)
BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 32, 'Sentences a step.', lower_bound=1
)

BACKEND = flags.DEFINE_string('backend', 'auto', 'Of our recurrence.')

# Where `recipe`'s weights are in our parameter tree: how the path begins, and
# the name it ends with.
_PATHS = {
  'embedding': ('decoder/embedding', 'embedding'),
  'posterior_kernel': ('posterior', 'kernel'),
  'posterior_bias': ('posterior', 'bias'),
  'initial_kernel': ('decoder/initial', 'kernel'),
  'initial_bias': ('decoder/initial', 'bias'),
  'output_kernel': ('decoder', 'output_kernel'),
  'output_bias': ('decoder', 'output_bias'),
}
for _name, _stack in (
  ('encoder', 'encoder/layer_0'),
  ('decoder', 'decoder/recurrent/layer_0'),
):
  _PATHS[f'{_name}_input_kernel'] = (_stack, 'kernel')
  _PATHS[f'{_name}_input_bias'] = (_stack, 'bias')
  _PATHS[f'{_name}_state_kernel'] = (_stack, 'recurrent_kernel')
  _PATHS[f'{_name}_state_bias'] = (_stack, 'recurrent_bias')


class Trainer(NamedTuple):
  """A training run cut into blocks of steps."""

  run: Callable[[int], jax.Array]  # Trains on a block: its losses, float[K].
  block: Callable[[int], list[recipe.Batch]]  # What `run` trains on.
  weights: dict[str, np.ndarray]  # Before the first step.


def make_config(
  corpus: str = 'grammar',
  hidden_size: int = 256,
  batch_size: int = 32,
  precision: str = 'float32',
) -> Any:
  """The recipe's config."""
  config = config_build.default('sentence_vae')
  config.corpus.name = corpus
  config.model.embedding_size = recipe.EMBEDDING_SIZE
  config.model.hidden_size = hidden_size
  config.model.latent_size = recipe.LATENT_SIZE
  config.optimizer.learning_rate = recipe.LEARNING_RATE
  config.optimizer.clip_norm = recipe.CLIP_NORM
  config.train.batch_size = batch_size
  config.train.steps_per_call = recipe.STEPS_PER_BLOCK
  config.model.precision = precision
  config_build.validate(config)
  return config


def make_task(config: Any, vocab_size: int) -> Any:
  """The task of a config; of its vocabulary only the size matters."""
  task = config_build.task(config.model.kind)
  return task.build(config, range(vocab_size))


def make_hyperparameters(config: Any) -> hyperparameters_lib.Hyperparameters:
  """The traced scalars of a config."""
  return hyperparameters_lib.build(config_build.keys_of(config), config)


def make_trainer(
  config: Any, edit: Callable[[recipe.Weights], recipe.Weights] = dict
) -> Trainer:
  """Builds the run that `training.loop` would, without its reports.

  Args:
    config: of the run.
    edit: changes the initial weights.
  """
  corpus = preparation.build_corpus(config)
  task = make_task(config, len(corpus.vocab))
  tx = optimizers.build(config)
  state = state_lib.create(task, tx, config.seed)
  weights = dict(edit(_weights(state.params)))
  state = state.replace(params=_with_weights(state.params, weights))
  split = corpus.splits['train']
  buckets = preparation.train_buckets(config, split)
  schedule = batches.Schedule(
    split.lengths, buckets, config.train.batch_size, config.seed
  )
  train_step = step_lib.make_train_step(
    task, tx, buckets, config.optimizer.schedule
  )
  hyperparameters = make_hyperparameters(config)
  device_split = batches.put(split)
  per_call = config.train.steps_per_call

  def run(k):
    nonlocal state
    plan = schedule.steps(k * per_call, per_call)
    state, _, losses = train_step(
      state, device_split, *map(jnp.asarray, plan), hyperparameters
    )
    return losses

  def block(k):
    plan = schedule.steps(k * per_call, per_call)
    return [
      [split.sentence(i) for i in rows if i != batches.BLANK]
      for rows in plan.rows
    ]

  return Trainer(run, block, weights)


def make_sampler(
  config: Any,
  vocab_size: int,
  count: int,
  max_length: int,
  edit: Callable[[recipe.Weights], recipe.Weights],
) -> tuple[Callable[[int], jax.Array], recipe.Weights]:
  """Draws sentences from the prior as `inference.generate` does.

  Returns:
    `run(k)`, the lengths int32[count] of sentences drawn with seed k, and the
    weights.
  """
  task = make_task(config, vocab_size)
  params = jax.jit(task.init)(jax.random.key(config.seed))
  weights = dict(edit(_weights(params)))
  params = _with_weights(params, weights)
  settings = sampling.Settings(jnp.float32(1.0), jnp.int32(0), jnp.float32(1.0))

  @jax.jit
  def draw(params, k):
    keys = noise.row_keys(jax.random.key(k), jnp.arange(count))
    latents = noise.normal(keys, 'prior', (task.latents.size,))

    def step(carry, tokens):
      states, latents = carry
      states, logits = task.step(params, states, tokens, latents)
      return (states, latents), logits

    _, lengths = sampling.decode(
      step,
      (task.start(params, count, latents), latents),
      noise.site_keys(keys, 'decode'),
      settings,
      forbidden=jnp.zeros(vocab_size, bool),
      max_length=max_length,
      bos=vocab_lib.BOS,
      eos=vocab_lib.EOS,
    )
    return lengths

  return functools.partial(draw, params), weights


def _weights(params: Any) -> dict[str, np.ndarray]:
  flat = flax.traverse_util.flatten_dict(params['params'], sep='/')
  return {name: np.array(flat[_path(flat, name)]) for name in _PATHS}


def _with_weights(params: Any, weights: recipe.Weights) -> Any:
  flat = flax.traverse_util.flatten_dict(params['params'], sep='/')
  for name, value in weights.items():
    flat[_path(flat, name)] = jnp.array(value)
  return {'params': flax.traverse_util.unflatten_dict(flat, sep='/')}


def _path(flat: Mapping[str, Any], name: str) -> str:
  start, end = _PATHS[name]
  (path,) = (
    path
    for path in flat
    if path.startswith(f'{start}/') and path.split('/')[-1] == end
  )
  return path
