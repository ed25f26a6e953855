"""Optimisers, and averaging of weights."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.objectives import schedules
from rnnvae_jax.training import state as state_lib

if TYPE_CHECKING:
  import optax  # Imported where training needs it: it takes a while.


@schema.fragment('optimizer')
class OptimizerConfig:
  """The optimiser, its learning rate, and changes to gradients."""

  name: str = schema.field(
    'adam', 'Adam, or plain gradient descent.', choices=('adam', 'sgd')
  )
  learning_rate: float = schema.field(
    1e-3, 'Initial learning rate.', low=0, traced=True
  )
  schedule: str = schema.field(
    'constant', 'How the learning rate changes over all updates.'
  )
  final_learning_rate: float = schema.field(
    0.0,
    'Learning rate at the end of the schedule.',
    low=0,
    traced=True,
    only_if=schema.none_of('optimizer.schedule', 'constant'),
  )
  clip_norm: float = schema.field(
    5.0,
    'Largest norm of a gradient in nats a sentence; 0: no clipping.',
    low=0,
    traced=True,
    off=0.0,
  )
  decay_every: int = schema.field(
    0,
    'Updates between decays of the learning rate; 0: no decays.',
    low=0,
    traced=True,
    off=0,
  )
  decay_start: int = schema.field(
    0,
    'The first update with a decayed learning rate.',
    low=0,
    traced=True,
    only_if=schema.is_set('optimizer.decay_every'),
  )
  decay_factor: float = schema.field(
    1.0,
    'The factor by which a decay multiplies the learning rate.',
    low=0,
    traced=True,
    only_if=schema.is_set('optimizer.decay_every'),
  )
  weight_decay: float = schema.field(
    0.0,
    'Weight decay: so many times the parameters are added to the gradients.',
    low=0,
    traced=True,
    off=0.0,
  )
  plateau_patience: int = schema.field(
    0,
    'Validations without a new best before the learning rate decays; 0: never.',
    low=0,
    varies=True,
  )
  plateau_factor: float = schema.field(
    0.5,
    'The factor by which a decay on a plateau multiplies the learning rate.',
    low=0,
    high=1,
    varies=True,
    only_if=schema.is_set('optimizer.plateau_patience'),
  )
  average_patience: int = schema.field(
    0,
    'The n of NT-ASGD: averaging of weights starts when a validation is worse '
    'than the best one before the last n; 0: never.',
    low=0,
  )

  def check(self) -> None:
    """Raises ValueError for a schedule that learning rates do not have."""
    schedules.check_learning_rate('optimizer.schedule', self.schedule)


class Averaging(NamedTuple):
  """State of an optimiser that also averages the parameters."""

  inner: Any  # State of the optimiser itself.
  average: Any  # Mean of the parameters since averaging began.
  count: Any  # int32[], updates averaged; -1 before averaging begins.
  recent: Any  # float32[n], the last n validation figures, the newest last.
  earlier: Any  # float32[], the best validation figure before those n.


def build(config: Any) -> 'optax.GradientTransformation':
  """Builds the optimiser at learning rate 1; steps apply rate and sign."""
  import optax

  if config.optimizer.name == 'adam':
    tx = optax.scale_by_adam()
  else:
    tx = optax.identity()
  patience = config.optimizer.average_patience
  return averaging(tx, patience) if patience else tx


def averaging(
  tx: 'optax.GradientTransformation', patience: int
) -> 'optax.GradientTransformation':
  """Extends the state of `tx` by the mean of the parameters.

  Averaged stochastic gradient descent (Polyak & Juditsky 1992).
  `update_averaging` starts the averaging.

  Args:
    tx: the optimiser.
    patience: n >= 1, see `update_averaging`.
  """
  import optax

  def init(params):
    copy = jax.tree.map(jnp.array, params)
    recent = jnp.full(patience, jnp.inf, jnp.float32)
    return Averaging(
      tx.init(params), copy, jnp.int32(-1), recent, jnp.float32(jnp.inf)
    )

  def update(grads, state, params):
    updates, inner = tx.update(grads, state.inner, params)
    count = jnp.where(state.count < 0, -1, state.count + 1)
    share = 1.0 / jnp.maximum(count, 1)
    average = jax.tree.map(
      lambda mean, p: mean + share * (p - mean), state.average, params
    )
    return updates, state._replace(inner=inner, average=average, count=count)

  return optax.GradientTransformation(init, update)


def update_averaging(opt_state: Any, value: float) -> Any:
  """Records a validation; averaging starts when the NT-ASGD trigger fires.

  The non-monotone trigger of NT-ASGD (Merity et al., arXiv:1708.02182), as in
  the authors' code (awd-lstm-lm, main.py), fires when a validation is worse
  than the best validation before the last n.

  Args:
    opt_state: state of an optimiser; returned unchanged if it does not average.
    value: the validation figure, nats; lower is better.
  """
  if not isinstance(opt_state, Averaging):
    return opt_state
  # Rounded first, because `earlier` has been rounded to float32, too.
  triggers = np.float32(value) > np.float32(opt_state.earlier)
  if triggers and int(opt_state.count) < 0:
    opt_state = opt_state._replace(count=jnp.int32(0))
  recent = opt_state.recent
  return opt_state._replace(
    earlier=jnp.minimum(opt_state.earlier, recent[0]),
    recent=jnp.append(recent[1:], jnp.float32(value)),
  )


def evaluated(state: state_lib.TrainState) -> Any:
  """The parameters to evaluate: the average once averaging has begun."""
  if not isinstance(state.opt_state, Averaging):
    return state.params
  begun = state.opt_state.count > 0
  return jax.tree.map(
    lambda average, p: jnp.where(begun, average, p),
    state.opt_state.average,
    state.params,
  )


def weights(state: state_lib.TrainState) -> state_lib.Weights:
  """The part of a state that evaluation needs, for a smaller checkpoint."""
  return state_lib.Weights(state.step, evaluated(state), state.extras)
