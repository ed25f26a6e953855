"""A search's trials in Optuna's storage.

All processes that share a search share its folder, too. Whoever changes the
storage holds the lock of `sweep.json`, so trials are created and judged as if
there were one process, and a kill at any moment leaves a state to go on from.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
import contextlib
import os
import secrets
from typing import Any, NamedTuple
import warnings

from rnnvae_jax.config import build, space
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers

FILE, JOURNAL, LOCK = 'sweep.json', 'trials.log', 'sweep.lock'
RUNNING, COMPLETE, PRUNED, FAILED = 'running', 'complete', 'pruned', 'failed'
# Of a trial's user attributes, before the update that the figures are of.
_FIGURES = 'figures at '
_MISSES = 100  # Proposals that are not legal, after which there are no more.


class Trial(NamedTuple):
  """A trial as it is recorded.

  Attributes:
    number: from 0.
    phase: 'random', 'grid' or 'tpe'.
    cohort: trials that were proposed together have the same, from 0.
    of: how many they are.
    params: by key.
    state: RUNNING, COMPLETE, PRUNED or FAILED.
    figures: by update, those of the best validation until then.
  """

  number: int
  phase: str
  cohort: int
  of: int
  params: Mapping[str, Any]
  state: str
  figures: Mapping[int, Mapping[str, float]]

  @property
  def last(self) -> Mapping[str, float]:
    """The latest figures; {} if there are none."""
    return self.figures[max(self.figures)] if self.figures else {}


def lack(figures: Mapping[str, float], sweep: space.Sweep) -> dict[str, float]:
  """By figure that has a bound, how much it is below; at most 0: nothing."""
  return {name: bound - figures[name] for name, bound in sweep.at_least.items()}


def rank(
  figures: Mapping[str, float], sweep: space.Sweep
) -> tuple[float, float]:
  """What sorts trials from the best to the worst.

  Trials that reach all bounds come first, by the search's figure; the others
  follow by how much they lack.
  """
  lacking = sum(max(0.0, value) for value in lack(figures, sweep).values())
  value = figures[sweep.figure]
  return lacking, -value if sweep.maximise else value


class Study:
  """The trials of the search in a folder."""

  def __init__(self, sweep: space.Sweep, workdir: str, name: str, address: str):
    """Opens the storage; creates the study if it is not there.

    Args:
      sweep: the search.
      workdir: its folder.
      name: of the study in the storage.
      address: of a database; '': a journal in the folder.
    """
    self._optuna = _import_optuna()
    self._sweep, self._workdir = sweep, workdir
    with self.locked():
      self._study = self._optuna.create_study(
        study_name=name,
        storage=address or self._journal(),
        sampler=self._optuna.samplers.RandomSampler(),  # Not used.
        direction='maximize' if sweep.maximise else 'minimize',
        load_if_exists=True,
      )

  def _journal(self) -> Any:
    path = os.path.join(self._workdir, JOURNAL)
    _cut_torn(path)
    journal = self._optuna.storages.journal
    # Only its own lock would outlive a kill, for half a minute.
    with contextlib.suppress(FileNotFoundError):
      os.remove(f'{path}.lock')
    return self._optuna.storages.JournalStorage(
      journal.JournalFileBackend(path)
    )

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Waits until no other process changes the trials."""
    with workdir_lib.flock(lock_path(self._workdir), waits=True):
      yield

  def trials(self) -> list[Trial]:
    """All trials, in the order of their numbers."""
    states = self._optuna.trial.TrialState
    names = {
      states.COMPLETE: COMPLETE,
      states.PRUNED: PRUNED,
      states.FAIL: FAILED,
    }
    return [
      Trial(
        number=trial.number,
        phase=trial.user_attrs['phase'],
        cohort=trial.user_attrs['cohort'],
        of=trial.user_attrs['of'],
        params=trial.params,
        state=names.get(trial.state, RUNNING),
        figures={
          int(name.removeprefix(_FIGURES)): value
          for name, value in trial.user_attrs.items()
          if name.startswith(_FIGURES)
        },
      )
      for trial in self._study.get_trials(deepcopy=False)
      if 'cohort' in trial.user_attrs  # Not one that another program has made.
    ]

  def add(
    self, phase: str, cohort: int, of: int, params: Mapping[str, Any]
  ) -> None:
    """Adds a trial; see `Trial` for the arguments."""
    self._study.add_trial(
      self._optuna.trial.create_trial(
        state=self._optuna.trial.TrialState.RUNNING,
        params=dict(params),
        distributions=self._distributions(),
        user_attrs={'phase': phase, 'cohort': cohort, 'of': of},
      )
    )

  def propose(
    self,
    count: int,
    seeds: Iterator[int],
    legal: Callable[[Any], bool],
    learnt_from: Collection[int] | None = None,
  ) -> list[dict[str, Any]]:
    """Asks Optuna for the parameters of trials.

    Args:
      count: of trials.
      seeds: one a proposal, which depends on nothing else.
      legal: whether a trial can have these parameters; else another proposal
        takes their place.
      learnt_from: the numbers of the trials that a tree-structured Parzen
        estimator proposes from; None: proposals are random.

    Returns:
      The parameters of each trial, all different; fewer than `count` where a
      hundred proposals one after another were not legal.
    """
    samplers = self._optuna.samplers
    # A copy of the study, so that only whole trials are ever in the storage.
    asked = self._optuna.create_study(direction=self._study.direction)
    if learnt_from is not None:
      history = self._study.get_trials(deepcopy=False)
      asked.add_trials(t for t in history if t.number in learnt_from)
    found: list[dict[str, Any]] = []
    misses = 0
    while len(found) < count and misses < _MISSES:
      is_random = learnt_from is None
      make = samplers.RandomSampler if is_random else samplers.TPESampler
      asked.sampler = make(seed=next(seeds))
      trial = asked.ask(self._distributions())
      if legal(trial.params) and trial.params not in found:
        found.append(trial.params)
        misses = 0
      else:
        asked.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        misses += 1
    return found

  def reach(self, number: int, step: int, figures: Mapping[str, float]) -> None:
    """Records a trial's figures after an update."""
    value = figures[self._sweep.figure]
    trial = self._trial(number)
    if step not in trial.storage.get_trial(trial._trial_id).intermediate_values:
      trial.report(value, step)
    trial.set_user_attr(f'{_FIGURES}{step}', dict(figures))

  def end(self, trial: Trial, state: str) -> None:
    """Ends a trial: COMPLETE, PRUNED or FAILED."""
    states = self._optuna.trial.TrialState
    values = {}
    if state != FAILED:
      ours = self._trial(trial.number)
      for name, value in lack(trial.last, self._sweep).items():
        if name not in ours.constraints:  # Before a kill.
          ours.set_constraint(name, value)
    if state == COMPLETE:
      values['values'] = trial.last[self._sweep.figure]
    self._study.tell(
      trial.number,
      state={
        COMPLETE: states.COMPLETE,
        PRUNED: states.PRUNED,
        FAILED: states.FAIL,
      }[state],
      **values,
    )

  def importances(self) -> dict[str, float]:
    """By key, its share of what makes trials good; {} if that is not known.

    It is not known where Optuna warns, such as of too few complete trials.
    """
    with warnings.catch_warnings():
      warnings.simplefilter('error', UserWarning)
      try:
        return self._optuna.importance.get_param_importances(self._study)
      except (UserWarning, ValueError):
        return {}

  def _trial(self, number: int) -> Any:
    found = self._study.get_trials(deepcopy=False)[number]
    return self._optuna.trial.Trial(self._study, found._trial_id)

  def _distributions(self) -> dict[str, Any]:
    return {
      key: self._distribution(key, domain)
      for key, domain in self._sweep.space.items()
    }

  def _distribution(self, key: str, domain: space.Choices | space.Range) -> Any:
    kinds = self._optuna.distributions
    if isinstance(domain, space.Choices):
      return kinds.CategoricalDistribution(domain.values)
    default = build.keys_of(self._sweep.config).keys[key].default
    if isinstance(default, int):
      return kinds.IntDistribution(
        int(domain.low), int(domain.high), log=domain.log
      )
    return kinds.FloatDistribution(domain.low, domain.high, log=domain.log)


def open_study(sweep: space.Sweep, workdir: str, address: str = '') -> Study:
  """The study of the search in a folder, which it is checked against.

  Args:
    sweep: the search.
    workdir: its folder.
    address: of a database that has the trials; '': a journal in the folder.

  Raises:
    ImportError: Optuna is not installed.
    ValueError: the folder has a run or another search.
  """
  _import_optuna()
  workdir_lib.check_place(workdir)
  if os.path.exists(os.path.join(workdir, workdir_lib.CONFIG)):
    raise ValueError(
      f'{workdir} holds a run, not a search. Choose another --workdir.'
    )
  os.makedirs(workdir, exist_ok=True)
  with open(lock_path(workdir), 'a'):
    pass
  with workdir_lib.flock(lock_path(workdir), waits=True):
    path = os.path.join(workdir, FILE)
    ours = _described(sweep)
    if os.path.exists(path):
      theirs = workdir_lib.read_json(path)
      _check_same(ours, theirs, workdir, address)
    else:
      name = f'sweep-{secrets.token_hex(4)}' if address else 'sweep'
      where = 'database' if address else 'journal'
      theirs = {'study': name, 'storage': where} | ours
      writers.write_json(path, theirs)
  return Study(sweep, workdir, theirs['study'], address)


def lock_path(workdir: str) -> str:
  return os.path.join(workdir, LOCK)


def _described(sweep: space.Sweep) -> dict[str, Any]:
  """What cannot change while a search goes on."""
  return {
    'config': build.flatten(sweep.config),
    'space': {
      key: list(domain.values)
      if isinstance(domain, space.Choices)
      else domain._asdict()
      for key, domain in sweep.space.items()
    },
    'figure': sweep.figure,
    'maximise': sweep.maximise,
    'at_least': dict(sweep.at_least),
    'seed': sweep.seed,
    'halving': sweep.halving,
    'first': sweep.first,
  }


def _check_same(
  ours: Mapping[str, Any],
  theirs: Mapping[str, Any],
  workdir: str,
  address: str,
) -> None:
  differing = [
    f'{name}: {theirs.get(name)!r} there, {ours[name]!r} here'
    for name in ours
    if name != 'config' and theirs.get(name) != ours[name]
  ]
  differing += build.differences(ours['config'], theirs.get('config', {}))
  where = 'database' if address else 'journal'
  if theirs.get('storage') != where:
    differing.append(
      f'storage: a {theirs.get("storage")} there, a {where} here'
    )
  if differing:
    raise ValueError(
      f'{workdir} holds another search:\n  '
      + '\n  '.join(differing)
      + '\nThe numbers of trials, finalists and seeds may change; for anything '
      'else choose another --workdir.'
    )


def _cut_torn(path: str) -> None:
  """Cuts off a last line of the journal that a kill has left incomplete."""
  if not os.path.exists(path):
    return
  with open(path, 'r+b') as file:
    content = file.read()
    file.truncate(content.rfind(b'\n') + 1)


def _import_optuna() -> Any:
  try:
    import optuna
    import optuna.importance
  except ImportError as error:
    raise ImportError(
      f'--mode=sweep needs Optuna, which cannot be imported ({error}): '
      "pip install 'rnnvae_jax[sweep]'"
    ) from error
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  return optuna
