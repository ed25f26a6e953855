"""The recipe in PyTorch, as an expert would write it for speed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from benchmarks import recipe, torch_peers
from rnnvae_jax.data import vocab

_IGNORED = -100  # A target without a loss; the default of cross_entropy.
_MULTIPLE = 4  # CUDA graphs are captured for lengths that are its multiples.


class _Batch(NamedTuple):
  """A padded batch, with the positions of its real tokens."""

  inputs: torch.Tensor  # int[B, T]
  targets: torch.Tensor  # int[B, T]
  last: torch.Tensor  # int[B], the position of each eos.
  real: torch.Tensor  # int[N], positions of real tokens among the B T.
  labels: torch.Tensor  # int[N], targets at these positions.


def make(
  weights: recipe.Weights,
  blocks: Sequence[Sequence[recipe.Batch]],
  precision: str = 'float32',
  compiles: bool = True,
) -> tuple[Callable[[int], list[float]], dict[str, str | bool]]:
  """Builds the fastest training that an expert would write.

  Sentences of a batch have similar lengths, as ours, so there is no packing.
  Logits are computed for real tokens only. The output layer and its loss go
  through torch.compile; Adam is fused; bfloat16 uses autocast. On a GPU the
  whole step is a CUDA graph for each of a few padded lengths. (nn.GRU is not
  compiled: it would be unrolled, which takes a minute for each length.)

  Returns:
    `run(k)`, and notes on what was compiled or captured, or why not.
  """
  model = torch_peers.SentenceVae(weights)
  on_gpu = torch_peers.device().type == 'cuda'
  adam = torch.optim.Adam(
    model.parameters(), recipe.LEARNING_RATE, fused=True, capturable=on_gpu
  )
  batches = _real_tokens(blocks, pads=on_gpu)
  output_loss, notes = _output_loss(model, batches[0][0], compiles)

  def loss_of(batch):
    rows = torch.arange(len(batch.last), device=torch_peers.device())
    states, _ = model.encoder(model.embedding(batch.targets))
    start, kl = model.sample(states[rows, batch.last])
    hidden, _ = model.decoder(model.embedding(batch.inputs), start)
    nll = output_loss(hidden.flatten(0, 1)[batch.real], batch.labels)
    return (nll + kl) / len(rows)

  def step(batch):
    adam.zero_grad()
    with torch_peers.at_precision(precision):
      loss = loss_of(batch)
      loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.CLIP_NORM)
    adam.step()
    return loss.detach()

  if on_gpu:
    step, notes['cuda_graphs'] = _graphed(step, batches)
  return torch_peers.block_runner(step, batches), notes


def _real_tokens(blocks, pads: bool) -> list[list[_Batch]]:
  """Copies batches to the device; `pads`: with few T, and one N for each T."""
  multiple = _MULTIPLE if pads else 1
  padded = [
    [recipe.pad(batch, multiple) for batch in block] for block in blocks
  ]
  room: dict[tuple[int, ...], int] = {}
  for batch in (batch for block in padded for batch in block):
    shape = batch.inputs.shape
    room[shape] = max(room.get(shape, 0), int(batch.lengths.sum()))

  def put(batch):
    inputs, targets, lengths = map(torch.from_numpy, batch)
    real = (targets != vocab.PAD).flatten().nonzero()[:, 0]
    labels = targets.flatten()[real].long()
    extra = (room[batch.inputs.shape] - len(real)) if pads else 0
    real = functional.pad(real, (0, extra))
    labels = functional.pad(labels, (0, extra), value=_IGNORED)
    arrays = inputs, targets, lengths.long() - 1, real, labels
    return _Batch(*(x.to(torch_peers.device()) for x in arrays))

  return [[put(batch) for batch in block] for block in padded]


def _output_loss(model, batch: _Batch, compiles: bool):
  """(hidden float[N, H], labels) -> the sum of nats, compiled if possible."""

  def plain(hidden, weight, bias, labels):
    logits = functional.linear(hidden, weight, bias)
    return functional.cross_entropy(
      logits.float(), labels, ignore_index=_IGNORED, reduction='sum'
    )

  weight, bias = model.output.weight, model.output.bias
  bind = lambda f: lambda hidden, labels: f(hidden, weight, bias, labels)
  if not compiles:
    return bind(plain), {'compiled': False, 'reason': 'not asked for'}
  # N varies on a CPU, and has a value for each length on a GPU. Beyond a limit,
  # PyTorch would leave further values uncompiled.
  torch._dynamo.config.recompile_limit = 64
  compiled = torch.compile(plain, dynamic=torch_peers.device().type == 'cpu')
  hidden = torch.randn(
    (len(batch.real), weight.shape[1]),
    device=torch_peers.device(),
    requires_grad=True,
  )
  try:
    bind(compiled)(hidden, batch.labels).backward()
  except Exception as error:  # Compilers fail in many ways.
    reason = f'{type(error).__name__}: {str(error).splitlines()[0]}'
    return bind(plain), {'compiled': False, 'reason': reason}
  return bind(compiled), {'compiled': True}


def _graphed(step, batches):
  """Captures `step` as a CUDA graph for each shape.

  Returns:
    The captured step and True; or `step` itself and the reason of the failure.
  """
  graphs = {}
  try:
    for batch in (batch for block in batches for batch in block):
      if batch.inputs.shape not in graphs:
        graphs[batch.inputs.shape] = _capture(step, batch)
  except RuntimeError as error:
    return step, str(error).splitlines()[0]

  def replay(batch):
    graph, static, loss = graphs[batch.inputs.shape]
    for old, new in zip(static, batch, strict=True):
      old.copy_(new)
    graph.replay()
    return loss.clone()

  return replay, True


def _capture(step, batch):
  """Returns a step's graph, the batch it reads and the loss it writes."""
  static = _Batch(*(x.clone() for x in batch))
  side = torch.cuda.Stream()
  side.wait_stream(torch.cuda.current_stream())
  with torch.cuda.stream(side):
    for _ in range(3):  # Lazy initialisation must not be captured.
      step(static)
  torch.cuda.current_stream().wait_stream(side)
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    loss = step(static)
  return graph, static, loss
