"""How soon the explorer answers, over HTTP on this machine.

  python -m rnnvae_jax.main --config=gru_vae:grammar --workdir=runs/grammar
  python -m benchmarks.explorer --workdir=runs/grammar --json=explorer.json

Each question is asked again and again by one reader, then by twenty at once.
"""

from concurrent import futures
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

from absl import app, flags
import numpy as np

from benchmarks import harness
import rnnvae_jax

_ROOT = os.path.dirname(os.path.dirname(rnnvae_jax.__file__))
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TEXT, _OTHER = 'the cook tasted the soup .', 'a teacher did not explain .'
_QUESTIONS = {
  'sentence': (_TEXT,),
  'blend': (_TEXT, _OTHER, 0.4),
  'move': (_TEXT, 0, 1.5),
  'write': ('the', 1.0, 0.9, 0),
  'nats': (_TEXT,),
}
_TIMES, _READERS = 50, 20


class Explorer:
  """A process that serves a run."""

  def __init__(self, workdir):
    self.process = subprocess.Popen(
      [
        *(sys.executable, '-m', 'rnnvae_jax.main', '--mode=explore'),
        *(f'--workdir={workdir}', '--port=0'),
      ],
      cwd=_ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    line = self.process.stdout.readline()
    (self.address,) = re.findall(r'http://127\.0\.0\.1:\d+', line)

  def open(self, path, data=None, **headers):
    request = urllib.request.Request(f'{self.address}{path}', data, headers)
    return _OPENER.open(request, timeout=60)

  def ask(self, name, *values):
    """The values of an answer's fields, and its seconds."""
    begun = time.perf_counter()
    path = f'/gradio_api/call/{name}'
    data = json.dumps({'data': values}).encode()
    with self.open(path, data, **{'Content-Type': 'application/json'}) as found:
      event = json.load(found)['event_id']
    with self.open(f'{path}/{event}') as found:
      lines = found.read().decode().split('\n')
    seconds = time.perf_counter() - begun
    assert lines[0] == 'event: complete', lines
    return json.loads(lines[1].removeprefix('data: ')), seconds

  def stop(self, signal_number):
    self.process.send_signal(signal_number)
    rest = self.process.stdout.read()
    return self.process.wait(30), rest


def milliseconds(seconds) -> dict[str, float]:
  median, high = np.percentile(seconds, [50, 95])
  return {'median_ms': 1e3 * float(median), 'p95_ms': 1e3 * float(high)}


def main(argv):
  del argv
  explorer = Explorer(flags.FLAGS.workdir)
  ours = {}
  for name, values in _QUESTIONS.items():
    found = [explorer.ask(name, *values)[1] for _ in range(_TIMES)]
    ours[name] = milliseconds(found)
  values = _QUESTIONS['sentence']
  begun = time.perf_counter()
  with futures.ThreadPoolExecutor(_READERS) as pool:
    asked = [pool.submit(explorer.ask, 'sentence', *values) for _ in range(20)]
    found = [one.result()[1] for one in asked]
  ours['twenty readers at once, sentence'] = milliseconds(found) | {
    'all_ms': 1e3 * (time.perf_counter() - begun)
  }
  explorer.stop(signal.SIGTERM)
  print(json.dumps(ours, indent=2))
  environment = harness.environment(questions_of_each=_TIMES)
  harness.write(
    {'ours': ours, 'peers': {}, 'ratio': {}, 'environment': environment}
  )


if __name__ == '__main__':
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  app.run(main)
