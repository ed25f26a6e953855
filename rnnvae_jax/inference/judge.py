"""What a trained model writes, measured -> judged.json and a table."""

import dataclasses
import math
import os
from typing import Any

import jax
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import intervals, overlap
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import loading
from rnnvae_jax.tasks import base
from rnnvae_jax.training import population, preparation, validation, writers

FILE = 'judged.json'

# Sentences of self-BLEU, whose time grows with their square.
SELF_BLEU = 200


def judge(
  config: Any, workdir: str, corpus: corpora.Corpus | None = None
) -> dict[str, Any]:
  """Judges samples of the prior, and reconstructions, of the best checkpoint.

  Args:
    config: the run's; its `judge` keys say how much.
    workdir: its folder.
    corpus: read anew if None.

  Returns:
    What is written into judged.json. Of `judge.num_samples` sentences drawn at
    temperature 1, unk allowed, nothing cut off: self_bleu (of the first of
    them), distinct_1 to distinct_3, novelty, mean_length in words. For a VAE
    reconstruction_bleu, of the whole split `evaluate.split`, from posterior
    means, greedily or by beam search. With `judge.critic_steps`
    forward_perplexity (a language model trained on the training split reads
    the samples: fluency) and reverse_perplexity (one trained on the samples
    reads the test split: coverage), both of Zhao et al., arXiv:1706.04223, and
    what to compare each with: real_forward_perplexity, where the same model
    reads the test split, and real_reverse_perplexity, of one trained on as many
    sentences drawn from the training split. A critic's checkpoint is that of
    the best perplexity on the validation split, which also stands in for the
    test split where there is none. With `judge.classifier` labels: by label,
    and over all, the share of samples that were asked for and recognised; see
    `recognised`.
  """
  settings, split_name = config.judge, config.evaluate.split
  num_samples, critic_steps = settings.num_samples, settings.critic_steps
  config = config.copy_and_resolve_references()
  generate_config = config.generate
  generate_config.top_k, generate_config.top_p = 0, 1.0
  generate_config.prime = ''
  run = loading.open_run(config, workdir)
  if config.corpus.stream and run.vocab.kind != 'word':
    raise ValueError(
      f'Judged are sentences; this run is of a stream of {run.vocab.kind}s, '
      'which has none.'
    )
  if corpus is None:
    corpus = preparation.build_corpus(config, run.vocab, run.labels)
  # Nothing that the model could have read is too long for it to write.
  generate_config.max_length = max(
    generate_config.max_length,
    config.corpus.max_length,
    int(np.max(corpus.splits['train'].lengths)),
  )
  samples = corpora.split_of(
    run.sample_ids(num_samples, temperature=1.0, forbid_unk=False),
    run.begin_mark,
  )
  words = _words(run.vocab, samples)
  training = _words(run.vocab, corpus.splits['train'])
  judged: dict[str, Any] = {
    'corpus': corpus.name,
    'protocol': corpus.protocol,
    'checkpoint': run.checkpoint,
    'samples': len(words),
    'mean_length': float(np.mean([len(sentence) for sentence in words])),
    'self_bleu': overlap.self_bleu(words[:SELF_BLEU]),
    'self_bleu_sentences': min(len(words), SELF_BLEU),
    **{f'distinct_{n}': overlap.distinct(words, n) for n in (1, 2, 3)},
    'novelty': overlap.novelty(words, training),
  }
  if isinstance(run.task, base.HasLatents):
    split = corpus.splits.get(split_name) or _held_out(corpus)
    read = [split.sentence(i) for i in range(len(split))]
    ids = run.decode_ids(
      run.latents_of(read), temperature=0.0, forbid_unk=False
    )
    judged['reconstruction_bleu'] = overlap.bleu(
      _words(run.vocab, corpora.split_of(ids)), _words(run.vocab, split)
    )
    judged['beam_size'] = generate_config.beam_size
    judged['length_penalty'] = generate_config.length_penalty
  path = os.path.join(workdir, FILE)
  writers.write_json(path, judged)  # Critics take long, and may diverge.
  if settings.classifier:
    judged['labels'] = recognised(run, settings.classifier, num_samples)
    judged['recognised'] = judged['labels']['all']['share']
    writers.write_json(path, judged)
  if critic_steps:
    judged |= perplexities(config, corpus, samples)
    writers.write_json(path, judged)
  rich_console.Console().print(_table(judged))
  return judged


def recognised(
  run: Any, folder: str, num_samples: int
) -> dict[str, dict[str, Any]]:
  """How many texts of a label a classifier takes for texts of that label.

  The classifier should have read neither the samples nor, if the share is to be
  compared with its accuracy, the text that the model was trained on. A text
  without words counts as not recognised.

  Args:
    run: an `inference.run.Run`, whose task `WritesLabels`.
    folder: of the run of a classifier, which `Predicts` at least these labels.
    num_samples: texts of each label, drawn at temperature 1.

  Returns:
    By label, and for 'all': samples; share; and low and high, the bounds of
    Wilson's 95 % interval of the share.

  Raises:
    ValueError: the model's texts have no labels, or the run in the folder does
      not predict them.
  """
  if not isinstance(run.task, base.WritesLabels):
    raise ValueError(
      f'config.judge.classifier = {folder!r}: texts of a '
      f"{run.config.model.kind} have no labels. Legal: ''."
    )
  labels = run.task.labels
  classifier = loading.load(folder)
  known = getattr(classifier.task, 'labels', ())
  if not isinstance(classifier.task, base.Predicts) or {*labels} - {*known}:
    raise ValueError(
      f'config.judge.classifier = {folder!r} predicts {list(known)}; the '
      f'labels of this model are {list(labels)}.'
    )
  found: dict[str, dict[str, Any]] = {}
  for number, label in enumerate(labels):
    writer = dataclasses.replace(run, task=run.task.given(label))
    texts = writer.sample(
      num_samples, temperature=1.0, seed=run.config.generate.seed + number
    )
    texts = [text for text in texts if text.strip()]
    right = 0
    if texts:
      best = np.argmax(classifier.predict(texts), axis=1)
      right = int(np.sum(np.array(known)[best] == label))
    found[label] = _share(right, num_samples)
  right = sum(round(f['share'] * f['samples']) for f in found.values())
  return found | {'all': _share(right, num_samples * len(labels))}


def _share(right: int, samples: int) -> dict[str, Any]:
  share = intervals.wilson(right, samples)
  return {
    'samples': samples,
    'share': share.value,
    'low': share.low,
    'high': share.high,
  }


def perplexities(
  config: Any, corpus: corpora.Corpus, samples: corpora.Split
) -> dict[str, Any]:
  """Forward and reverse perplexity of samples, and of real text; see `judge`.

  By GRU language models of one recipe, that have read `corpus`' training split,
  the samples, and as many sentences of the training split; eos counted.

  Raises:
    FloatingPointError: a critic diverged before its first validation.
  """
  critic = config_build.default('language_model')
  critic.seed = config.seed
  critic.model.embedding_size = critic.model.hidden_size = 256
  critic.model.tied_embeddings = True
  critic.dropout.embedding = critic.dropout.output = 0.4
  critic.dropout.locked = True
  critic.optimizer.learning_rate = 2e-3
  critic.optimizer.schedule = 'cosine'
  steps = config.judge.critic_steps
  every = max(1, steps // 10)
  critic.train.num_steps, critic.train.eval_every = steps, every
  critic.train.steps_per_call = math.gcd(
    steps, every, critic.train.steps_per_call
  )
  training, held_out = corpus.splits['train'], _held_out(corpus)
  some = _drawn(training, len(samples), critic.seed)
  figures = {}
  for read, scored_as in (
    (training, {'forward': samples, 'real_forward': held_out}),
    (samples, {'reverse': held_out}),
    (some, {'real_reverse': held_out}),
  ):
    splits = {'train': read, 'valid': corpus.splits['valid']}
    text = corpora.Corpus(corpus.name, corpus.protocol, corpus.vocab, splits)
    (result,) = population.train([critic], text, size=1)
    if result.params is None:
      raise FloatingPointError(
        f'The critic of the {" and ".join(scored_as)} perplexity diverged: its '
        'loss is not finite.'
      )
    task = config_build.task(critic.model.kind).build(critic, corpus.vocab)
    for name, scored in scored_as.items():
      values = validation.make_validator(critic, task, scored)(
        result.params, result.extras, jax.random.key(critic.seed)
      )
      summary = task.summarise(values, scored, critic)
      figures[f'{name}_perplexity'] = summary['perplexity']
  return figures | {'critic_steps': steps}


def _drawn(split: corpora.Split, count: int, seed: int) -> corpora.Split:
  """That many of its sentences without replacement, or all if it has fewer."""
  order = np.random.default_rng(seed).permutation(len(split))[:count]
  return corpora.split_of([split.sentence(i) for i in order], split.bos)


def _held_out(corpus: corpora.Corpus) -> corpora.Split:
  return corpus.splits.get('test', corpus.splits['valid'])


def _words(
  vocab: vocab_lib.Vocabulary, split: corpora.Split
) -> list[list[str]]:
  """The tokens of each sentence, eos left out."""
  return [vocab.decode(split.sentence(i)[:-1]) for i in range(len(split))]


def _table(judged: dict[str, Any]) -> rich_table.Table:
  shown = rich_table.Table(
    title=f'{judged["corpus"]}, protocol {judged["protocol"]}'
  )
  shown.add_column('')
  shown.add_column('', justify='right')
  for name, value in judged.items():
    if isinstance(value, int | float):
      form = '{:,}' if isinstance(value, int) else '{:.3f}'
      of = ', of 100' if name.endswith('bleu') else ''
      shown.add_row(name.replace('_', ' ') + of, form.format(value))
  return shown
