"""What a run is: the state that changes from update to update."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax


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


class Weights(flax.struct.PyTreeNode):
  """What evaluation needs of a state: it has no optimiser's state."""

  step: Any  # int32[]
  params: Any  # As they are evaluated: averaged where they are averaged.
  extras: Any


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
