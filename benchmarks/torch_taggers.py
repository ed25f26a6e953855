"""A BLSTM-CNN-CRF in PyTorch, trained and decoded as the usual scripts do.

The random field is that of `pytorch-crf` where it is installed. Elsewhere it is
the same algorithm, written here: a loop over time with logsumexp, or with a
maximum and pointers. It follows the pointers of all rows at once, which the
library does row by row.
"""

from collections.abc import Callable, Mapping, Sequence
import importlib.metadata
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils import rnn

from benchmarks import torch_peers

HAS_LIBRARY = importlib.util.find_spec('torchcrf') is not None


class Sentences(NamedTuple):
  """What is read, as NumPy arrays."""

  words: Sequence[np.ndarray]  # int32[T] each.
  spelt: Sequence[np.ndarray]  # int32[T] each, rows of `chars`.
  tags: Sequence[np.ndarray]  # int32[T] each.
  chars: np.ndarray  # int32[U, W]
  char_counts: np.ndarray  # int32[U]


class Sizes(NamedTuple):
  words: int
  word_size: int
  characters: int
  character_size: int
  filters: int
  width: int
  hidden: int
  tags: int


def field_name() -> str:
  """Whose random field the peers have, for the report."""
  if HAS_LIBRARY:
    return f'pytorch-crf {importlib.metadata.version("pytorch-crf")}'
  return "written beside the peers: pytorch-crf's algorithm"


class PlainField(nn.Module):
  """A linear-chain random field, with the names and calls of pytorch-crf's."""

  def __init__(self, num_tags: int):
    super().__init__()
    self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))
    self.start_transitions = nn.Parameter(torch.zeros(num_tags))
    self.end_transitions = nn.Parameter(torch.zeros(num_tags))

  def forward(self, emissions, tags, mask, reduction='sum'):
    """The log-likelihood of float[B, T, K], int[B, T], bool[B, T]."""
    assert reduction == 'sum'
    return (
      self._score(emissions, tags, mask) - self._logs(emissions, mask)
    ).sum()

  def decode(self, emissions, mask):
    """The best tags of each row, as lists."""
    state = self.start_transitions + emissions[:, 0]
    pointers = []
    for t in range(1, emissions.shape[1]):
      best, which = (state[:, :, None] + self.transitions).max(dim=1)
      valid = mask[:, t, None]
      state = torch.where(valid, best + emissions[:, t], state)
      own = torch.arange(state.shape[1], device=state.device)
      pointers.append(torch.where(valid, which, own))
    tag = (state + self.end_transitions).argmax(dim=1, keepdim=True)
    tags = [tag]
    for which in reversed(pointers):
      tag = which.gather(1, tag)
      tags.append(tag)
    rows = torch.cat(tags[::-1], dim=1).tolist()
    counts = mask.sum(dim=1).tolist()
    return [row[:n] for row, n in zip(rows, counts, strict=True)]

  def _score(self, emissions, tags, mask):
    own = emissions.gather(2, tags[:, :, None])[:, :, 0]
    moves = self.transitions[tags[:, :-1], tags[:, 1:]]
    last = tags.gather(1, mask.sum(dim=1, keepdim=True) - 1)[:, 0]
    total = (own * mask).sum(dim=1) + (moves * mask[:, 1:]).sum(dim=1)
    return (
      total + self.start_transitions[tags[:, 0]] + self.end_transitions[last]
    )

  def _logs(self, emissions, mask):
    state = self.start_transitions + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
      moves = state[:, :, None] + self.transitions + emissions[:, t, None]
      new = torch.logsumexp(moves, dim=1)
      state = torch.where(mask[:, t, None], new, state)
    return torch.logsumexp(state + self.end_transitions, dim=1)


def make_field(num_tags: int, plain: bool = not HAS_LIBRARY) -> nn.Module:
  """A random field: pytorch-crf's, or the plain one."""
  if plain:
    return PlainField(num_tags)
  import torchcrf

  return torchcrf.CRF(num_tags, batch_first=True)


class Tagger(nn.Module):
  """The model of Ma & Hovy 2016 with the weights of ours."""

  def __init__(self, sizes: Sizes, weights: Mapping[str, Any], dropout: float):
    super().__init__()
    self.words = nn.Embedding(sizes.words, sizes.word_size)
    self.characters = nn.Embedding(
      sizes.characters, sizes.character_size, padding_idx=0
    )
    self.filters = nn.Conv1d(
      sizes.character_size, sizes.filters, sizes.width, padding=sizes.width - 1
    )
    self.layer = nn.LSTM(
      sizes.word_size + sizes.filters,
      sizes.hidden,
      batch_first=True,
      bidirectional=True,
    )
    self.output = nn.Linear(2 * sizes.hidden, sizes.tags)
    self.field = make_field(sizes.tags)
    self.dropout = nn.Dropout(dropout)
    self._load(sizes, weights)
    self.to(torch_peers.device())

  @torch.no_grad()
  def _load(self, sizes, weights):
    tensor = torch.from_numpy
    self.characters.weight[0] = 0.0  # Padding.
    self.words.weight.copy_(tensor(weights['embedding']['embedding']))
    table = weights['character_embedding']['embedding']
    self.characters.weight[1:] = tensor(table[1:])
    kernel = weights['characters'][f'kernel_{sizes.width}']
    kernel = kernel.reshape(sizes.width, sizes.character_size, sizes.filters)
    self.filters.weight.copy_(tensor(kernel.transpose(2, 1, 0).copy()))
    bias = weights['characters'][f'bias_{sizes.width}']
    self.filters.bias.copy_(tensor(bias))
    for name, end in (('layer_0', ''), ('layer_0_reverse', '_reverse')):
      ours = weights['layers'][name]
      for theirs, value in (
        ('weight_ih', ours['kernel'].T),
        ('weight_hh', ours['cell']['recurrent_kernel'].T),
        ('bias_ih', ours['bias']),
        ('bias_hh', np.zeros_like(ours['bias'])),
      ):
        getattr(self.layer, f'{theirs}_l0{end}').copy_(tensor(value.copy()))
    self.output.weight.copy_(tensor(weights['output']['kernel'].T.copy()))
    self.output.bias.copy_(tensor(weights['output']['bias']))
    self.field.transitions.copy_(tensor(weights['transitions']))
    self.field.start_transitions.copy_(tensor(weights['start']))
    self.field.end_transitions.copy_(tensor(weights['end']))

  def emissions(self, words, chars, has_window, lengths):
    """float[B, T, K]; see `batch`."""
    rows, length, width = chars.shape
    x = self.dropout(self.characters(chars.reshape(rows * length, width)))
    x = self.filters(x.transpose(1, 2))
    x = x.masked_fill(~has_window.reshape(rows * length, 1, -1), -torch.inf)
    spelt = torch.relu(x.max(dim=2).values).reshape(rows, length, -1)
    x = self.dropout(torch.cat([self.words(words), spelt], dim=2))
    packed = rnn.pack_padded_sequence(
      x, lengths, batch_first=True, enforce_sorted=False
    )
    x, _ = rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)
    return self.output(self.dropout(x))


def batch(sentences: Sentences, rows: np.ndarray, width: int):
  """Arrays of a batch, padded to its longest sentence and its longest word.

  Returns:
    words int64[B, T], chars int64[B, T, W], which windows of filters have a
    character bool[B, T, W + width - 1], tags int64[B, T], mask bool[B, T], on
    the device; and lengths int64[B].
  """
  counts = np.array([len(sentences.words[i]) for i in rows])
  shape = len(rows), int(counts.max())
  words, spelt, tags = (np.zeros(shape, np.int64) for _ in range(3))
  for row, i in enumerate(rows):
    words[row, : counts[row]] = sentences.words[i]
    spelt[row, : counts[row]] = sentences.spelt[i]
    tags[row, : counts[row]] = sentences.tags[i]
  letters = sentences.char_counts[spelt]
  chars = sentences.chars[spelt][:, :, : max(int(letters.max()), 1)]
  # Of a blank word one window of zeros is read, as in ours.
  windows = np.arange(chars.shape[2] + width - 1)[None, None]
  has_window = windows < np.maximum(letters, 1)[:, :, None] + width - 1
  mask = np.arange(shape[1])[None] < counts[:, None]
  arrays = words, chars.astype(np.int64), has_window, tags, mask
  device = torch_peers.device()
  tensors = [torch.from_numpy(array).to(device) for array in arrays]
  return (*tensors, torch.from_numpy(counts))


def contestant(
  model: Tagger,
  what: str,
  batches: Callable[[int], Sequence[Any]],
  learning_rate: float,
  clip_norm: float,
) -> Callable[[int], Any]:
  """Returns `run(turn)`, which trains on a turn's batches or decodes them."""
  optimizer = torch.optim.SGD(model.parameters(), learning_rate)

  def train(turn):
    model.train()
    losses = []
    for words, chars, has_window, tags, mask, lengths in batches(turn):
      optimizer.zero_grad(set_to_none=True)
      emissions = model.emissions(words, chars, has_window, lengths)
      loss = -model.field(emissions, tags, mask, reduction='sum') / len(words)
      loss.backward()
      nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
      optimizer.step()
      losses.append(float(loss.detach()))
    return losses

  @torch.no_grad()
  def decode(turn):
    model.eval()
    found = []
    for words, chars, has_window, _, mask, lengths in batches(turn):
      emissions = model.emissions(words, chars, has_window, lengths)
      found.append(model.field.decode(emissions, mask))
    return found

  return train if what == 'training' else decode


@torch.no_grad()
def nll(model: Tagger, arrays: Any) -> float:
  """Nats of the tags of a batch, nothing dropped."""
  model.eval()
  words, chars, has_window, tags, mask, lengths = arrays
  emissions = model.emissions(words, chars, has_window, lengths)
  return -float(model.field(emissions, tags, mask, reduction='sum'))
