"""What a run is: the state that changes and the scalars that steer it."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnvae_jax.ops import noise


class Hyperparameters(flax.struct.PyTreeNode):
  """Every scalar a compiled step reads, float32[] each, an argument of it.

  So a value changes without a recompile, and a search is a `vmap`.
  """

  learning_rate: Any
  final_learning_rate: Any  # Of a decaying schedule; a constant one ignores it.
  learning_rate_steps: Any  # How long the decay takes.
  pretrain_steps: Any  # As an autoencoder, before everything else begins.
  decay_factor: Any  # None for none.
  decay_start: Any  # Steps; None without a factor.
  decay_every: Any
  clip_norm: Any  # Global gradient norm; inf for none.
  weight_decay: Any  # None for none.
  dropout: noise.Rates
  kl_weight: Any
  kl_start: Any  # The KL weight at step 0 of an annealing schedule.
  kl_anneal_steps: Any
  kl_cycles: Any
  free_bits: Any  # Nats; 0 for none.
  target_rate: Any  # Nats of KL per sentence, of a rate control.
  rate_control_speed: Any
  mmd_weight: Any  # None for none.
  label_smoothing: Any  # None for none.
  augmentation: Any  # Weight of the augmented loss; None for none.
  teacher_temperature: Any  # None without it.
  final_teacher_temperature: Any
  activation_penalty: Any  # None for none.
  temporal_penalty: Any  # None for none.


class Selection(flax.struct.PyTreeNode):
  """What validation has said so far: best checkpoint, decay, stopping."""

  best: Any  # float32[], nats per sentence.
  best_step: Any  # int32[]
  evaluations_since_best: Any  # int32[]
  evaluations_since_decay: Any  # int32[], or since the best if that is later.
  learning_rate_scale: Any  # float32[], the product of all decays.
  explores: Any  # bool[], whether encoder updates precede the decoder's.
  information: Any  # float32[], mutual information at the last validation.


class TrainState(flax.struct.PyTreeNode):
  """All that changes during training, hence all that a checkpoint holds."""

  step: Any  # int32[]
  params: Any
  opt_state: optax.OptState
  extras: Any  # What the objective adapts beside the parameters.
  key: Any  # Constant; randomness is folded in from step and sentence.
  selection: Selection


def create(task, tx: optax.GradientTransformation, seed: int) -> TrainState:
  """The state before the first step."""
  return _create(task, tx, jax.random.key(seed))


def abstract(task, tx: optax.GradientTransformation) -> TrainState:
  """Its shapes and types, without the work."""
  return jax.eval_shape(lambda: _state(task, tx, jax.random.key(0)))


def _state(task, tx, key) -> TrainState:
  init_key, train_key = jax.random.split(key)
  params = task.init(init_key)
  return TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=tx.init(params),
    extras=task.initial_extras(),
    key=train_key,
    selection=no_selection(),
  )


def no_selection() -> Selection:
  """Before the first validation."""
  return Selection(
    best=jnp.float32(jnp.inf),
    best_step=jnp.int32(0),
    evaluations_since_best=jnp.int32(0),
    evaluations_since_decay=jnp.int32(0),
    learning_rate_scale=jnp.float32(1.0),
    explores=jnp.bool_(True),
    information=jnp.float32(-jnp.inf),
  )


# As one program: operation by operation it takes seconds to compile more. It
# runs once, so what makes it run faster is not worth its compilation.
_create = jax.jit(
  _state,
  static_argnums=(0, 1),
  compiler_options={'xla_backend_optimization_level': 0},
)


def select(
  selection: Selection,
  value: float,
  step: int,
  plateau_patience: int,
  plateau_factor: float,
) -> Selection:
  """Takes a validation figure in; decays the learning rate on a plateau.

  Args:
    selection: so far.
    value: nats per sentence, lower is better.
    step: at which it was measured.
    plateau_patience: evaluations without a new best before a decay; 0: never.
    plateau_factor: what the learning rate is multiplied with then.

  Returns:
    The new selection; `best_step == step` says that this is the best so far.
  """
  # Rounded first, or a value between two float32 would be best for ever.
  if np.float32(value) < np.float32(selection.best):
    return selection.replace(
      best=jnp.float32(value),
      best_step=jnp.int32(step),
      evaluations_since_best=jnp.int32(0),
      evaluations_since_decay=jnp.int32(0),
    )
  selection = selection.replace(
    evaluations_since_best=selection.evaluations_since_best + 1,
    evaluations_since_decay=selection.evaluations_since_decay + 1,
  )
  if plateau_patience and (
    int(selection.evaluations_since_decay) >= plateau_patience
  ):
    selection = selection.replace(
      evaluations_since_decay=jnp.int32(0),
      learning_rate_scale=selection.learning_rate_scale * plateau_factor,
    )
  return selection
