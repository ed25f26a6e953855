"""The recipe in plain Flax: nn.RNN over nn.GRUCell, one jitted step a call.

Batches are of shuffled sentences or those of this library, padded to a multiple
of 4, so that at most 15 programs are compiled for sentences of up to 60 tokens.
Logits of padding are computed, too. The state is donated, and the batches are
on the device before the clock starts.
"""

from collections.abc import Callable, Sequence
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks import recipe

_MULTIPLE = 4


class SentenceVae(nn.Module):
  """The recipe's model; parameters are float32 for any dtype."""

  vocab_size: int
  embedding_size: int
  hidden_size: int
  latent_size: int
  dtype: str

  @nn.compact
  def __call__(self, inputs, targets, lengths, key):
    """Nats per sentence of the batch: int[B, T], int[B, T], int[B]."""
    dense = functools.partial(nn.Dense, dtype=self.dtype)
    embed = nn.Embed(
      self.vocab_size, self.embedding_size, dtype=self.dtype, name='embedding'
    )
    rnn = lambda name: nn.RNN(
      nn.GRUCell(self.hidden_size, dtype=self.dtype, name=name)
    )
    start = jnp.zeros((len(inputs), self.hidden_size), self.dtype)
    state, _ = rnn('encoder')(
      embed(targets),
      initial_carry=start,
      seq_lengths=lengths,
      return_carry=True,
    )
    posterior = dense(2 * self.latent_size, name='posterior')(state)
    mean, log_var = jnp.split(posterior.astype(jnp.float32), 2, axis=-1)
    noise = jax.random.normal(key, mean.shape)
    z = mean + jnp.exp(0.5 * log_var) * noise
    kl = 0.5 * (jnp.square(mean) + jnp.expm1(log_var) - log_var)
    start = jnp.tanh(dense(self.hidden_size, name='initial')(z))
    hidden = rnn('decoder')(embed(inputs), initial_carry=start)
    logits = dense(self.vocab_size, name='output')(hidden)
    nll = optax.softmax_cross_entropy_with_integer_labels(
      logits.astype(jnp.float32), targets
    )
    mask = jnp.arange(inputs.shape[1])[None, :] < lengths[:, None]
    return (jnp.sum(nll * mask) + jnp.sum(kl)) / len(inputs)


def make(
  weights: recipe.Weights,
  blocks: Sequence[Sequence[recipe.Batch]],
  precision: str = 'float32',
) -> Callable[[int], jax.Array]:
  """Returns `run(k)`, which trains on block k and returns losses float[K]."""
  vocab_size, embedding_size = weights['embedding'].shape
  latent_size, hidden_size = weights['initial_kernel'].shape
  model = SentenceVae(
    vocab_size,
    embedding_size,
    hidden_size,
    latent_size,
    dtype='bfloat16' if precision == 'bfloat16' else 'float32',
  )
  tx = optax.chain(
    optax.clip_by_global_norm(recipe.CLIP_NORM),
    optax.adam(recipe.LEARNING_RATE),
  )
  params = _params(weights)
  state = params, tx.init(params), jax.random.key(0)

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, batch):
    params, opt_state, key = state
    key, now = jax.random.split(key)
    loss = lambda params: model.apply({'params': params}, *batch, now)
    exact = 'highest' if precision == 'float32' else 'default'
    with jax.default_matmul_precision(exact):
      value, grads = jax.value_and_grad(loss)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state, key), value

  batches = [
    [jax.device_put(recipe.pad(batch, _MULTIPLE)) for batch in block]
    for block in blocks
  ]

  def run(k):
    nonlocal state
    losses = []
    for batch in batches[k]:
      state, loss = step(state, batch)
      losses.append(loss)
    return jnp.stack(losses)

  return run


def _params(weights: recipe.Weights) -> dict:
  w = jax.tree.map(jnp.array, dict(weights))
  dense = lambda name: {
    'kernel': w[f'{name}_kernel'],
    'bias': w[f'{name}_bias'],
  }
  return {
    'embedding': {'embedding': w['embedding']},
    'encoder': _cell(w, 'encoder'),
    'decoder': _cell(w, 'decoder'),
    **{name: dense(name) for name in ('posterior', 'initial', 'output')},
  }


def _cell(w, name: str) -> dict:
  """The parameters of nn.GRUCell, which has a matrix for each gate."""
  gates = 'r', 'z', 'n'
  split = lambda kind: zip(
    gates, jnp.split(w[f'{name}_{kind}'], 3, axis=-1), strict=True
  )
  cell = {f'i{gate}': {'kernel': x} for gate, x in split('input_kernel')}
  for gate, x in split('input_bias'):
    cell[f'i{gate}']['bias'] = x
  cell |= {f'h{gate}': {'kernel': x} for gate, x in split('state_kernel')}
  cell['hn']['bias'] = w[f'{name}_state_bias']
  return cell
