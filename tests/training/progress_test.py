"""The bar and the lines, by an injected clock."""

import io

from absl.testing import absltest, parameterized
import rich.console

from rnnvae_jax.training import progress


class Clock:
  seconds = 1000.0

  def __call__(self):
    return self.seconds


def make_console(terminal, width=80):
  return rich.console.Console(
    file=io.StringIO(),
    force_terminal=terminal,
    width=width,
    color_system=None,
    _environ={'TERM': 'xterm'},
  )


class ProgressTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.clock = Clock()

  def run_steps(self, bar, calls):
    """Calls are (seconds it took, step reached, tokens seen)."""
    for seconds, step, tokens in calls:
      self.clock.seconds += seconds
      bar.update(
        step,
        tokens,
        {
          'train/loss': 4.56789,
          'train/kl_per_sentence': 0.125,
          'train/tokens': 500.0,
          'train/grad_norm': 2.5,
          'train/learning_rate': 0.001,
        },
      )

  def start(self, console, total=100, start=0, interval=30.0):
    return progress.Progress(
      total, start, interval=interval, console=console, clock=self.clock
    )

  def lines_of(self, calls, **kwargs):
    console = make_console(terminal=False)
    with self.start(console, **kwargs) as bar:
      self.run_steps(bar, calls)
    return console.file.getvalue().splitlines()

  def test_the_call_that_compiles_does_not_count_for_the_speed(self):
    # 40 s of compilation, then 10 steps and 500 tokens in 2 s.
    lines = self.lines_of([(40, 10, 500), (2, 20, 500)])
    self.assertEqual(
      lines,
      [
        '10/100  loss 4.568  kl 0.125  0:00:40 spent',
        '20/100  loss 4.568  kl 0.125  250 tokens/s  0:00:16 left  '
        '0:00:42 spent',
      ],
    )

  def test_a_pause_does_not_count_for_the_speed(self):
    console = make_console(terminal=False)
    with self.start(console) as bar:
      self.run_steps(bar, [(1, 10, 500)])
      with bar.pause():
        self.clock.seconds += 1000
      self.run_steps(bar, [(2, 20, 500)])
    line = console.file.getvalue().splitlines()[-1]
    self.assertIn('250 tokens/s  0:00:16 left', line)
    self.assertIn('0:16:43 spent', line)

  def test_the_speed_is_that_of_the_last_seconds(self):
    slow = [(1, step, 10) for step in range(1, 21)]
    fast = [(1, step, 3000) for step in range(21, 41)]
    self.assertIn('3,000 tokens/s', self.lines_of(slow + fast)[-1])

  def test_the_speed_of_calls_longer_than_the_window_is_that_of_the_last(self):
    calls = [(50, 10, 500), (50, 20, 500), (20, 30, 500)]
    self.assertIn('25 tokens/s', self.lines_of(calls)[-1])

  def test_a_log_file_gets_a_line_every_interval_and_the_last_one(self):
    calls = [(1, step, 10) for step in range(1, 101)]
    steps = [line.split('/')[0] for line in self.lines_of(calls)]
    self.assertEqual(steps, ['30', '60', '90', '100'])

  def test_a_log_file_does_not_get_the_last_line_twice(self):
    steps = [line.split('/')[0] for line in self.lines_of([(30, 10, 5)])]
    self.assertEqual(steps, ['10'])

  def test_a_run_without_updates_prints_nothing(self):
    self.assertEmpty(self.lines_of([], start=100))

  def test_a_clock_that_stands_still_gives_no_speed(self):
    (line,) = self.lines_of([(0, 10, 5), (0, 20, 5)])
    self.assertEqual(line, '20/100  loss 4.568  kl 0.125  0:00:00 spent')

  def test_a_resumed_run_is_not_credited_with_the_steps_before_it(self):
    calls = [(1, 60, 500), (2, 70, 500)]
    self.assertIn('0:00:06 left', self.lines_of(calls, start=50)[-1])

  def test_lines_are_plain_whole_and_as_given(self):
    console = make_console(terminal=False, width=20)
    message = 'step 5: [bold]valid[/bold] 4.5 nats, ' + 'x' * 100
    with self.start(console) as bar:
      bar.log(message)
    self.assertEqual(console.file.getvalue(), message + '\n')

  @parameterized.parameters(30, 80, 200)
  def test_a_terminal_shows_one_line_with_a_bar(self, width):
    console = make_console(terminal=True, width=width)
    with self.start(console) as bar:
      self.run_steps(bar, [(1, 10, 500), (2, 50, 500)])
    last = console.file.getvalue().split('\x1b[2K')[-1].splitlines()[0]
    self.assertLessEqual(len(last), width)
    self.assertIn('━━━━━', last)
    self.assertIn('50/100', last)
    if width >= 80:
      self.assertIn('loss 4.568  kl 0.125  250 tokens/s  0:00:02 left', last)

  def test_a_message_on_a_terminal_stands_above_the_bar(self):
    console = make_console(terminal=True)
    with self.start(console) as bar:
      self.run_steps(bar, [(1, 10, 500)])
      bar.log('valid 4.5')
    shown = console.file.getvalue()
    self.assertIn('valid 4.5\n', shown)
    self.assertGreater(shown.rindex('10/100'), shown.index('valid 4.5'))

  def test_the_cursor_comes_back_after_an_error(self):
    console = make_console(terminal=True)
    with self.assertRaises(KeyboardInterrupt), self.start(console):
      raise KeyboardInterrupt
    self.assertEndsWith(console.file.getvalue(), '\x1b[?25h')


class CounterTest(absltest.TestCase):
  def test_a_log_file_gets_a_line_every_interval(self):
    console, clock = make_console(terminal=False), Clock()
    with progress.counter('test', console=console, clock=clock) as report:
      for done in range(1, 1001):
        clock.seconds += 0.125
        report(done, 1000)
    self.assertEqual(
      console.file.getvalue().splitlines(),
      [
        'test  240/1,000  0:01:35 left',
        'test  480/1,000  0:01:05 left',
        'test  720/1,000  0:00:35 left',
        'test  960/1,000  0:00:05 left',
      ],
    )

  def test_a_terminal_gets_a_bar(self):
    console = make_console(terminal=True)
    with progress.counter('test', console=console, clock=Clock()) as report:
      report(25, 100)
    self.assertIn('test', console.file.getvalue())
    self.assertIn(' 25%', console.file.getvalue())


if __name__ == '__main__':
  absltest.main()
