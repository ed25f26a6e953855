"""Opens a run for the explorer: its answers, landmarks and examples."""

import time
from typing import Any

from absl import logging

from rnnvae_jax.data import corpora, parallel
from rnnvae_jax.inference import loading
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.inference import texts as texts_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import preparation
from rnnvae_jax.web import answers as answers_lib
from rnnvae_jax.web import landmarks as landmarks_lib
from rnnvae_jax.web import typed

_EXAMPLES = 40  # Sentences that can be picked.
_LONGEST = 200  # Characters of one of them.


def answers(config: Any, workdir: str) -> answers_lib.Answers:
  """The answers of the run in a folder, all programs compiled.

  Without the run's corpus there are no landmarks and no examples.

  Args:
    config: of the run, with the settings of this use.
    workdir: its folder.
  """
  run = loading.open_run(config, workdir)
  corpus = _corpus(run)
  landmarks = None
  examples: tuple[str, ...] = ()
  if corpus is not None:
    if isinstance(run.task, base.HasLatents):
      landmarks = landmarks_lib.find(run, corpus)
    examples = _examples(run, corpus)
  opened = answers_lib.Answers(run, landmarks, examples)
  begun = time.perf_counter()
  opened.warm_up()
  logging.info('Compiled in %.1f s.', time.perf_counter() - begun)
  return opened


def _corpus(run: run_lib.Run) -> corpora.Corpus | None:
  try:
    return preparation.build_corpus(run.config, run.vocab, run.labels)
  except (ValueError, OSError) as error:
    logging.warning(
      "The run's corpus is not at hand, so that there is no map and nothing to "
      'pick: %s',
      error,
    )
    return None


def _examples(run: run_lib.Run, corpus: corpora.Corpus) -> tuple[str, ...]:
  """Different sentences of the validation split, as texts that are read."""
  split = corpus.splits.get('valid', corpus.splits['train'])
  if run.config.corpus.stream and len(split) == 1:
    return ()
  vocab = parallel.source_vocabulary(run.vocab)
  sources = texts_lib.Texts(run.config, vocab)
  found: dict[str, None] = {}
  for i in range(len(split)):
    if split.source is None:
      text = run.text(split.sentence(i))
    else:
      text = sources.text(split.source.sentence(i))
    if text.strip() and len(text) <= _LONGEST:
      found[typed.text(text, 'text')] = None
    if len(found) == _EXAMPLES:
      break
  return tuple(found)
