"""Scalars as pure functions of the step: KL weights and learning rates.

A schedule's shape maps x = step / steps to the share of the way from the first
value to the last. The shapes of this module have names; a function of your own
is given as 'package.module:function' or 'path/to/file.py:function'.
"""

from collections.abc import Callable
import importlib
import importlib.util
import pathlib
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.config import schema
from rnnvae_jax.objectives import posteriors

# x float32[], at least 0 -> the share of the way, float32[] in [0, 1].
Shape = Callable[[jax.Array], jax.Array]

_PROBES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0, 1.5, 2.0, 10.0)
_ROUNDING = 1e-5  # A share may be outside [0, 1] by so much; it is clipped.


def _constant(step, steps, cycles):
  del steps, cycles
  return jnp.ones_like(step)


def _linear(step, steps, cycles):
  del cycles
  return jnp.clip(step / steps, 0.0, 1.0)


def _sigmoid(step, steps, cycles):
  del cycles
  return jax.nn.sigmoid(10.0 * (step / steps) - 5.0)


def _cosine(step, steps, cycles):
  del cycles
  return 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.clip(step / steps, 0.0, 1.0))


def _cyclical(step, steps, cycles):
  # The remainder of whole numbers is exact, so every cycle starts at its step.
  # The remainder of x * cycles could round to the end of the previous cycle.
  cycle = jnp.mod(step * cycles, steps) / steps
  return jnp.where(step < steps, jnp.minimum(2.0 * cycle, 1.0), 1.0)


# By name: (step float32[], steps float32[] above 0, cycles) -> float32[].
_SHAPES = {
  'constant': _constant,
  'linear': _linear,
  'sigmoid': _sigmoid,
  'cosine': _cosine,
  'cyclical': _cyclical,
}
KINDS = tuple(_SHAPES)
# A cyclical schedule stays at its end value in the second half of each cycle
# and after the last cycle. That suits a KL weight, whose end value is the one
# that the model is trained for. For a learning rate the end value is the
# smallest, at which little is learnt.
LEARNING_RATE_KINDS = tuple(kind for kind in KINDS if kind != 'cyclical')

_IS_ANNEALED = schema.none_of('objective.kl_schedule', 'constant')


@schema.fragment('objective', only_if=posteriors.kl_varies)
class KLScheduleConfig:
  """The weight of the KL term over training."""

  kl_schedule: str = schema.field(
    'constant',
    'How the weight of the KL term goes from `kl_start` to `kl_weight`: '
    f'{", ".join(KINDS)}, or a function x -> share of the way in [0, 1], with '
    "x = step / `kl_anneal_steps`, as 'package.module:function' or "
    "'path/to/file.py:function'.",
  )
  kl_weight: float = schema.field(
    1.0,
    'Weight of the KL term at the end of its schedule.',
    low=0,
    traced=True,
  )
  kl_start: float = schema.field(
    0.0,
    'Weight of the KL term at the start of its schedule.',
    low=0,
    traced=True,
    only_if=_IS_ANNEALED,
  )
  kl_anneal_steps: int = schema.field(
    0,
    'Updates that the schedule of the KL term lasts.',
    low=0,
    traced=True,
    only_if=_IS_ANNEALED,
  )
  kl_cycles: int = schema.field(
    1,
    'Cycles of the cyclical schedule.',
    low=1,
    traced=True,
    only_if=schema.one_of('objective.kl_schedule', 'cyclical'),
  )

  def check(self) -> None:
    """Raises ValueError if the schedule is unknown or has no length."""
    check('objective.kl_schedule', self.kl_schedule)
    if self.kl_schedule != 'constant' and not self.kl_anneal_steps:
      raise ValueError(
        f'config.objective.kl_schedule = {self.kl_schedule!r} takes '
        'config.objective.kl_anneal_steps: at least 1.'
      )


def check(key: str, name: str) -> None:
  """Checks the form of a schedule's name, without importing anything.

  Args:
    key: the config key, for the message.
    name: the name of a built-in shape, or the location of a function.

  Raises:
    ValueError: it is neither.
  """
  _check_name(key, name, KINDS)


def check_learning_rate(key: str, name: str) -> None:
  """`check` for the schedule of a learning rate.

  Raises:
    ValueError: no schedule has this name, or learning rates cannot have it.
  """
  if name == 'cyclical':
    raise ValueError(
      f"config.{key} = 'cyclical' would leave at least the second half of "
      'training at the final learning rate: each cycle ramps to its end in its '
      f'first half and stays there. Legal: {", ".join(LEARNING_RATE_KINDS)}, '
      'or a function of your own, which may restart.'
    )
  _check_name(key, name, LEARNING_RATE_KINDS)


def _check_name(key: str, name: str, kinds: tuple[str, ...]) -> None:
  if name in kinds:
    return
  where, colon, function = name.rpartition(':')
  if not colon:
    raise ValueError(
      f'{errors.unknown(f"config.{key}", name, kinds)} Or a function: '
      "'package.module:function' or 'path/to/file.py:function'."
    )
  if not where or not function.isidentifier():
    raise ValueError(
      f"config.{key} = {name!r} names no function. Legal: 'package.module:"
      "function' or 'path/to/file.py:function'."
    )


def resolve(name: str, key: str = 'objective.kl_schedule') -> str | Shape:
  """Finds the shape of that name for `anneal`; imports and tests a function.

  Args:
    name: the name of a built-in shape, or the location of a function. The path
      of a file is relative to the current folder.
    key: the config key, for messages.

  Returns:
    For a built-in shape its name, otherwise the function.

  Raises:
    ValueError: there is no such file, module or function; it fails under
      `jax.jit` or `jax.vmap`; or at a few test points from 0 to 10 its result
      is not a scalar, not finite or outside [0, 1].
  """
  check(key, name)
  if name in KINDS:
    return name
  where, _, attribute = name.rpartition(':')
  prefix = f'config.{key} = {name!r}'
  module = _load(where, prefix)
  function = getattr(module, attribute, None)
  if not callable(function):
    public = [
      other
      for other, value in vars(module).items()
      if callable(value) and not other.startswith('_')
    ]
    raise ValueError(
      f'{prefix}: {errors.unknown("function", attribute, public)}'
    )
  _probe(function, prefix)
  return function


def _load(where: str, prefix: str) -> ModuleType:
  """Imports the module of a file or of a dotted name."""
  try:
    if not where.endswith('.py') and '/' not in where:
      return importlib.import_module(where)
    path = pathlib.Path(where)
    if not path.is_file():
      raise ValueError(
        f'{prefix}: there is no file {where!r}. A path is relative to the '
        f'current folder, {str(pathlib.Path.cwd())!r}.'
      )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
      raise ValueError(f'{prefix}: {where!r} is no Python file.')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
  except ValueError as error:
    if str(error).startswith(prefix):
      raise
    raise ValueError(f'{prefix}: the import failed: {error!r}.') from error
  except Exception as error:  # The user's module may raise anything.
    raise ValueError(f'{prefix}: the import failed: {error!r}.') from error


def _probe(function: Shape, prefix: str) -> None:
  points = jnp.float32(_PROBES)

  def at(x):
    share = jnp.asarray(function(x))
    if share.shape:
      raise ValueError(f'it returns an array of shape {share.shape}')
    return share.astype(jnp.float32)

  try:
    run = jax.jit(jax.vmap(at)).lower(points).compile()
  except Exception as error:  # The user's function may raise anything.
    raise ValueError(
      f'{prefix} cannot be traced by JAX: {error}. It is given float32[] and '
      'returns float32[]; use jax.numpy, and jnp.where in place of `if`.'
    ) from error
  with jax.debug_nans(False):  # Values that are not finite are reported below.
    shares = np.asarray(run(points))
  for x, share in zip(_PROBES, shares, strict=True):
    if not -_ROUNDING <= share <= 1 + _ROUNDING:
      raise ValueError(
        f'{prefix} returns {share:g} at x = {x:g}. Legal: 0 to 1, the share of '
        'the way from the first value to the last one.'
      )


def anneal(
  kind: str | Shape,
  step: jax.typing.ArrayLike,
  *,
  start: jax.typing.ArrayLike,
  end: jax.typing.ArrayLike,
  steps: jax.typing.ArrayLike,
  cycles: jax.typing.ArrayLike = 1,
) -> jax.Array:
  """The weight at a step, on its way from `start` to `end` in `steps` steps.

  With x = step / steps:

    constant: `end`.
    linear: a straight ramp over x in [0, 1], then `end`.
    sigmoid: the logistic function of 10 x - 5 (the kind of curve of Bowman et
      al., arXiv:1511.06349, figure 2): .0067 of the way at x = 0, .9933 at
      x = 1, and closer to `end` after that.
    cosine: half a period of a cosine over x in [0, 1], then `end`.
    cyclical: `cycles` equal cycles over x in [0, 1], each a straight ramp in
      its first half and `end` in its second, then `end` (Fu et al.,
      arXiv:1903.10145, with R = 0.5).
    a function: its value at x, clipped to [0, 1]; x may exceed 1.

  Only `kind` is static. Every other argument may be traced.

  Args:
    kind: one of KINDS, or a function; see `resolve`.
    step: number of updates done, from 0.
    start: first value of the ramp.
    end: last value of the ramp; larger or smaller than `start`.
    steps: length of the ramp; 0: no ramp, `end` at every step.
    cycles: number of ramps, only for 'cyclical'.

  Returns:
    float32[].

  Raises:
    ValueError: `kind` is unknown.
  """
  step = jnp.asarray(step, jnp.float32)
  steps = jnp.asarray(steps, jnp.float32)
  # A division by 0 would make gradients NaN even if its result is not selected.
  divisor = jnp.where(steps > 0, steps, 1.0)
  if isinstance(kind, str):
    if kind not in _SHAPES:
      raise ValueError(errors.unknown('schedule', kind, KINDS))
    progress = _SHAPES[kind](step, divisor, cycles)
  else:
    progress = jnp.asarray(kind(step / divisor), jnp.float32)
    progress = jnp.clip(progress, 0.0, 1.0)
  progress = jnp.where(steps > 0, progress, 1.0)
  # Exact at both ends, which start + (end - start) * progress is not.
  return (1.0 - progress) * start + progress * end


def staircase(
  step: jax.typing.ArrayLike,
  *,
  start: jax.typing.ArrayLike,
  every: jax.typing.ArrayLike,
  factor: jax.typing.ArrayLike,
) -> jax.Array:
  """A multiplier that is 1 at first and changes by a factor at regular steps.

  Zaremba et al., arXiv:1409.2329, section 4.1, with steps instead of epochs.

  Args:
    step: number of updates done, from 0.
    start: the step of the first change.
    every: number of steps from one change to the next.
    factor: the factor of each change.

  Returns:
    float32[].
  """
  since = jnp.asarray(step, jnp.float32) - start
  factors = jnp.maximum(jnp.floor(since / every) + 1.0, 0.0)
  return jnp.power(factor, factors)
