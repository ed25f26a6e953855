"""Metrics, events, JSON and text survive kills and full disks."""

from concurrent import futures
import glob
import json
import math
import os
import stat
import struct
from unittest import mock

from absl.testing import absltest, parameterized
import jax.numpy as jnp
from tensorboardX.proto import event_pb2

from rnnvae_jax.training import writers


def read_lines(path):
  with open(path, encoding='utf-8') as file:
    return [json.loads(line, parse_constant=_refuse) for line in file]


def _refuse(constant):
  raise ValueError(f'{constant} is not JSON')


def read_events(workdir):
  """Events of all files, by the TFRecord layout: length, sum, data, sum."""
  events = []
  for path in sorted(glob.glob(os.path.join(workdir, 'events.out.*'))):
    with open(path, 'rb') as file:
      while header := file.read(12):
        (length,) = struct.unpack('<Q', header[:8])
        events.append(event_pb2.Event.FromString(file.read(length)))
        file.read(4)
  return events


class WriterTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = os.path.join(self.create_tempdir(), 'run')
    self.metrics = os.path.join(self.workdir, 'metrics.jsonl')

  def test_a_line_is_on_disk_when_write_returns(self):
    with writers.Writer(self.workdir) as writer:
      with mock.patch.object(writers.time, 'time', return_value=1.5):
        writer.write(3, {'loss': jnp.float32(2.5), 'kl': 0})
      self.assertEqual(
        read_lines(self.metrics),
        [{'step': 3, 'time': 1.5, 'loss': 2.5, 'kl': 0.0}],
      )

  @parameterized.parameters(math.nan, math.inf, -math.inf)
  def test_what_json_cannot_say_comes_back_through_float(self, value):
    with writers.Writer(self.workdir) as writer:
      writer.write(3, {'loss': value})
    (line,) = read_lines(self.metrics)
    self.assertEqual(repr(float(line['loss'])), repr(value))

  def test_tensorboard_gets_the_scalars(self):
    with writers.Writer(self.workdir) as writer:
      writer.write(3, {'train/loss': 2.5, 'train/kl': 0.25})
    _, scalars = read_events(self.workdir)
    self.assertEqual(scalars.step, 3)
    self.assertEqual(
      {value.tag: value.simple_value for value in scalars.summary.value},
      {'train/loss': 2.5, 'train/kl': 0.25},
    )

  def test_a_resumed_run_overwrites_no_events_of_the_first(self):
    for step in (1, 2):
      with writers.Writer(self.workdir) as writer:
        writer.write(step, {'loss': 1.0})
    steps = [event.step for event in read_events(self.workdir) if event.step]
    self.assertEqual(steps, [1, 2])

  def test_a_resumed_run_drops_the_steps_it_will_write_again(self):
    with writers.Writer(self.workdir) as writer:
      for step in (10, 20, 30):
        writer.write(step, {'loss': step})
    with open(self.metrics, 'a') as file:
      file.write('{"step": 15, "lo')  # A kill in the middle of a line.
    with writers.Writer(self.workdir) as writer:
      writer.truncate(20)
      writer.write(30, {'loss': -1.0})
    lines = [(x['step'], x['loss']) for x in read_lines(self.metrics)]
    self.assertEqual(lines, [(10, 10.0), (20, 20.0), (30, -1.0)])
    restarts = [
      event.step
      for event in read_events(self.workdir)
      if event.session_log.status == event_pb2.SessionLog.START
    ]
    self.assertEqual(restarts, [21])

  def test_a_line_that_was_cut_and_then_continued_is_dropped(self):
    os.makedirs(self.workdir)
    with open(self.metrics, 'w') as file:
      file.write(
        '{"step": 1}\n{"ste{"step": 2}\n[]\n{"loss": 1}\n{"step": 3}\n'
      )
    with writers.Writer(self.workdir) as writer:
      writer.truncate(5)
    self.assertEqual(read_lines(self.metrics), [{'step': 1}, {'step': 3}])

  def test_truncating_cuts_an_event_that_a_kill_has_left_incomplete(self):
    with writers.Writer(self.workdir) as writer:
      writer.write(1, {'loss': 2.5})
    (path,) = glob.glob(os.path.join(self.workdir, 'events.out.*'))
    with open(path, 'rb') as file:
      whole = file.read()
    for torn in (whole[:7], whole[:20]):
      with open(path, 'wb') as file:
        file.write(whole + torn)
      with writers.Writer(self.workdir) as writer:
        writer.truncate(1)
      with open(path, 'rb') as file:
        self.assertEqual(file.read(), whole)

  def test_leftovers_of_killed_writers_are_deleted_and_nothing_else(self):
    os.makedirs(self.workdir)
    kept = {'config.json', 'notes.tmp', 'a.12.tmp.txt'}
    for name in (*kept, 'config.json.123.tmp'):
      with open(os.path.join(self.workdir, name), 'w'):
        pass
    writers.drop_leftovers(self.workdir)
    self.assertEqual({*os.listdir(self.workdir)}, kept)

  def test_truncating_a_new_run_does_nothing(self):
    with writers.Writer(self.workdir) as writer:
      writer.truncate(0)
    self.assertFalse(os.path.exists(self.metrics))

  def test_a_full_disk_names_the_metrics(self):
    with writers.Writer(self.workdir) as writer:
      os.symlink('/dev/full', self.metrics)
      with self.assertRaisesRegex(
        OSError, r'No space left .*\d+ bytes are needed, .*metrics.jsonl'
      ):
        writer.write(1, {'loss': 1.0})


class WriteTextTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'samples.txt')

  def test_text_is_replaced(self):
    for text in ('old and longer\n', 'néw\n'):
      writers.write_text(self.path, text)
    with open(self.path, encoding='utf-8') as file:
      self.assertEqual(file.read(), 'néw\n')
    self.assertEqual(os.listdir(self.folder), ['samples.txt'])

  def test_json_has_null_for_infinity(self):
    writers.write_json(self.path, {'a': (float('inf'), 1.0)})
    with open(self.path, encoding='utf-8') as file:
      self.assertEqual(json.load(file), {'a': [None, 1.0]})

  def test_json_comes_back(self):
    value = {'b': [1, 2.5, None], 'a': {'é': True}}
    writers.write_json(self.path, value)
    with open(self.path, encoding='utf-8') as file:
      self.assertEqual(json.load(file), value)

  def test_a_full_disk_names_the_file_and_keeps_the_old_text(self):
    writers.write_text(self.path, 'old')
    full = OSError(28, 'No space left on device')
    with (
      mock.patch.object(writers.os, 'fsync', side_effect=full),
      self.assertRaisesRegex(
        OSError,
        r'No space left .* \(3 bytes are needed, [\d,]+ bytes are free\): '
        ".*samples.txt'",
      ),
    ):
      writers.write_text(self.path, 'new')
    with open(self.path) as file:
      self.assertEqual(file.read(), 'old')
    self.assertEqual(os.listdir(self.folder), ['samples.txt'])


class OutputTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'out.txt')

  def read(self):
    with open(self.path) as file:
      return file.read()

  def test_the_permissions_of_a_file_stay(self):
    for mode in (0o600, 0o640):
      with open(self.path, 'w') as file:
        file.write('old')
      os.chmod(self.path, mode)
      writers.write_output(self.path, 'new')
      self.assertEqual(self.read(), 'new')
      self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), mode)

  def test_a_link_stays_and_its_file_is_written(self):
    link = os.path.join(self.folder, 'link')
    os.symlink(self.path, link)
    for text in ('first', 'second'):  # It leads nowhere at first.
      writers.write_output(link, text)
      self.assertTrue(os.path.islink(link))
      self.assertEqual(self.read(), text)

  def test_a_pipe_s_reader_gets_the_text(self):
    os.mkfifo(self.path)
    with futures.ThreadPoolExecutor() as pool:
      reader = pool.submit(self.read)
      writers.write_output(self.path, 'text')
      self.assertEqual(reader.result(timeout=60), 'text')
    self.assertTrue(stat.S_ISFIFO(os.stat(self.path).st_mode))

  def test_a_device_stays_a_device(self):
    link = os.path.join(self.folder, 'null')
    os.symlink(os.devnull, link)
    writers.write_output(link, 'text')
    self.assertTrue(stat.S_ISCHR(os.stat(os.devnull).st_mode))


if __name__ == '__main__':
  absltest.main()
