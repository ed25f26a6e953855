r"""Training and prediction of a recurrent classifier, against PyTorch.

  python -m benchmarks.classification --json=classification.json

Reviews a second of an LSTM classifier (embeddings of 128, the last state, two
classes, Adam with clipped gradients, batches of `--batch_size`). The texts are
drawn: words by Zipf's law, lengths from a log-normal distribution with a median
of 180 words and a mean of about 220, at most 1,000, as film reviews have. All
contestants begin with the same weights, and their first losses are compared.

  ours           one compiled program for many updates, on batches of similar
                 lengths
  torch_eager    nn.LSTM on packed sequences of shuffled batches, as the usual
                 scripts train
  torch_sorted   torch_eager on our batches
  torch_padded   nn.LSTM on our batches as they are padded, and its outputs at
                 the last words: more steps than packed sequences, in fewer and
                 larger products
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, ours
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora, vocab
from rnnvae_jax.inference import programs
from rnnvae_jax.objectives import schedules
from rnnvae_jax.training import optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import step as step_lib

torch = harness.with_torch('torch')
torch_peers = harness.with_torch('benchmarks.torch_peers')

_TEXTS = flags.DEFINE_integer(
  'texts', 320, 'Texts that are read in a turn.', lower_bound=2
)

_VOCAB_SIZE = 10_000
_EMBEDDING_SIZE = 128
_LEARNING_RATE = 1e-3
_CLIP_NORM = 5.0
_CLASSES = 2
_LONGEST = 1_000
# Contestants that read the same batches, so that the first figures are equal,
# but for roundings in up to a thousand steps.
_SAME = ('ours', 'torch_sorted', 'torch_padded')
_TOLERANCE = 1e-4


class Reviews(NamedTuple):
  """Texts of one turn after the other."""

  words: list[np.ndarray]  # int32[lengths[i]] each, without eos.
  labels: np.ndarray  # int32[N]


def draw(count: int, seed: int = 0) -> Reviews:
  """Draws texts as the module's docstring says."""
  rng = np.random.default_rng(seed)
  lengths = np.exp(rng.normal(np.log(180), 0.65, count)).astype(int)
  lengths = np.clip(lengths, 5, _LONGEST)
  ranks = np.arange(1, _VOCAB_SIZE - vocab.UNK)
  shares = 1 / ranks
  ids = vocab.UNK + rng.choice(ranks, lengths.sum(), p=shares / shares.sum())
  words = np.split(ids.astype(np.int32), np.cumsum(lengths)[:-1])
  return Reviews(words, rng.integers(_CLASSES, size=count).astype(np.int32))


def main(_) -> None:
  torch_threads = torch_peers.set_threads() if torch_peers else None
  turns, per_turn = harness.REPETITIONS.value, _TEXTS.value
  per_turn -= per_turn % ours.BATCH_SIZE.value
  reviews = draw(turns * per_turn)
  blocks = [
    np.arange(turn * per_turn, (turn + 1) * per_turn) for turn in range(turns)
  ]
  config = make_config(per_turn)
  program = Ours(config, reviews)
  report: dict[str, Any] = {'ours': {}, 'peers': {}, 'ratio': {}}
  rows: dict[str, dict[str, str]] = {}
  for what in ('training', 'prediction'):
    contestants = {'ours': getattr(program, what)(blocks)} | harness.peers(
      {
        f'torch_{how}': functools.partial(
          _peer, what, program, reviews, blocks, how
        )
        for how in ('eager', 'sorted', 'padded')
      }
    )
    same = [float(run(0)) for name, run in contestants.items() if name in _SAME]
    if not np.allclose(same, same[0], rtol=_TOLERANCE):
      raise AssertionError(f'{what}: contestants disagree, {same}.')
    timings = harness.interleave(contestants, turns)
    rows |= harness.add_rates(report, what, 'reviews', per_turn, timings)
    if what == 'training':
      report['ratio'] = {
        name: figures[what]['time_over_ours']
        for name, figures in report['peers'].items()
      }
  report['environment'] = harness.environment(
    hidden_size=ours.HIDDEN_SIZE.value,
    batch_size=ours.BATCH_SIZE.value,
    backend=program.task.backend,
    mean_length=float(np.mean([len(words) for words in reviews.words])),
    torch_threads=torch_threads,
  )
  harness.publish(f'A classifier of {per_turn} reviews', rows, report)


def make_config(per_turn: int) -> Any:
  """The config of the classifier."""
  config = config_build.default('classification')
  model = config.model
  model.encoder, model.cell = 'recurrent', 'lstm'
  model.backend = ours.BACKEND.value
  model.embedding_size = _EMBEDDING_SIZE
  model.hidden_size = ours.HIDDEN_SIZE.value
  model.unknown_words = 'counted'
  config.optimizer.learning_rate = _LEARNING_RATE
  config.optimizer.clip_norm = _CLIP_NORM
  config.train.batch_size = ours.BATCH_SIZE.value
  config.train.steps_per_call = per_turn // ours.BATCH_SIZE.value
  config.train.num_buckets = 4
  config_build.validate(config)
  return config


class Ours:
  """The run that `training.loop` would begin, without its reports."""

  def __init__(self, config: Any, reviews: Reviews):
    self.config = config
    kind = config_build.task(config.model.kind)
    labels = [f'class {number}' for number in range(_CLASSES)]
    self.task = kind.build(config, range(_VOCAB_SIZE), labels)
    self.split = corpora.split_of(reviews.words)
    self.split.fields['label'] = reviews.labels  # type: ignore[index]
    self.tx = optimizers.build(config)
    self.state = state_lib.create(self.task, self.tx, config.seed)

  def order(self, block: np.ndarray) -> np.ndarray:
    """int[K, B]: the texts of each batch of a block, by length."""
    by_length = block[np.argsort(self.split.lengths[block], kind='stable')]
    return by_length.reshape(-1, self.config.train.batch_size)

  def training(self, blocks: Sequence[np.ndarray]) -> Callable[[int], Any]:
    """Returns `run(turn)`, which trains on a block; the first loss."""
    buckets = preparation.train_buckets(self.config, self.split)
    optimizer = self.config.optimizer
    schedule = schedules.resolve(optimizer.schedule, 'optimizer.schedule')
    step = step_lib.make_train_step(self.task, self.tx, buckets, schedule)
    scalars = ours.make_hyperparameters(self.config)
    device_split = batches.put(self.split)
    lengths = [bucket.length for bucket in buckets]
    state = jax.tree.map(jnp.copy, self.state)

    def run(turn):
      nonlocal state
      rows = self.order(blocks[turn]).astype(np.int32)
      longest = self.split.lengths[rows].max(axis=1)
      bucket = np.searchsorted(lengths, longest).astype(np.int32)
      state, _, losses = step(
        state, device_split, jnp.asarray(rows), jnp.asarray(bucket), scalars
      )
      return losses[0]

    return run

  def prediction(self, blocks: Sequence[np.ndarray]) -> Callable[[int], Any]:
    """Returns `run(turn)`: the mean log-probabilities of a block's labels."""
    compiled = programs.Programs(self.task)
    params, extras = self.state.params, self.state.extras

    def run(turn):
      block = blocks[turn]
      sentences = [self.split.sentence(i) for i in block]
      log_probs = compiled.predict(params, extras, sentences, vocab.BOS)
      labels = self.split.fields['label'][block]
      return np.mean(np.take_along_axis(log_probs, labels[:, None], axis=1))

    return run


def _peer(
  what: str,
  program: Ours,
  reviews: Reviews,
  blocks: Sequence[np.ndarray],
  how: str,
) -> Callable[[int], float]:
  """A PyTorch contestant that trains on blocks, or predicts their labels.

  `how` is 'eager', 'sorted' or 'padded'; see the module.
  """
  nn = torch.nn
  device = torch_peers.device()
  weights = jax.tree.map(np.array, program.state.params)['params']
  size = ours.HIDDEN_SIZE.value
  embedding = nn.Embedding(_VOCAB_SIZE, _EMBEDDING_SIZE)
  layer = nn.LSTM(_EMBEDDING_SIZE, size, batch_first=True)
  output = nn.Linear(size, _CLASSES)
  with torch.no_grad():
    tensor = torch.from_numpy
    embedding.weight.copy_(tensor(weights['embedding']['embedding']))
    ours_layer = weights['encoder']['layer_0']
    layer.weight_ih_l0.copy_(tensor(ours_layer['kernel'].T))
    layer.weight_hh_l0.copy_(tensor(ours_layer['cell']['recurrent_kernel'].T))
    layer.bias_ih_l0.copy_(tensor(ours_layer['bias']))
    layer.bias_hh_l0.zero_()
    output.weight.copy_(tensor(weights['output']['kernel'].T))
    output.bias.copy_(tensor(weights['output']['bias']))
  model = nn.ModuleList([embedding, layer, output]).to(device)
  adam = torch.optim.Adam(model.parameters(), _LEARNING_RATE)
  rng = np.random.default_rng(1)

  def batches_of(turn):
    if how == 'eager':
      return rng.permutation(blocks[turn]).reshape(-1, ours.BATCH_SIZE.value)
    return program.order(blocks[turn])

  def last_outputs(padded, lengths):
    if how == 'padded':
      outputs, _ = layer(embedding(padded))
      return outputs[torch.arange(len(lengths)), lengths - 1]
    packed = nn.utils.rnn.pack_padded_sequence(
      embedding(padded), lengths, batch_first=True, enforce_sorted=False
    )
    _, (states, _) = layer(packed)
    return states[0]

  def log_probs_of(rows):
    texts = [
      torch.from_numpy(np.append(np.int32(vocab.BOS), reviews.words[i]))
      for i in rows
    ]
    lengths = torch.tensor([len(text) for text in texts])
    padded = nn.utils.rnn.pad_sequence(texts, batch_first=True).to(device)
    scores = output(last_outputs(padded, lengths))
    log_probs = nn.functional.log_softmax(scores, dim=1)
    labels = torch.from_numpy(reviews.labels[rows]).long().to(device)
    return log_probs[torch.arange(len(rows)), labels]

  def train(turn):
    losses = []
    for rows in batches_of(turn):
      adam.zero_grad(set_to_none=True)
      loss = -log_probs_of(rows).mean()
      loss.backward()
      nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
      adam.step()
      losses.append(float(loss.detach()))
    return losses[0]

  @torch.no_grad()
  def predict(turn):
    return float(np.mean([log_probs_of(r).mean() for r in batches_of(turn)]))

  return train if what == 'training' else predict


if __name__ == '__main__':
  app.run(main)
