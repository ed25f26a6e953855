r"""Training and decoding of a BLSTM-CNN-CRF, against PyTorch.

  python -m benchmarks.tagging --json=tagging.json

The tagger is the row `blstm_cnn_crf` of `configs/conll2003.py`, with random
word vectors: BIOES tags of names of four types, plain gradient descent,
gradients clipped, batches of 10. The sentences are drawn: lengths have the
median and mean of CoNLL 2003, words Zipf's law and spellings of their own. All
contestants begin with the same weights; the nats of a batch and the decoded
tags are compared.

  ours           one compiled program for many updates, on batches of similar
                 lengths; decoding is the program of an evaluation, which
                 computes the nats of the gold tags as well
  torch_eager    nn.LSTM on packed sequences of shuffled batches, as the usual
                 scripts train; the random field is pytorch-crf's where that is
                 installed
  torch_sorted   torch_eager on our batches

Batches of the peers are padded and on the device before the clock starts.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import pathlib
import runpy
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import classification, harness, ours
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora, spellings, vocab
from rnnvae_jax.tasks import base
from rnnvae_jax.training import optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import step as step_lib

torch_peers = harness.with_torch('benchmarks.torch_peers')
torch_taggers = harness.with_torch('benchmarks.torch_taggers')

_SENTENCES = flags.DEFINE_integer(
  'sentences_a_turn', 500, 'Sentences that are read in a turn.', lower_bound=2
)
_WORDS = flags.DEFINE_integer(
  'different_words', 30_290, 'Words of the vocabulary; those of CoNLL 2003.'
)

_CONFIG = pathlib.Path(__file__).parent.parent / 'configs' / 'conll2003.py'
_LONGEST = 113
_TAGS = (
  'O',
  *(f'{p}-{t}' for t in ('LOC', 'MISC', 'ORG', 'PER') for p in 'BIES'),
)
_TOLERANCE = 1e-4  # Of nats, relative: sums of a thousand terms.
_SAME = ('ours', 'torch_sorted')  # They read the same batches.
_EQUAL = 0.999  # Of decoded tags: weights that are random leave near ties.


def draw_vocabulary(count: int, rng: np.random.Generator) -> vocab.Vocabulary:
  """Words in lower case, rare ones longer than common ones."""
  words: dict[str, None] = {}
  while len(words) < count:
    mean = 0.6 * np.log(2 + len(words))
    letters = rng.integers(26, size=1 + rng.poisson(mean))
    words[''.join(map(chr, ord('a') + letters))] = None
  return vocab.Vocabulary('word', (*vocab.SPECIALS, *words))


def draw(
  words: vocab.Vocabulary, speller: spellings.Speller, count: int, seed: int = 0
) -> corpora.Split:
  """Sentences with tags, as the module's docstring says."""
  rng = np.random.default_rng(seed)
  lengths = np.exp(rng.normal(np.log(10), 0.9, count)).round().astype(int)
  lengths = np.clip(lengths, 1, _LONGEST)
  ranks = np.arange(1, len(words) - vocab.UNK)
  shares = 1 / ranks
  ids = vocab.UNK + rng.choice(ranks, lengths.sum(), p=shares / shares.sum())
  sentences = np.split(ids.astype(np.int32), np.cumsum(lengths)[:-1])
  split = corpora.split_of(sentences)
  spelt, index = speller.split(
    [[words.tokens[i] for i in sentence] for sentence in sentences],
    split.lengths,
  )
  tags = rng.integers(len(_TAGS), size=len(split.tokens)).astype(np.int32)
  tags[split.tokens == vocab.EOS] = 0
  fields = {'tags': tags, spellings.INDEX: index}
  return dataclasses.replace(split, fields=fields, spellings=spelt)


def make_config(per_turn: int) -> Any:
  """The config of the table's row, of sizes that flags may change."""
  tail = 'row=blstm_cnn_crf'
  config = runpy.run_path(str(_CONFIG))['get_config'](tail)
  config.model.backend = ours.BACKEND.value
  config.model.pretrained_embeddings = ''
  config.model.hidden_size = ours.HIDDEN_SIZE.value
  config.train.batch_size = ours.BATCH_SIZE.value
  config.train.steps_per_call = per_turn // ours.BATCH_SIZE.value
  config.train.num_steps = config.train.eval_every = config.train.steps_per_call
  config_build.validate(config)
  return config


class Ours(classification.Ours):
  """The run that `training.loop` would begin, without its reports."""

  def __init__(self, config: Any, count: int, num_words: int):
    """Draws `count` sentences of `num_words` different words."""
    words = draw_vocabulary(num_words, np.random.default_rng(0))
    self.config = config
    kind = config_build.task(config.model.kind)
    self.task = kind.build(config, words, _TAGS)
    self.split = draw(words, self.task.speller, count)
    self.tx = optimizers.build(config)
    self.state = state_lib.create(self.task, self.tx, config.seed)
    self.buckets = preparation.train_buckets(config, self.split)
    self._evaluate = step_lib.make_evaluation_step(
      self.task, self.buckets, base.ONE_SAMPLE
    )
    self._on_device = batches.put(self.split)

  def values(self, rows: np.ndarray) -> dict[str, jax.Array]:
    """What an evaluation has of a batch: nats and best tags of each row."""
    longest = self.split.lengths[rows].max()
    bucket = np.searchsorted([b.length for b in self.buckets], longest)
    params, extras = self.state.params, self.state.extras
    key = jax.random.key(0)
    rows = jnp.asarray(rows.astype(np.int32))
    return self._evaluate(
      params, self._on_device, rows, int(bucket), key, extras
    )

  def decoding(self, blocks: Sequence[np.ndarray]) -> Callable[[int], Any]:
    """Returns `run(turn)`, the tags of each batch of a block, as lists."""

    def run(turn):
      order = self.order(blocks[turn])
      found = [self.values(rows)['predicted'] for rows in order]
      lengths = self.split.lengths[order] - 1
      return [
        [row[:n].tolist() for row, n in zip(tags, counts, strict=True)]
        for tags, counts in zip(jax.device_get(found), lengths, strict=True)
      ]

    return run


def main(_) -> None:
  torch_threads = torch_peers.set_threads() if torch_peers else None
  turns, per_turn = harness.REPETITIONS.value, _SENTENCES.value
  per_turn -= per_turn % ours.BATCH_SIZE.value
  config = make_config(per_turn)
  program = Ours(config, turns * per_turn, _WORDS.value)
  blocks = [
    np.arange(turn * per_turn, (turn + 1) * per_turn) for turn in range(turns)
  ]
  report: dict[str, Any] = {'ours': {}, 'peers': {}, 'ratio': {}}
  rows: dict[str, dict[str, str]] = {}
  for what in ('training', 'decoding'):
    contestants = {'ours': getattr(program, what)(blocks)} | harness.peers(
      {
        f'torch_{how}': functools.partial(
          _peer, what, program, blocks, how == 'sorted'
        )
        for how in ('eager', 'sorted')
      }
    )
    if what == 'decoding':
      _check_tags({n: c for n, c in contestants.items() if n in _SAME})
    timings = harness.interleave(contestants, turns)
    rows |= harness.add_rates(report, what, 'sentences', per_turn, timings)
    if what == 'training':
      report['ratio'] = {
        name: figures[what]['time_over_ours']
        for name, figures in report['peers'].items()
      }
  report['environment'] = harness.environment(
    hidden_size=ours.HIDDEN_SIZE.value,
    batch_size=ours.BATCH_SIZE.value,
    backend=program.task.backend,
    mean_length=float(np.mean(program.split.lengths - 1)),
    torch_threads=torch_threads,
    field_of_peers=torch_taggers.field_name() if torch_taggers else None,
  )
  harness.publish(f'A tagger of {per_turn} sentences', rows, report)


def _check_tags(contestants: Mapping[str, Callable[[int], Any]]) -> None:
  """Raises AssertionError unless all decode the same tags."""
  found = {
    name: np.array([k for tags in run(0) for row in tags for k in row])
    for name, run in contestants.items()
  }
  for name, tags in found.items():
    equal = np.mean(tags == found['ours'])
    if equal < _EQUAL:
      raise AssertionError(f'{name} decodes {equal:.2%} of the tags as ours.')


def _peer(
  what: str, program: Ours, blocks: Sequence[np.ndarray], in_order: bool
) -> Callable[[int], Any]:
  """A PyTorch contestant that trains on blocks, or decodes their tags."""
  split, config = program.split, program.config
  weights = jax.tree.map(np.array, program.state.params)['params']
  sizes = torch_taggers.Sizes(
    *weights['embedding']['embedding'].shape,
    *weights['character_embedding']['embedding'].shape,
    config.model.character_units,
    config.model.character_width,
    config.model.hidden_size,
    len(_TAGS),
  )
  model = torch_taggers.Tagger(sizes, weights, config.dropout.embedding)
  assert split.spellings is not None

  def words_of(array):
    return [
      array[offset : offset + length - 1]
      for offset, length in zip(split.offsets, split.lengths, strict=True)
    ]

  sentences = torch_taggers.Sentences(
    words_of(split.tokens),
    words_of(split.fields[spellings.INDEX]),
    words_of(split.fields['tags']),
    split.spellings.chars,
    split.spellings.lengths,
  )
  rng = np.random.default_rng(1)

  def order(block):
    if in_order:
      return program.order(block)
    return rng.permutation(block).reshape(-1, config.train.batch_size)

  made = [
    [torch_taggers.batch(sentences, rows, sizes.width) for rows in order(block)]
    for block in blocks
  ]
  rows = program.order(blocks[0])[-1]
  want = float(np.sum(program.values(rows)['nll']))
  got = torch_taggers.nll(
    model, torch_taggers.batch(sentences, rows, sizes.width)
  )
  if not np.isclose(got, want, rtol=_TOLERANCE):
    raise AssertionError(f'Nats of a batch: {want} ours, {got} the peers.')
  return torch_taggers.contestant(
    model,
    what,
    made.__getitem__,
    config.optimizer.learning_rate,
    config.optimizer.clip_norm,
  )


if __name__ == '__main__':
  # The sizes of the row.
  flags.set_default(ours.BATCH_SIZE, 10)
  flags.set_default(ours.HIDDEN_SIZE, 200)
  app.run(main)
