r"""The output layer with its loss: time and memory against the plain program.

  python -m benchmarks.loss_memory --json=loss_memory.json
  python -m benchmarks.loss_memory --tokens=704 --vocab_size=9877

Both compute the sum of the tokens' nats, and its gradients with respect to the
hidden vectors, the kernel and the bias, in float32. `plain` is the usual
program: logits, jax.nn.log_softmax, the target's entry. Memory is the temporary
memory of the compiled program, without arguments and results, as reported by
XLA: exact, and the same in each run.
"""

from absl import app, flags
import jax
import jax.numpy as jnp

from benchmarks import harness
from rnnvae_jax.ops import cross_entropy

_TOKENS = flags.DEFINE_integer('tokens', 8_192, 'Tokens of a batch.')
_VOCAB_SIZE = flags.DEFINE_integer('vocab_size', 100_000, 'Words.')
_FEATURES = flags.DEFINE_integer('features', 256, 'Of a hidden vector.')


def plain(hidden, kernel, bias, targets, weights):
  logits = jnp.matmul(hidden, kernel, precision='highest') + bias[None, :]
  log_probabilities = jax.nn.log_softmax(logits)
  chosen = jnp.take_along_axis(log_probabilities, targets[:, None], axis=-1)
  return -jnp.sum(weights * chosen[:, 0])


CONTESTANTS = {
  'ours': lambda *arrays: cross_entropy.linear_cross_entropy(*arrays)[0],
  'plain': plain,
}


def main(_) -> None:
  arrays = make_arrays(_TOKENS.value, _VOCAB_SIZE.value, _FEATURES.value)
  programs = {
    name: jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    .lower(*arrays)
    .compile()
    for name, loss in CONTESTANTS.items()
  }
  timings = harness.interleave(
    {
      name: lambda turn, program=program: program(*arrays)
      for name, program in programs.items()
    },
    harness.REPETITIONS.value,
  )
  figures = {
    name: {
      'temporary_bytes': program.memory_analysis().temp_size_in_bytes,
      'milliseconds': harness.spread(1e3 * timings[name].turns),
    }
    for name, program in programs.items()
  }
  ratio = harness.ratio(timings['plain'], timings['ours'])
  rows = {
    name: {
      'temporary MB': f'{1e-6 * figure["temporary_bytes"]:,.1f}',
      'ms': harness.brief(figure['milliseconds']),
    }
    for name, figure in figures.items()
  }
  report = {
    'ours': figures.pop('ours'),
    'peers': figures,
    'ratio': {'plain': ratio},
    'environment': harness.environment(
      tokens=_TOKENS.value,
      vocab_size=_VOCAB_SIZE.value,
      features=_FEATURES.value,
    ),
  }
  title = f'Linear cross-entropy; plain takes {ratio:.2f} times the time'
  harness.publish(title, rows, report)


def make_arrays(tokens: int, vocab_size: int, features: int):
  """Random hidden vectors, kernel, bias and targets; weights of 1."""
  keys = jax.random.split(jax.random.key(0), 4)
  return (
    jax.random.normal(keys[0], (tokens, features)),
    jax.random.normal(keys[1], (features, vocab_size)) / features**0.5,
    jax.random.normal(keys[2], (vocab_size,)),
    jax.random.randint(keys[3], (tokens,), 0, vocab_size),
    jnp.ones(tokens),
  )


if __name__ == '__main__':
  app.run(main)
