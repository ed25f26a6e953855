"""How soon the explorer answers, over HTTP on this machine.

  python -m rnnvae_jax.main --config=gru_vae:grammar --workdir=runs/grammar
  python -m benchmarks.explorer --workdir=runs/grammar --json=explorer.json

Each question is asked again and again by one reader, then by twenty at once.
"""

from concurrent import futures
import json
import signal
import time

from absl import app, flags
import numpy as np

from benchmarks import harness
from tests.web import server_test

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
_TEXT, _OTHER = 'the cook tasted the soup .', 'a teacher did not explain .'
_QUESTIONS = {
  'sentence': (_TEXT,),
  'blend': (_TEXT, _OTHER, 0.4),
  'move': (_TEXT, 0, 1.5),
  'write': ('the', 1.0, 0.9, 0),
  'nats': (_TEXT,),
}
_TIMES, _READERS = 50, 20


def milliseconds(seconds) -> dict[str, float]:
  median, high = np.percentile(seconds, [50, 95])
  return {'median_ms': 1e3 * float(median), 'p95_ms': 1e3 * float(high)}


def main(argv):
  del argv
  explorer = server_test.Explorer(WORKDIR.value)
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
  flags.mark_flag_as_required('workdir')
  app.run(main)
