"""Components that register themselves by lying in a folder of the package.

Tasks, cells, corpora and commands are found this way: adding one is adding a
module, and no list elsewhere names it.
"""

from collections.abc import Iterator, Mapping
import functools
import importlib
import pkgutil
from types import ModuleType

from rnnvae_jax import errors


class Registry(Mapping[str, ModuleType]):
  """The modules of a package by name, each imported when it is first asked for.

  The module `base` holds the contract that the others fulfil; it is no member,
  nor are modules whose name begins with an underscore.
  """

  def __init__(self, package: str, kind: str):
    """Creates a registry.

    Args:
      package: dotted name of the package that holds the modules.
      kind: what a module is, for messages: 'task', 'cell', ...
    """
    self._package = package
    self._kind = kind

  @functools.cached_property
  def _names(self) -> tuple[str, ...]:
    path = importlib.import_module(self._package).__path__
    names = (module.name for module in pkgutil.iter_modules(path))
    return tuple(
      sorted(n for n in names if n != 'base' and not n.startswith('_'))
    )

  def __getitem__(self, name: str) -> ModuleType:
    """The module of that name.

    Raises:
      KeyError: there is none; the message lists the known names.
    """
    if name not in self._names:
      raise KeyError(errors.unknown(self._kind, name, self._names))
    return importlib.import_module(f'{self._package}.{name}')

  def __contains__(self, name: object) -> bool:
    return name in self._names  # Without importing the module.

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)
