"""The state of a run: everything that changes from update to update."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


class Selection(flax.struct.PyTreeNode):
  """What past validations decide: best checkpoint, decay and stopping."""

  best: Any  # float32[], the lowest validation figure, nats per sentence.
  best_step: Any  # int32[], the step of the best validation.
  evaluations_since_best: Any  # int32[]
  # int32[], evaluations since the last decay or new best, whichever is later.
  evaluations_since_decay: Any
  learning_rate_scale: Any  # float32[], the product of all decays so far.
  explores: Any  # bool[], whether an inner loop of encoder updates still runs.
  information: Any  # float32[], mutual information at the last validation.


class TrainState(flax.struct.PyTreeNode):
  """Everything that changes during training and is saved in a checkpoint."""

  step: Any  # int32[], updates done.
  params: Any
  opt_state: Any  # Of the optimiser, an `optax.GradientTransformation`.
  extras: Any  # State that the objective adapts, apart from the parameters.
  key: Any  # Constant over a run; step and sentence are folded into it.
  selection: Selection


class Weights(flax.struct.PyTreeNode):
  """The part of a state that evaluation needs, without the optimiser's."""

  step: Any  # int32[], updates done.
  params: Any  # The parameters to evaluate: the average, if there is one.
  extras: Any


def create(task, tx: Any, seed: int) -> TrainState:
  """Returns the state before the first update."""
  return _create(task, tx, jax.random.key(seed))


def abstract(task, tx: Any) -> TrainState:
  """Returns the shapes and types of the state `create` returns."""
  return jax.eval_shape(lambda: _state(task, tx, jax.random.key(0)))


def abstract_weights(task) -> Weights:
  """Returns the shapes and types of the weights of a task's state."""
  return jax.eval_shape(
    lambda: Weights(
      jnp.int32(0), task.init(jax.random.key(0)), task.initial_extras()
    )
  )


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
  """Returns the selection before the first validation."""
  return Selection(
    best=jnp.float32(jnp.inf),
    best_step=jnp.int32(0),
    evaluations_since_best=jnp.int32(0),
    evaluations_since_decay=jnp.int32(0),
    learning_rate_scale=jnp.float32(1.0),
    explores=jnp.bool_(True),
    information=jnp.float32(-jnp.inf),
  )


# Compiled as one program: compiling operation by operation takes seconds
# longer. It runs once, so optimising it costs more time than it saves.
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
  """Records a validation figure; decays the learning rate on a plateau.

  Args:
    selection: the selection before this validation.
    value: the validation figure, nats per sentence; lower is better.
    step: the step at which it was measured.
    plateau_patience: evaluations without a new best before a decay; 0: never.
    plateau_factor: the factor by which a decay multiplies the learning rate.

  Returns:
    The new selection; `best_step == step` says that this is the best so far.
  """
  # Rounded before the comparison: `best` is a float32, and a value that rounds
  # to it from below would count as a new best every time.
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
