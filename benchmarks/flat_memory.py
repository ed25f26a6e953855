r"""Whether a long training keeps its memory: a run that is watched for an hour.

  python -m benchmarks.flat_memory --minutes=60 --json=flat_memory.json \
    --plot=flat_memory.png

A small model trains, validates, draws a sample and saves checkpoints again and
again, as often as the time allows, so that whatever a call, a validation or a
checkpoint leaves behind adds up. Memory is what the process has to itself
(`RssAnon` of Linux). `megabytes_per_hour` is the slope of a straight line
through the later three quarters of the time, `megabytes` the median of the
first and of the last tenth of these.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np

from benchmarks import harness
from rnnvae_jax.analysis import plots
from rnnvae_jax.training import stopping

_MINUTES = flags.DEFINE_float('minutes', 60.0, 'How long a run is watched.')
_CONFIG = flags.DEFINE_string('config', 'gru_vae:tiny', 'Config of the run.')
_PLOT = flags.DEFINE_string('plot', '', 'PNG to draw.')
_EVERY = 240  # Steps between two validations, each with a checkpoint.
_STEPS = 720_720_000  # A multiple of any number of steps of a call; never done.
_POINTS = 400  # That the report keeps.


def main(_) -> None:
  with tempfile.TemporaryDirectory() as folder:
    seconds, megabytes = _watched(folder)
    path = pathlib.Path(folder, 'run', 'metrics.jsonl')
    records = [json.loads(line) for line in path.read_text().splitlines()]
  steps = max(record['step'] for record in records)
  later = seconds >= _MINUTES.value * 60 / 4
  tenth = max(later.sum() // 10, 1)
  every = -(-len(seconds) // _POINTS)
  slope = np.polyfit(seconds[later] / 3600, megabytes[later], 1)[0]
  ours = {
    'minutes': _MINUTES.value,
    'steps': steps,
    'validations': steps // _EVERY,
    'megabytes': {
      'begin': float(np.median(megabytes[later][:tenth])),
      'end': float(np.median(megabytes[later][-tenth:])),
      'highest': float(megabytes.max()),
    },
    'megabytes_per_hour': float(slope),
    'watched': np.stack([seconds, megabytes], axis=1)[::every]
    .round(1)
    .tolist(),
  }
  report = {
    'ours': ours,
    'peers': {},
    'ratio': {},
    'environment': harness.environment(config=_CONFIG.value),
  }
  memory = ours['megabytes']
  row = {
    'steps': f'{steps:,}',
    'MB at first': f'{memory["begin"]:.1f}',
    'MB at last': f'{memory["end"]:.1f}',
    'MB an hour': f'{slope:+.2f}',
  }
  harness.publish('Memory of a long training', {'training': row}, report)
  if _PLOT.value:
    _draw(seconds / 60, megabytes, slope)


def _watched(folder: str) -> tuple[np.ndarray, np.ndarray]:
  """Seconds since the start and megabytes, once a second, of a run."""
  command = [
    *(sys.executable, '-m', 'rnnvae_jax.main', f'--config={_CONFIG.value}'),
    *(f'--workdir={folder}/run', f'--config.train.num_steps={_STEPS}'),
    f'--config.train.eval_every={_EVERY}',
  ]
  found = []
  with (
    open(os.path.join(folder, 'log'), 'w', encoding='utf-8') as log,
    subprocess.Popen(
      command,
      env=harness.importing_environment(),
      stdout=log,
      stderr=subprocess.STDOUT,
    ) as process,
  ):
    start = time.monotonic()
    while time.monotonic() - start < _MINUTES.value * 60:
      time.sleep(1)
      if process.poll() is not None:
        break
      found.append(
        (
          time.monotonic() - start,
          harness.private_kilobytes(process.pid) / 1e3,
        )
      )
    process.send_signal(signal.SIGTERM)
    status = process.wait()
  if status != stopping.RESUME:
    text = pathlib.Path(folder, 'log').read_text()
    raise ValueError(f'The run ended with status {status}: {text[-2000:]}')
  seconds, megabytes = np.array(found).T
  return seconds, megabytes


def _draw(minutes: np.ndarray, megabytes: np.ndarray, slope: float) -> None:
  figure, axes = plots.pyplot().subplots(figsize=(6, 3), layout='constrained')
  axes.plot(minutes, megabytes, linewidth=1)
  axes.set_ylim(0, 1.2 * megabytes.max())
  axes.set_xlabel('minutes')
  axes.set_ylabel('memory of the process, MB')
  axes.set_title(f'{slope:+.1f} MB an hour')
  plots.save(figure, _PLOT.value)


if __name__ == '__main__':
  app.run(main)
