"""The scalars that a compiled step reads, as one argument of the step.

So a value can change without recompilation, and a search over values is a
`vmap`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema


@jax.tree_util.register_pytree_with_keys_class
class Hyperparameters:
  """Traced config keys, float32[] each, read by their dotted names.

  `hyperparameters.objective.kl_weight` is the scalar of that key. It is None
  if the config does not use the key, or if the key's value switches a part of
  the model off: the program then leaves that part out.
  """

  def __init__(self, values: Mapping[str, Any]):
    self._values = dict(sorted(values.items()))

  def __getattr__(self, name: str) -> Any:
    if name.startswith('_') or name not in self._values:
      raise AttributeError(name)
    return self._values[name]

  def replace(self, values: Mapping[str, Any]) -> 'Hyperparameters':
    """A copy with other values: {'objective.kl_weight': float[], ...}.

    Raises:
      KeyError: there is no such key.
    """
    changed = dict(self._values)
    for name, value in values.items():
      first, _, rest = name.partition('.')
      if first not in changed:
        raise KeyError(name)
      changed[first] = changed[first].replace({rest: value}) if rest else value
    return Hyperparameters(changed)

  def __iter__(self) -> Iterator[str]:
    return iter(self._values)

  def tree_flatten_with_keys(self):
    keys = [jax.tree_util.GetAttrKey(name) for name in self._values]
    return [*zip(keys, self._values.values(), strict=True)], (*self._values,)

  @classmethod
  def tree_unflatten(cls, names, values):
    # Without __init__: during JAX's transformations values may be any object.
    instance = cls.__new__(cls)
    instance._values = dict(zip(names, values, strict=True))
    return instance

  def __repr__(self) -> str:
    return f'Hyperparameters({self._values!r})'


def build(
  keys: schema.Schema, config: Any, enabled: Collection[str] = ()
) -> Hyperparameters:
  """The traced scalars of a config.

  Args:
    keys: the schema of the config.
    config: config of the run.
    enabled: keys that are arguments even if their value switches a part off,
      because other configs that share the program switch it on.
  """
  flat = schema.flatten(config)
  tree: dict[str, Any] = {}
  for name, key in keys.keys.items():
    if not key.traced:
      continue
    value = flat[name]
    is_read = not keys.unused(flat, name)
    is_off = key.off is not None and value == key.off and name not in enabled
    *path, last = name.split('.')
    node = tree
    for part in path:
      node = node.setdefault(part, {})
    node[last] = jnp.float32(value) if is_read and not is_off else None
  return _wrapped(tree)


def switched_on(
  keys: schema.Schema, configs: Collection[Any]
) -> frozenset[str]:
  """Traced keys whose value switches a part on in at least one config."""
  flats = [schema.flatten(config) for config in configs]
  return frozenset(
    name
    for name, key in keys.keys.items()
    if key.traced
    and key.off is not None
    and any(flat[name] != key.off for flat in flats)
  )


def _wrapped(tree: Mapping[str, Any]) -> Hyperparameters:
  return Hyperparameters(
    {k: _wrapped(v) if isinstance(v, dict) else v for k, v in tree.items()}
  )
