"""Recurrent language model, unconditional or conditioned on a latent vector."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.data import vocab
from rnnvae_jax.models import attention as attention_lib
from rnnvae_jax.models import embeddings, recurrent
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import cross_entropy, noise, products


class Reading(NamedTuple):
  """The results of a language model on a batch.

  Attributes:
    total: float[], the sum of the nats and of the penalties that the options
      add to them. This is what gradients are computed of.
    nll: float[B, T], nats per token, 0 where the mask is False; it has no
      gradient.
    carry: the carry after each row's last token.
    outputs: float[B, T, H], of the last recurrent layer; undefined where the
      mask is False.
    dropped: `outputs` after dropout.
    backward_nll: float[B, T], nats of the words in reverse order, each given
      those after it; None if the model reads forward only.
  """

  total: jax.Array
  nll: jax.Array
  carry: recurrent.Carry
  outputs: jax.Array
  dropped: jax.Array
  backward_nll: jax.Array | None = None


class LanguageModel(nn.Module):
  """p(sentence), or with `latent_size` p(sentence | z) as a VAE's decoder.

  z sets every layer's first state (through tanh, the range of the states) and,
  with `latent_every_step`, is appended to every input; with `latent_to_output`
  to the input of the output layer, so that no word is more than one layer away
  from z (Skip-VAE, Dieng et al., arXiv:1807.04863). `inputless` decoders read
  zeros instead of the previous token, so that z carries all information about
  the sentence (Bowman et al., arXiv:1511.06349, section 4.2).

  With a `backward_stack` two models share embeddings and output layer: one
  reads each sentence forward, the other in reverse (a bidirectional language
  model, Peters et al., arXiv:1802.05365, section 3.1). The total is the sum of
  both models' nats; the likelihood is the forward model's.

  With `attention` the output layer reads, in place of the last layer's outputs,
  vectors of the same size that also depend on what each step attends to.
  """

  vocab_size: int
  embedding_size: int
  stack: recurrent.Recurrent | base.Stack
  tied_embeddings: bool = False
  inputless: bool = False
  locked_dropout: bool = False
  latent_size: int = 0
  latent_every_step: bool = False
  latent_to_output: bool = False
  output_bias: bool = True
  precision: str = 'float32'  # See `products.PRECISIONS`.
  backward_stack: recurrent.Recurrent | base.Stack | None = None
  attention: attention_lib.Attention | None = None

  def setup(self):
    self.embedding = embeddings.Embed(self.vocab_size, self.embedding_size)
    self.recurrent = self.stack.clone(parent=None, name=None)
    if self.backward_stack is not None:
      self.backward = self.backward_stack.clone(parent=None, name=None)
    output_size = self.stack.output_size
    if self.latent_to_output:
      output_size += self.latent_size
    dense = functools.partial(
      nn.Dense,
      precision=products.lax_precision(self.precision),
      dot_general=products.dense_product(self.precision),
    )
    if self.tied_embeddings and self.embedding_size != output_size:
      # A tied output layer reads vectors of the embedding size.
      self.projection = dense(self.embedding_size, use_bias=False)
    if not self.tied_embeddings:
      self.output_kernel = self.param(
        'output_kernel',
        nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform'),
        (output_size, self.vocab_size),
      )
    if self.output_bias:
      self.bias = self.param(
        'output_bias', nn.initializers.zeros_init(), (self.vocab_size,)
      )
    else:
      self.bias = jnp.zeros(self.vocab_size)
    if self.latent_size:
      zero = jax.eval_shape(lambda: self.stack.zero_carry(1))
      size = sum(x.shape[1] for x in jax.tree.leaves(zero))
      self.initial = dense(size)

  def __call__(
    self,
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    latents: jax.Array | None = None,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    token_counts: tuple[int, ...] = (),
    smoothing: jax.Array | None = None,
    carry: recurrent.Carry | None = None,
    teacher: cross_entropy.Teacher | None = None,
    through_teacher: bool = False,
    memory: attention_lib.Memory | None = None,
  ) -> Reading:
    """Nats of `targets`, each token given the inputs up to it.

    Args:
      inputs: int[B, T], bos and the sentence.
      targets: int[B, T], the sentence and eos.
      mask: bool[B, T], True on real targets.
      latents: float[B, Z], for a conditional model.
      rates: drop probabilities.
      keys: key[B]; None for no dropout, as in evaluation.
      token_counts: see `batches.Bucket`.
      smoothing: float[], label smoothing; see `ops.cross_entropy`.
      carry: the carry before the first token; None: that of `start`.
      teacher: the teacher of the augmented loss; see `ops.cross_entropy`.
      through_teacher: whether gradients flow to the teacher's table.
      memory: what is attended to, from `remember`.

    Returns:
      The nats. Label smoothing and the augmented loss change `total` alone.
    """
    if carry is None:
      carry = self.start(inputs.shape[0], latents)
    options = (
      rates,
      keys,
      token_counts,
      smoothing,
      teacher,
      through_teacher,
      memory,
    )
    batch = inputs, targets, mask
    reading = self._read(self.recurrent, batch, latents, carry, *options)
    if self.backward_stack is None:
      return reading
    lengths = jnp.sum(mask, axis=1, keepdims=True)
    time = jnp.arange(mask.shape[1])[None, :]
    # The words in reverse; bos stays first and eos last.
    words = jnp.where(time < lengths - 1, lengths - 2 - time, time)
    backwards = jnp.take_along_axis(targets, words, axis=1)
    inputs = jnp.concatenate([inputs[:, :1], backwards[:, :-1]], axis=1)
    zero = self.backward_stack.zero_carry(len(mask))
    batch = inputs, backwards, mask
    keys = None if keys is None else noise.site_keys(keys, 'backward')
    options = rates, keys, *options[2:]
    other = self._read(self.backward, batch, latents, zero, *options)
    total = reading.total + other.total
    return reading._replace(total=total, backward_nll=other.nll)

  def _read(
    self,
    stack,
    batch,
    latents,
    carry,
    rates,
    keys,
    token_counts,
    smoothing,
    teacher,
    through_teacher,
    memory,
  ) -> Reading:
    """Reads a batch with one stack; see `__call__`."""
    inputs, targets, mask = batch
    if rates is not None and keys is not None and not self.inputless:
      inputs = noise.drop_words(inputs, rates.word, keys, vocab.UNK, vocab.BOS)
    x = self._embed(inputs, rates, keys)
    carry, outputs = stack(
      x, mask, carry, rates, keys, **self._context(latents)
    )
    dropped = self._attend(outputs, memory)
    if rates is not None and keys is not None:
      dropped = noise.dropout(
        dropped, rates.output, keys, 'output', self.locked_dropout
      )
    kernel = self._kernel()
    total, nll = cross_entropy.linear_cross_entropy(
      self._project(dropped, latents).reshape(-1, kernel.shape[0]),
      kernel,
      self.bias,
      targets.reshape(-1),
      mask.reshape(-1).astype(jnp.float32),
      cross_entropy.Options(
        self.precision, token_counts, through_teacher=through_teacher
      ),
      smoothing,
      teacher,
    )
    nll = nll.reshape(mask.shape)
    return Reading(total, nll, carry, outputs, dropped)

  def start(
    self, batch_size: int, latents: jax.Array | None = None
  ) -> recurrent.Carry:
    """The initial carry: zeros, or a function of the latents float[B, Z]."""
    zero = self.stack.zero_carry(batch_size)
    if not self.latent_size:
      return zero
    states, tree = jax.tree.flatten(zero)
    values = nn.tanh(self.initial(latents))
    return jax.tree.unflatten(tree, jnp.split(values, len(states), axis=1))

  def step(
    self,
    carry: recurrent.Carry,
    tokens: jax.Array,
    latents: jax.Array | None = None,
    memory: attention_lib.Memory | None = None,
  ) -> tuple[recurrent.Carry, jax.Array]:
    """One step of decoding: carry, int[B] -> carry, logits float[B, V]."""
    x = self._embed(tokens[:, None])
    mask = jnp.ones((tokens.shape[0], 1), bool)
    carry, hidden = self.recurrent(x, mask, carry, **self._context(latents))
    hidden = self._attend(hidden, memory)
    return carry, cross_entropy.linear_logits(
      self._project(hidden, latents)[:, 0],
      self._kernel(),
      self.bias,
      self.precision,
    )

  def remember(
    self, values: jax.Array, mask: jax.Array
  ) -> attention_lib.Memory | None:
    """What steps attend to: float[B, S, F], bool[B, S] -> memory or None."""
    if self.attention is None:
      return None
    return self.attention.remember(values, mask)

  def likeliest(
    self,
    hidden: jax.Array,
    forbidden: jax.Array,
    latents: jax.Array | None = None,
  ) -> jax.Array:
    """The likeliest token of each step, computed step by step.

    Args:
      hidden: float[B, T, H], `Reading.dropped`.
      forbidden: bool[V], ids that are left out.
      latents: float[B, Z], for a conditional model.

    Returns:
      int32[B, T].
    """
    kernel, bias = self._kernel(), self.bias

    def best(step):
      logits = cross_entropy.linear_logits(step, kernel, bias, self.precision)
      logits = jnp.where(forbidden[None, :], -jnp.inf, logits)
      return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    steps = jnp.swapaxes(self._project(hidden, latents), 0, 1)
    return jax.lax.map(best, steps).T

  def _embed(self, tokens, rates=None, keys=None):
    x = self.embedding(tokens)
    if self.inputless:
      x = jnp.zeros_like(x)
    elif rates is not None and keys is not None:
      x = noise.drop_word_types(x, tokens, rates.word_type, keys)
      x = noise.dropout(
        x, rates.embedding, keys, 'embedding', self.locked_dropout
      )
    return x

  def _attend(self, outputs, memory):
    if self.attention is None or memory is None:
      return outputs
    return self.attention(outputs, memory)

  def _context(self, latents):
    """The keyword argument with the context that the stack reads, if any."""
    return {'context': latents} if self.latent_every_step else {}

  def _project(self, hidden, latents):
    """The input of the output layer, from outputs float[B, T, H]."""
    if self.latent_to_output:
      hidden = recurrent.beside(hidden, latents)
    if self.tied_embeddings and self.embedding_size != hidden.shape[-1]:
      return self.projection(hidden)
    return hidden

  def _kernel(self):
    tied = self.tied_embeddings
    return self.embedding.embedding.T if tied else self.output_kernel
