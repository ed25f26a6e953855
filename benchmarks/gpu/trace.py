r"""The kernels of training steps, their times, and the memory that they need.

  python -m benchmarks.gpu.trace --corpus=ptb --json=trace.json

Trains two blocks of 20 updates of the GRU sentence VAE, the second under JAX's
profiler, and adds up the time of each kernel on the device. `repeats` says
whether the first block trained again agrees bit for bit. `busy_us` is the
sum of all, `span_us` the time from the first kernel to the end of the last, an
update: the difference is waiting, unless kernels run side by side.
"""

import collections
import pathlib
import tempfile
import time
from typing import Any

from absl import app
import jax
import numpy as np

from benchmarks import harness, ours, recipe

_MOST = 40  # Kernels that are listed, those with the longest times.


def measure() -> dict[str, Any]:
  """Traces a block of updates."""
  config = ours.make_config(
    ours.CORPUS.value,
    ours.HIDDEN_SIZE.value,
    ours.BATCH_SIZE.value,
    harness.PRECISION.value,
  )
  config.model.backend = ours.BACKEND.value
  trainer = ours.make_trainer(config)
  start = time.time()
  losses = jax.device_get(trainer.run(0))
  first = time.time() - start
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(trainer.run(1))
    (path,) = pathlib.Path(folder).rglob('*.xplane.pb')
    planes = jax.profiler.ProfileData.from_file(str(path)).planes
    figures = kernels(planes, recipe.STEPS_PER_BLOCK)
  again = jax.device_get(ours.make_trainer(config).run(0))
  statistics = jax.devices()[0].memory_stats() or {}  # None on a CPU.
  return figures | {
    'first_block_seconds': first,
    'repeats': bool(np.array_equal(losses, again)),
    'peak_bytes': statistics.get('peak_bytes_in_use'),
  }


def kernels(planes: Any, updates: int) -> dict[str, Any]:
  """Times on the device, in us an update."""
  events = [
    event
    for plane in planes
    if 'GPU' in plane.name
    for line in plane.lines
    if 'Stream' in line.name
    for event in line.events
  ]
  if not events:
    return {'kernels': None, 'reason': 'The profiler saw no GPU.'}
  seconds: dict[str, float] = collections.defaultdict(float)
  for event in events:
    seconds[event.name] += event.duration_ns
  number = collections.Counter(event.name for event in events)
  start = min(event.start_ns for event in events)
  end = max(event.start_ns + event.duration_ns for event in events)
  scale = 1e-3 / updates
  longest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:_MOST]
  return {
    'kernels': len(events) / updates,
    'busy_us': scale * sum(seconds.values()),
    'span_us': scale * (end - start),
    'longest': {
      name: {'us': scale * seconds[name], 'times': number[name] / updates}
      for name in longest
    },
  }


def main(_) -> None:
  figures = measure()
  print(figures, flush=True)
  harness.write(
    {
      'ours': figures,
      'environment': harness.environment(
        corpus=ours.CORPUS.value,
        backend=ours.BACKEND.value,
        batch_size=ours.BATCH_SIZE.value,
      ),
    }
  )


if __name__ == '__main__':
  app.run(main)
