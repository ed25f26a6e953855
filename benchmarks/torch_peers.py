"""The recipe's model in PyTorch, trained in the usual way.

`torch_best` trains the same model as fast as PyTorch can.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
from typing import Any

from absl import flags
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn

from benchmarks import recipe
from rnnvae_jax.data import vocab

_THREADS = flags.DEFINE_integer(
  'torch_threads', 0, "PyTorch's threads on a CPU; 0: its own choice."
)


def set_threads() -> int:
  """Sets the number of threads to --torch_threads; returns the number."""
  if _THREADS.value:
    torch.set_num_threads(_THREADS.value)
  return torch.get_num_threads()


def device() -> torch.device:
  return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


@contextlib.contextmanager
def at_precision(precision: str) -> Iterator[None]:
  """Sets whether PyTorch uses TF32 and bfloat16 autocast in the block."""
  on_gpu = device().type == 'cuda'
  if on_gpu:
    modules = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [module.allow_tf32 for module in modules]
    for module in modules:
      module.allow_tf32 = precision == 'tf32'
  with torch.autocast(
    device().type,
    torch.bfloat16,
    enabled=precision == 'bfloat16',
    cache_enabled=not on_gpu,  # CUDA graphs would read outdated weights.
  ):
    yield
  if on_gpu:
    for module, allowed in zip(modules, before, strict=True):
      module.allow_tf32 = allowed


class SentenceVae(nn.Module):
  """The recipe's model, on the device, with the given weights."""

  def __init__(self, weights: recipe.Weights):
    super().__init__()
    vocab_size, embedding_size = weights['embedding'].shape
    latent_size, hidden_size = weights['initial_kernel'].shape
    self.embedding = nn.Embedding(vocab_size, embedding_size)
    self.encoder = nn.GRU(embedding_size, hidden_size, batch_first=True)
    self.posterior = nn.Linear(hidden_size, 2 * latent_size)
    self.initial = nn.Linear(latent_size, hidden_size)
    self.decoder = nn.GRU(embedding_size, hidden_size, batch_first=True)
    self.output = nn.Linear(hidden_size, vocab_size)
    self.load(weights)
    self.to(device())

  @torch.no_grad()
  def load(self, weights: recipe.Weights) -> None:
    w = {name: torch.from_numpy(x.copy()) for name, x in weights.items()}
    self.embedding.weight.copy_(w['embedding'])
    for name in ('encoder', 'decoder'):
      gru = getattr(self, name)
      gru.weight_ih_l0.copy_(w[f'{name}_input_kernel'].T)
      gru.weight_hh_l0.copy_(w[f'{name}_state_kernel'].T)
      gru.bias_ih_l0.copy_(w[f'{name}_input_bias'])
      gru.bias_hh_l0.zero_()
      gru.bias_hh_l0[-gru.hidden_size :] = w[f'{name}_state_bias']
    for name in ('posterior', 'initial'):
      getattr(self, name).weight.copy_(w[f'{name}_kernel'].T)
      getattr(self, name).bias.copy_(w[f'{name}_bias'])
    self.output.weight.copy_(w['output_kernel'].T)
    self.output.bias.copy_(w['output_bias'])

  def sample(self, states: torch.Tensor):
    """A posterior sample's first state float[1, B, H], and the KL's sum."""
    mean, log_var = self.posterior(states).float().chunk(2, dim=-1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    kl = 0.5 * (mean**2 + torch.expm1(log_var) - log_var).sum()
    return torch.tanh(self.initial(z))[None], kl


def eager(
  weights: recipe.Weights, blocks: Sequence[Sequence[recipe.Batch]]
) -> Callable[[int], list[float]]:
  """Trains like the text VAE scripts of many repositories.

  It uses packed sequences through nn.GRU, logits of all positions, log_softmax,
  a loss that ignores padding, Adam and clip_grad_norm_, at PyTorch's default
  precision.
  """
  model = SentenceVae(weights)
  adam = torch.optim.Adam(model.parameters(), recipe.LEARNING_RATE)

  def loss_of(inputs, targets, lengths):
    pack = functools.partial(
      rnn.pack_padded_sequence,
      lengths=lengths,
      batch_first=True,
      enforce_sorted=False,
    )
    _, states = model.encoder(pack(model.embedding(targets)))
    start, kl = model.sample(states[0])
    hidden, _ = model.decoder(pack(model.embedding(inputs)), start)
    hidden, _ = rnn.pad_packed_sequence(
      hidden, batch_first=True, total_length=inputs.shape[1]
    )
    log_probabilities = functional.log_softmax(model.output(hidden), dim=-1)
    nll = functional.nll_loss(
      log_probabilities.flatten(0, 1),
      targets.flatten(),
      ignore_index=vocab.PAD,
      reduction='sum',
    )
    return (nll + kl) / len(inputs)

  def step(batch):
    adam.zero_grad()
    loss = loss_of(*batch)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.CLIP_NORM)
    adam.step()
    return loss.detach()

  def put(batch):
    inputs, targets, lengths = map(torch.from_numpy, recipe.pad(batch))
    # Packing needs the lengths on the host.
    return inputs.to(device()), targets.long().to(device()), lengths

  return block_runner(step, [[put(b) for b in block] for block in blocks])


def block_runner(
  step: Callable[[Any], torch.Tensor], blocks: Sequence[Sequence[Any]]
) -> Callable[[int], list[float]]:
  """Returns `run(k)`, which trains on block k and returns its losses.

  The batches must be on the device before the clock starts.
  """
  return lambda k: torch.stack([step(batch) for batch in blocks[k]]).tolist()
