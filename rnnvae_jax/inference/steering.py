"""Text that a model writes while one of its units is held at a value."""

import dataclasses
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.inference import states
from rnnvae_jax.tasks import base

_SETTING = re.compile(r'\s*(\d+)\s*=\s*(\S+)\s*')


class Params(NamedTuple):
  """Parameters of a clamped task; arrays, so that a change compiles nothing.

  Attributes:
    inner: parameters of the task itself.
    unit: int32[], number of the unit in the last layer.
    value: float32[], which it is held at.
  """

  inner: Any
  unit: jax.Array
  value: jax.Array


class Clamped(base.Generates):
  """A task that writes while a unit of its last layer is held at a value.

  The unit's entry of the state (c of an LSTM) is overwritten before every step
  reads it, and after the last.
  """

  def __init__(self, task: base.CarriesState):
    self._task = task

  def start(self, params: Params, batch_size: int, latents: Any = None) -> Any:
    carry = self._task.start(params.inner, batch_size, latents)
    return _overwritten(carry, params)

  def step(
    self,
    params: Params,
    carry: Any,
    tokens: jax.Array,
    latents: Any = None,
  ) -> tuple[Any, jax.Array]:
    carry, logits = self._task.step(params.inner, carry, tokens, latents)
    return _overwritten(carry, params), logits


def clamped(run: run_lib.Run, unit: int, value: float) -> run_lib.Run:
  """A run that writes with a unit held at a value; see `Clamped`.

  `set_value` changes the value without compiling anew.

  Raises:
    ValueError: the run is no recurrent language model, or has no such unit.
  """
  states.check(run)
  start = jax.eval_shape(lambda: run.task.start(run.params, 1, None))
  size = states.last_layer_state(start).shape[1]
  if not 0 <= unit < size:
    raise ValueError(
      f'there is no unit {unit}: those of the last layer are 0 to {size - 1}.'
    )
  params = Params(run.params, jnp.int32(unit), jnp.float32(value))
  return dataclasses.replace(run, task=Clamped(run.task), params=params)


def set_value(run: run_lib.Run, value: float) -> None:
  """Changes what the unit of a clamped run is held at."""
  run.params = run.params._replace(value=jnp.float32(value))


def parse(setting: str) -> tuple[int, float]:
  """The unit and the value of config.generate.clamp = 'UNIT=VALUE'.

  Raises:
    ValueError: the text has another form.
  """
  match = _SETTING.fullmatch(setting)
  try:
    if match:
      return int(match[1]), float(match[2])
  except ValueError:
    pass
  raise ValueError(
    f"config.generate.clamp = {setting!r} is not 'UNIT=VALUE', the number of a "
    "unit of the last layer and a number, such as '17=-2.5'."
  )


def _overwritten(carry: Any, params: Params) -> Any:
  """The carry with the unit's value in `states.last_layer_state` of it."""
  *layers, ((*others, state),) = carry
  state = state.at[:, params.unit].set(params.value.astype(state.dtype))
  return (*layers, ((*others, state),))
