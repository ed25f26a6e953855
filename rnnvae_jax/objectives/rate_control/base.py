"""The contract of a rate control, and how a control is found by name.

A control adapts the loss during training to hold the KL at a target rate. It is
a pure function of its own state and the batch's mean KL. Its state is part of
the run's state, so that a resumed run continues bit for bit. To add a kind, add
a module to this folder with

  CONTROL: the control's functions, a `Control`.
  CONFIG: optional, a config fragment of further keys, with prefix 'objective';
    traced keys are passed to the functions as `scalars`.

The kind's name is the module's; it is listed nowhere else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax import registry
from rnnvae_jax.config import schema

REGISTRY = registry.Registry(
  'rnnvae_jax.objectives.rate_control', 'config.objective.rate_control'
)
KINDS = tuple(REGISTRY)

_IS_CONTROLLED = schema.none_of('objective.rate_control', 'none')


@schema.fragment('objective')
class RateControlConfig:
  """Settings of the control that holds the KL at a rate."""

  rate_control: str = schema.field(
    'none',
    'The control that holds the KL at `target_rate`.',
    choices=lambda: tuple(REGISTRY),
  )
  target_rate: float = schema.field(
    0.0,
    'The KL that the rate control holds, in nats per sentence.',
    low=0,
    traced=True,
    only_if=_IS_CONTROLLED,
  )
  rate_control_speed: float = schema.field(
    0.01,
    'Step of a rate control in an update: the learning rate of a multiplier, '
    'or the share by which a weight changes.',
    low=0,
    high=1,
    traced=True,
    only_if=_IS_CONTROLLED,
  )

  def check(self) -> None:
    """Raises ValueError for a control without a target or a speed."""
    if self.rate_control == 'none':
      return
    for value, key, because in (
      (self.target_rate, 'target_rate', ''),
      (self.rate_control_speed, 'rate_control_speed', ': at 0 nothing adapts'),
    ):
      if value <= 0:
        raise ValueError(
          f'config.objective.rate_control = {self.rate_control!r} wants a '
          f'config.objective.{key} above 0{because}.'
        )


class Control(NamedTuple):
  """Pure functions of one kind of control; see the functions of this module.

  Attributes:
    initial: () -> the state before the first update, a dict of arrays.
    penalty: (state, kl, target, weight, scalars) -> the factor of the loss's
      KL term, and nats to add to the loss.
    kl_weight: (state, weight) -> float[], d loss / d KL.
    update: (state, kl, target, speed, scalars) -> the state after a batch.
    bounded: (state, weight) -> the state, limited by the KL term's weight.
  """

  initial: Callable[[], dict[str, jax.Array]]
  penalty: Callable[..., tuple[jax.Array, jax.Array]]
  kl_weight: Callable[..., jax.Array]
  update: Callable[..., dict[str, jax.Array]]
  bounded: Callable[..., dict[str, jax.Array]] = lambda state, weight: state


def fragments() -> tuple[type, ...]:
  """The config fragments of the control and of all its kinds."""
  own = (getattr(REGISTRY[kind], 'CONFIG', None) for kind in REGISTRY)
  return RateControlConfig, *(cls for cls in own if cls is not None)


def initial(kind: str) -> dict[str, jax.Array]:
  """Returns the control's state before the first update.

  Raises:
    ValueError: `kind` is unknown.
  """
  return _get(kind).initial()


def bounded(kind: str, state: Any, weight: jax.typing.ArrayLike) -> Any:
  """Limits the control's state by the KL term's weight at this step.

  It is called once an update, before `penalty` and `update` read the state.

  Args:
    kind: one of KINDS.
    state: state of the control.
    weight: float[], weight of the KL term in the loss at this step.
  """
  return _get(kind).bounded(state, weight)


def penalty(
  kind: str,
  state: Any,
  kl: jax.Array,
  target: jax.typing.ArrayLike,
  weight: jax.typing.ArrayLike,
  scalars: Any = None,
) -> tuple[jax.Array, jax.Array]:
  """Computes how a control changes the loss.

  Args:
    kind: one of KINDS.
    state: state of the control; no gradient flows into it.
    kl: float[], the batch's mean KL, nats per sentence.
    target: float[], the rate to hold, nats per sentence.
    weight: float[], weight of the KL term in the loss at this step.
    scalars: values of the traced keys of `config.objective`, for controls with
      keys of their own.

  Returns:
    float[], the factor of the loss's KL term; and float[], nats per sentence to
    add to the loss.
  """
  return _get(kind).penalty(state, kl, target, weight, scalars)


def kl_weight(kind: str, state: Any, weight: jax.typing.ArrayLike) -> jax.Array:
  """The derivative of the loss with respect to the KL, control included.

  Args:
    kind: one of KINDS.
    state: state of the control.
    weight: float[], weight of the KL term at this step without the control.
  """
  return _get(kind).kl_weight(state, jnp.asarray(weight))


def update(
  kind: str,
  state: Any,
  kl: jax.Array,
  target: jax.typing.ArrayLike,
  speed: jax.typing.ArrayLike,
  scalars: Any = None,
) -> Any:
  """Returns the control's state after a batch.

  Args:
    kind: one of KINDS.
    state: the state before the batch, as `bounded` returned it.
    kl: float[], the batch's mean KL, nats per sentence.
    target: float[], the rate to hold, nats per sentence.
    speed: float[], see `RateControlConfig`.
    scalars: see `penalty`.
  """
  return _get(kind).update(state, kl, target, speed, scalars)


def _get(kind: str) -> Control:
  try:
    return REGISTRY[kind].CONTROL
  except KeyError as error:
    raise ValueError(error.args[0]) from None
