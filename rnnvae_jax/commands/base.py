"""The contract of a command.

A module of this package is a mode of the command line. It has

  HELP        what it does, for --help
  NEEDS       'config' (a config, to train), 'run' (a trained --workdir), or
              'workdir' (a folder to write into)
  run(context)

and may have

  CAPABILITY  what the run's task must be able to do; see `tasks.base`
  SETTINGS    ((capability, fragment), ...): its config keys, which the configs
              of tasks with that capability have
  INSTEAD     a key of its own: where it is set, a run is not needed, and the
              context's config has this mode's keys and those of `data`
  FLAGS       names of the flags that belong to it alone or to few modes

Modules are imported to list the modes: what takes long to import is imported
inside `run`.
"""

from typing import Any, NamedTuple

from rnnvae_jax import registry

REGISTRY = registry.Registry('rnnvae_jax.commands', '--mode')


class Context(NamedTuple):
  """What a command is given.

  Attributes:
    workdir: the folder of the run.
    config: of the run, overrides applied; None where the mode needs none.
    table: name of a table.
    rows: of the table; empty: all.
    seeds: how many runs.
    budget: seconds; 0: no end.
    file: the config file, with the argument after its colon; '' if none.
    storage: address of a database; '': none.
    port: to listen at; 0: one that is free.
  """

  workdir: str
  config: Any = None
  table: str = ''
  rows: tuple[str, ...] = ()
  seeds: int = 1
  budget: float = 0.0
  file: str = ''
  storage: str = ''
  port: int = 0
