r"""What an update costs on paper, checked against the compiled programs.

  python -m benchmarks.scaling_model            the tables of docs/scaling.md
  python -m benchmarks.scaling_model --check --json=scaling_model.json

The model is of the GRU language model: products of matrices, what is read and
written, what devices exchange, and memory. `--check` compiles real updates for
1, 2, 4 and 8 simulated devices and compares XLA's own counts. A loop's body is
counted once by XLA, so the programs that are compiled have one time step and
one update a call. Times are not measured: they follow from the figures of
`Accelerator`, which are the maker's but for those that say otherwise.
"""

import json
import math
import re
from typing import Any, NamedTuple

from absl import app, flags
import jax
import jax.numpy as jnp

from benchmarks import harness
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches
from rnnvae_jax.training import devices, optimizers, step
from rnnvae_jax.training import hyperparameters as hyperparameters_lib
from rnnvae_jax.training import state as state_lib

_CHECK = flags.DEFINE_bool('check', False, 'Compile, and compare.')

FLOAT = 4  # Bytes of a parameter, a gradient, an activation.
COUNTS = 1, 2, 4, 8  # Devices of the check.
# Floating-point operations of Adam, clipping and the gradient's norm for each
# parameter, as XLA counts them on a CPU (`--check`).
PER_PARAMETER = 18
_COLLECTIVE = re.compile(
  r'^\s*\S+ = (.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|'
  r'collective-permute)(?:-start)?\(',
  re.MULTILINE,
)


class Model(NamedTuple):
  """Sizes of a GRU language model whose two vocabulary matrices differ."""

  vocab: int
  embedding: int
  hidden: int
  layers: int = 1


def parameters(model: Model) -> int:
  """The number of parameters."""
  V, E, H, _ = model
  widths = [E] + [H] * (model.layers - 1)
  cells = sum(3 * H * (width + H) + 4 * H for width in widths)
  return V * E + cells + H * V + V


def vocabulary_share(model: Model) -> float:
  """The share of the parameters that the two vocabulary matrices have."""
  return model.vocab * (model.embedding + model.hidden + 1) / parameters(model)


def flops_per_token(model: Model) -> int:
  """Operations of matrix products, forwards (2 a weight) and backwards (4).

  The embedding is looked up, so it has none.
  """
  V, E, H, _ = model
  widths = [E] + [H] * (model.layers - 1)
  return 6 * (sum(3 * H * (width + H) for width in widths) + H * V)


def update_flops(model: Model, tokens: int) -> int:
  """Operations of an update on one device that has so many tokens."""
  return tokens * flops_per_token(model) + PER_PARAMETER * parameters(model)


def state_bytes(model: Model) -> int:
  """Bytes of parameters and Adam's two means, on each device."""
  return 3 * FLOAT * parameters(model)


def exchanged_bytes(model: Model) -> int:
  """Bytes of the gradients, which meet in one exchange an update."""
  return FLOAT * parameters(model)


def activation_bytes(model: Model, tokens: int) -> int:
  """Bytes that are kept from the forward for the backward pass, about.

  Of each token the embedding, and of each layer its gates and output. The
  logits are computed in chunks and not kept.
  """
  return FLOAT * tokens * (model.embedding + 4 * model.hidden * model.layers)


class Accelerator(NamedTuple):
  """Figures of a device.

  Attributes:
    flops: operations a second in bfloat16, dense.
    share: of them that large products reach; assumed.
    memory: bytes.
    bandwidth: bytes a second of its memory.
    link: bytes a second to the others of its machine, in each direction.
    network: bytes a second to other machines.
    machine: devices of a machine.
    step: seconds of a time step of a layer, forwards and backwards, that more
      devices do not shorten; measured, see docs/speed.md.
    latency: seconds that an exchange takes at least for each doubling of the
      devices; assumed.
  """

  flops: float
  share: float
  memory: float
  bandwidth: float
  link: float
  network: float
  machine: int
  step: float
  latency: float


# NVIDIA's data sheet: 989 Tflop/s, 141 GB at 4.8 TB/s, NVLink of 900 GB/s in
# both directions; a 400 Gbit/s adapter a device.
H200 = Accelerator(
  989e12, 0.4, 141e9, 4.8e12, 450e9, 50e9, 8, 0.80e-3 / 64, 5e-6
)


def exchange_seconds(size: float, count: int, device: Accelerator) -> float:
  """An all-reduce of `size` bytes: a ring in each machine, then between them.

  Between machines each device of one exchanges its own share.
  """
  if count == 1:
    return 0.0
  within = min(count, device.machine)
  machines = math.ceil(count / device.machine)
  seconds = 2 * (within - 1) / within * size / device.link
  seconds += 2 * (machines - 1) / machines * size / within / device.network
  return seconds + device.latency * math.log2(count)


def seconds(
  model: Model, rows: int, length: int, count: int, device: Accelerator
) -> dict[str, float]:
  """The time of an update by its parts.

  Args:
    model: its sizes.
    rows: of each device.
    length: tokens of a row.
    count: of the devices.
    device: its figures.

  Returns:
    'products' of matrices outside the recurrence; 'recurrence', time step
    after time step; 'update', which reads and writes parameters, gradients and
    Adam's means; 'exchange' of the gradients.
  """
  tokens = rows * length
  return {
    'products': tokens * flops_per_token(model) / device.flops / device.share,
    'recurrence': length * model.layers * device.step,
    'update': 7 * FLOAT * parameters(model) / device.bandwidth,
    'exchange': exchange_seconds(exchanged_bytes(model), count, device),
  }


CASES = {
  'PTB, 10,000 words, one layer of 512': (Model(10_000, 256, 512), 32, 32),
  '100,000 words, two layers of 1,024': (Model(100_000, 512, 1_024, 2), 64, 64),
  'a million words, two layers of 2,048': (
    Model(1_000_000, 512, 2_048, 2),
    64,
    64,
  ),
}


def table(device: Accelerator = H200) -> str:
  """What binds where, as Markdown."""
  lines = [
    '| model, rows and tokens of a device | devices | products | recurrence '
    '| update | exchange | tokens a second | a trillion tokens |',
    '| --- ' * 8 + '|',
  ]
  for name, (model, rows, length) in CASES.items():
    for count in (1, 8, 64, 1_024):
      parts = seconds(model, rows, length, count, device)
      rate = count * rows * length / sum(parts.values())
      longest = max(parts, key=parts.__getitem__)
      shown = [
        f'**{1e3 * value:.3g} ms**'
        if part == longest
        else f'{1e3 * value:.3g} ms'
        for part, value in parts.items()
      ]
      first = f'{name}, {rows} x {length}' if count == 1 else ''
      lines.append(
        f'| {first} | {count:,} | {" | ".join(shown)} | {rate:.2g} '
        f'| {1e12 / rate / 86_400:,.1f} days |'
      )
  return '\n'.join(lines)


def memory_table(device: Accelerator = H200) -> str:
  """Parameters and memory, as Markdown."""
  lines = [
    '| model | parameters | of the vocabulary | state | gradients '
    '| activations | of a device |',
    '| --- ' * 7 + '|',
  ]
  for name, (model, rows, length) in CASES.items():
    parts = (
      state_bytes(model),
      exchanged_bytes(model),
      activation_bytes(model, rows * length),
    )
    shown = ' | '.join(f'{size / 1e9:.2g} GB' for size in parts)
    lines.append(
      f'| {name} | {parameters(model) / 1e6:,.1f} M '
      f'| {vocabulary_share(model):.0%} | {shown} '
      f'| {sum(parts) / device.memory:.1%} |'
    )
  return '\n'.join(lines)


def compiled(model: Model, rows: int, count: int) -> Any:
  """An update of one time step on `rows` rows, compiled for some devices."""
  config = config_build.default('language_model')
  config.update_from_flattened_dict(
    {
      'model.embedding_size': model.embedding,
      'model.hidden_size': model.hidden,
      'model.num_layers': model.layers,
      'model.backend': 'fused',
      'train.batch_size': rows,
      'devices': count,
    }
  )
  task = config_build.task('language_model').build(config, range(model.vocab))
  tx = optimizers.build(config)
  mesh = devices.for_rows(config)
  integers = lambda *axes: jax.ShapeDtypeStruct(axes, jnp.int32)
  scalars = hyperparameters_lib.build(config_build.keys_of(config), config)
  return (
    step.make_train_step(
      task, tx, (batches.Bucket(1),), config.optimizer.schedule, mesh=mesh
    )
    .lower(
      state_lib.abstract(task, tx),
      batches.DeviceSplit(integers(999), *[integers(99)] * 3, integers()),
      integers(1, rows),
      integers(1),
      jax.eval_shape(lambda: scalars),
    )
    .compile()
  )


def counts(model: Model, rows: int, count: int) -> dict[str, float]:
  """XLA's counts of an update, for each device."""
  program = compiled(model, rows, count)
  memory = program.memory_analysis()
  exchanged = _COLLECTIVE.findall(program.as_text())
  sizes = [_bytes(types) for types in exchanged]
  return {
    'flops': program.cost_analysis()['flops'],
    'bytes': program.cost_analysis()['bytes accessed'],
    'arguments': memory.argument_size_in_bytes,
    'temporary': memory.temp_size_in_bytes,
    'exchanges of arrays': sum(size > FLOAT for size in sizes),
    'exchanges of numbers': sum(size <= FLOAT for size in sizes),
    'exchanged': sum(sizes),
  }


def _bytes(types: str) -> int:
  """Bytes of arrays, such as 'f32[3,5]{1,0}' or several in brackets."""
  return sum(
    FLOAT * math.prod(map(int, filter(None, axes.split(','))))
    for axes in re.findall(r'[fsu]32\[([\d,]*)\]', types)
  )


# All sizes differ, and products are most of the work.
CHECKED = Model(512, 48, 64)


def check() -> dict[str, Any]:
  """Counts on several devices, of two batches; and what the model says.

  What grows with the rows is the work of a token; the rest is that of the
  parameters. Of a single time step nobody asks for the gradient with respect to
  the state before it.
  """
  unasked = 2 * 3 * CHECKED.hidden**2
  found: dict[str, Any] = {}
  for count in COUNTS:
    small, large = (counts(CHECKED, count * rows, count) for rows in (32, 64))
    slope = (large['flops'] - small['flops']) / 32
    found[str(count)] = {
      'flops_per_token': slope,
      'flops_per_parameter': (small['flops'] - 32 * slope)
      / parameters(CHECKED),
      **large,
    }
  return {
    'model': {
      'parameters': parameters(CHECKED),
      'flops_per_token': flops_per_token(CHECKED) - unasked,
      'flops_per_parameter': PER_PARAMETER,
      'exchanged': exchanged_bytes(CHECKED),
      'state': state_bytes(CHECKED),
    },
    'devices': found,
  }


def main(_) -> None:
  if not _CHECK.value:
    print(table(), memory_table(), sep='\n\n')
    return
  jax.config.update('jax_num_cpu_devices', max(COUNTS))
  result = check()
  report = {
    'ours': result,
    'peers': {},
    'ratio': {},
    'environment': harness.environment(),
  }
  harness.write(report)
  print(json.dumps(result, indent=2))


if __name__ == '__main__':
  app.run(main)
