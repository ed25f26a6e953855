"""How far a run is and how fast: a bar on a terminal, lines in a log file."""

import collections
from collections.abc import Callable, Iterator, Mapping
import contextlib
import datetime
import time

import rich.console
import rich.progress
import rich.table

WINDOW = 10.0  # Seconds over which the speed is averaged.
# Values that metrics.jsonl has, and that say little while one watches.
_FIRST = 3  # Values that stand before the speed and the time left.
_NOT_SHOWN = ('tokens', 'grad_norm', 'learning_rate')


class Progress:
  """Shows step, real tokens per second, time spent, time left and values.

  A context manager. Where nobody watches (a log file, continuous integration)
  it prints a plain line every `interval` seconds, and one at the end.

  Neither the first call of the step, which compiles, nor what happens inside
  `pause` counts for the speed and the time left.
  """

  def __init__(
    self,
    total_steps: int,
    start_step: int = 0,
    *,
    interval: float = 30.0,
    console: rich.console.Console | None = None,
    clock: Callable[[], float] = time.monotonic,
    is_shown: bool = True,
  ):
    """`clock` returns seconds; `interval` is in seconds."""
    self._total_steps = total_steps
    self._interval = interval
    self._console = console or rich.console.Console(quiet=not is_shown)
    self._clock = clock
    self._start = self._last_line = clock()
    self._paused = 0.0
    self._tokens = 0
    # (seconds without pauses, steps done, tokens seen), the oldest first.
    self._history: collections.deque[tuple[float, int, int]]
    self._history = collections.deque()
    self._status = ''
    self._unprinted = False
    self._bar = rich.progress.Progress(
      # Without `no_wrap` a narrow terminal cuts the bar, not the text.
      rich.progress.BarColumn(
        bar_width=10,
        table_column=rich.table.Column(min_width=10, no_wrap=True),
      ),
      rich.progress.TextColumn('{task.description}', markup=False),
      console=self._console,
      disable=not self._console.is_interactive,
      get_time=clock,
    )
    self._task = self._bar.add_task(
      'compiling', total=total_steps, completed=start_step
    )

  def __enter__(self) -> 'Progress':
    self._bar.start()
    return self

  def __exit__(self, *unused: object) -> None:
    self._bar.stop()
    if self._unprinted:
      self.log(self._status)

  def update(self, step: int, tokens: int, values: Mapping[str, float]) -> None:
    """Shows the state of the run after a call of the fused step.

    Args:
      step: the number of updates done since the run began.
      tokens: real tokens seen since the last update, padding not counted.
      values: the latest ones, the most important first; `train/loss` is shown
        as `loss`.
    """
    now = self._clock()
    self._tokens += tokens
    self._history.append((now - self._paused, step, self._tokens))
    while (
      len(self._history) > 2
      and self._history[0][0] < self._history[-1][0] - WINDOW
    ):
      self._history.popleft()
    # What matters least is last: a narrow terminal cuts it off.
    named = [
      (name.rpartition('/')[-1], value) for name, value in values.items()
    ]
    shown = [
      f'{_short(name)} {value:.4g}'
      for name, value in named
      if name not in _NOT_SHOWN
    ]
    parts = [f'{step:,}/{self._total_steps:,}', *shown[:_FIRST]]
    parts += self._speed_and_time_left()
    parts += shown[_FIRST:]
    parts.append(f'{_duration(now - self._start)} spent')
    self._status = '  '.join(parts)
    self._bar.update(self._task, completed=step, description=self._status)
    self._unprinted = not self._console.is_interactive
    if self._unprinted and now - self._last_line >= self._interval:
      self._last_line = now
      self._unprinted = False
      self.log(self._status)

  def log(self, message: str) -> None:
    """Prints a line, above the bar where there is one."""
    self._console.print(message, markup=False, highlight=False, soft_wrap=True)

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """The time of the block, an evaluation say, is not training time."""
    start = self._clock()
    try:
      yield
    finally:
      self._paused += self._clock() - start

  def _speed_and_time_left(self) -> list[str]:
    (since, first_step, first_tokens), (until, step, tokens) = (
      self._history[0],
      self._history[-1],
    )
    seconds, steps = until - since, step - first_step
    if seconds <= 0 or steps <= 0:
      return []
    left = (self._total_steps - step) * seconds / steps
    return [
      f'{(tokens - first_tokens) / seconds:,.0f} tokens/s',
      f'{_duration(left)} left',
    ]


@contextlib.contextmanager
def counter(
  what: str,
  *,
  interval: float = 30.0,
  console: rich.console.Console | None = None,
  clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int, int], None]]:
  """Gives `report(done, total)` for a task that is over in minutes.

  On a terminal it shows a bar that vanishes at the end, elsewhere it prints a
  plain line every `interval` seconds; both with the time left.
  """
  console = console or rich.console.Console()
  start = last_line = clock()
  with rich.progress.Progress(
    *rich.progress.Progress.get_default_columns(),
    console=console,
    disable=not console.is_interactive,
    get_time=clock,
    transient=True,
  ) as bar:
    task = bar.add_task(what, total=None)

    def report(done: int, total: int) -> None:
      nonlocal last_line
      bar.update(task, completed=done, total=total)
      if not console.is_interactive and clock() - last_line >= interval:
        last_line = clock()
        left = _duration((last_line - start) / done * (total - done))
        console.print(
          f'{what}  {done:,}/{total:,}  {left} left', highlight=False
        )

    yield report


def _short(name: str) -> str:
  """`kl_per_sentence` as `kl`: the bar has little room."""
  return name.removesuffix('_per_sentence')


def _duration(seconds: float) -> str:
  return str(datetime.timedelta(seconds=round(seconds)))
