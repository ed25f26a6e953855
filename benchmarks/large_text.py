r"""Training on more text than memory should hold: speed and memory.

  python -m benchmarks.large_text --gigabytes=2 --json=large_text.json

A text is made of words by Zipf's law, indexed, and a GRU language model trains
on the index; in turns with it, the same model trains on the first 20 MB of the
text in memory, with the same words; with --stream both read their text as one
stream. Memory is what a process has to itself
(`RssAnon` of Linux), at its highest; of indexing the sum of all its processes.
Pages of files that are read are not counted, as the system takes them back when
it needs them.
"""

import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from absl import app, flags
import numpy as np

from benchmarks import harness

_GIGABYTES = flags.DEFINE_float('gigabytes', 2.0, 'Size of the text.')
_STEPS = flags.DEFINE_integer('steps', 600, 'Updates of a training.')
_STREAM = flags.DEFINE_boolean(
  'stream', False, 'Whether the text is read as one stream.'
)
_FOLDER = flags.DEFINE_string(
  'folder', '', "Where text and index are made; '': a temporary folder."
)
_WORDS = 30_000
_SMALL_BYTES = 20_000_000
_PAGE = 0.05  # Seconds between two looks at the memory.


def main(_) -> None:
  with tempfile.TemporaryDirectory(dir=_FOLDER.value or None) as name:
    folder = pathlib.Path(name)
    size = int(_GIGABYTES.value * 1e9)
    _make_text(folder / 'large', size)
    _make_text(folder / 'small', min(size, _SMALL_BYTES))
    reading = (
      '--config.corpus.protocol=mikolov',
      f'--config.corpus.stream={_STREAM.value}',
    )
    index = _run(
      *('--mode=index', f'--config=gru_lm:{folder}/large', *reading),
      f'--workdir={folder}/index',
    )
    described = json.loads((folder / 'index' / 'index.json').read_text())
    tokens = described['splits']['train']['tokens']
    turns: dict[str, list[dict[str, float]]] = {'index': [], 'memory': []}
    for turn in range(harness.REPETITIONS.value):
      for kind, text in (('index', 'index'), ('memory', 'small')):
        workdir = folder / f'run_{kind}_{turn}'
        figures = _run(
          *(f'--config=gru_lm:{folder}/{text}', f'--workdir={workdir}'),
          *reading,
          f'--config.train.num_steps={_STEPS.value}',
          f'--config.train.eval_every={_STEPS.value}',
          '--config.evaluate.split=none',
        )
        figures['tokens_per_second'] = _speed(workdir)
        turns[kind].append(figures)
        shutil.rmtree(workdir)
  spread = {
    kind: {
      key: harness.spread([figures[key] for figures in found])
      for key in found[0]
    }
    for kind, found in turns.items()
  }
  speed = lambda kind: np.array(
    [figures['tokens_per_second'] for figures in turns[kind]]
  )
  report = {
    'ours': {
      'text': {'bytes': size, 'tokens': tokens},
      'indexing': index | {'tokens_per_second': tokens / index['seconds']},
      **spread,
    },
    'peers': {},
    'ratio': {
      'speed_on_index_over_memory': float(
        np.median(speed('index') / speed('memory'))
      )
    },
    'environment': harness.environment(),
  }
  rows = {
    kind: {
      'tokens/s': harness.brief(figures['tokens_per_second']),
      'MB of memory': harness.brief(figures['megabytes']),
    }
    for kind, figures in spread.items()
  }
  rows['indexing'] = {
    'tokens/s': f'{tokens / index["seconds"]:,.0f}',
    'MB of memory': f'{index["megabytes"]:.1f}',
  }
  harness.publish('Training on an index and on text in memory', rows, report)


def _make_text(folder: pathlib.Path, size: int) -> None:
  """Writes a folder whose training text has about so many bytes."""
  rng = np.random.default_rng(0)
  words = np.array([f'w{i}' for i in range(_WORDS)], object)
  shares = 1 / np.arange(1, _WORDS + 1)
  shares /= shares.sum()
  folder.mkdir()
  for split, most in (('train', size), ('valid', 100_000), ('test', 100_000)):
    with open(folder / f'{split}.txt', 'w', encoding='utf-8') as file:
      while file.tell() < most:
        lengths = rng.integers(5, 36, 5_000)
        drawn = iter(words[rng.choice(_WORDS, lengths.sum(), p=shares)])
        file.writelines(
          ' '.join(next(drawn) for _ in range(n)) + '\n'
          for n in lengths.tolist()
        )


def _run(*arguments: str) -> dict[str, float]:
  """Seconds and megabytes of a command, with the processes that it starts."""
  start = time.perf_counter()
  process = subprocess.Popen(
    [sys.executable, '-m', 'rnnvae_jax.main', *arguments],
    env=harness.importing_environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  highest = [0]

  def watch():
    while process.poll() is None:
      highest[0] = max(highest[0], harness.private_kilobytes(process.pid))
      time.sleep(_PAGE)

  thread = threading.Thread(target=watch)
  thread.start()
  output, _ = process.communicate()
  thread.join()
  if process.returncode:
    raise ValueError(f'{" ".join(arguments)} failed: {output.strip()}')
  seconds = time.perf_counter() - start
  return {'seconds': seconds, 'megabytes': highest[0] / 1e3}


def _speed(workdir: pathlib.Path) -> float:
  """Tokens a second, without the first third, which compiles."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  records = [json.loads(line) for line in lines]
  records = [r for r in records if 'train/tokens' in r]
  records = records[len(records) // 3 :]
  # A record has the mean of the updates since the one before.
  tokens = sum(
    record['train/tokens'] * (record['step'] - before['step'])
    for before, record in itertools.pairwise(records)
  )
  return tokens / (records[-1]['time'] - records[0]['time'])


if __name__ == '__main__':
  app.run(main)
