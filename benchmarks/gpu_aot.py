r"""What the compiler makes of the GPU programs, on a machine without a GPU.

  python3.12 -m venv AOT && AOT/bin/pip install -e . 'jax[cuda13]==0.11.2'
  AOT/bin/python -m benchmarks.gpu_aot            compares with the baseline
  AOT/bin/python -m benchmarks.gpu_aot --update   writes a new baseline
  AOT/bin/python -m benchmarks.gpu_aot --programs='vae_step.*' --keep=DUMPS

XLA's compiler for GPUs and NVIDIA's assembler run on any machine (the wheels
take several GB), for the H100 that `gpu/h100.txtpb` describes. Each program is
compiled in a process of its own, and XLA's dump of what the host does is
counted, for one update of the training step, or one call of a layer:

  kernels         that the GPU runs, each pass of a loop and its condition
                  counted; of a branch the longest
  graph_launches  CUDA graphs that the host launches
  launches        kernels and copies that it launches one by one
  host_waits      branches and loops at which it waits for the GPU
  copies          from memory to memory, in graphs or not
  atomic_scatters scatters whose order of additions may vary
  registers, spilled_bytes
                  of each kernel that XLA has not generated

Loops of unknown length, here those for sums that overflow, count as none. No
autotuning takes place: on a GPU, XLA tries libraries and sizes of tiles, so
products may become other kernels. The counts detect changes, and are no times.
"""

from collections.abc import Callable
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app, flags

from benchmarks import baselines

BASELINE = pathlib.Path(__file__).parent / 'results' / 'gpu_aot.json'
PLUGIN = 'jax_plugins.xla_cuda13'  # What is installed if programs compile.

_DEVICE = pathlib.Path(__file__).parent / 'gpu' / 'h100.txtpb'
_PROGRAMS = flags.DEFINE_string('programs', '.*', 'Regular expression.')
_KEEP = flags.DEFINE_string('keep', '', "A folder for XLA's dumps.")
_COMPILE = flags.DEFINE_string('compile', '', 'Internal: one program, here.')

_UPDATES = 20  # In a call of the training step.
# Lengths with their numbers of tokens: two, so that there is a branch.
_BUCKETS = ((23, (704,)), (30, (920,)))
# A layer's batch and length.
_ROWS, _STEPS = 32, 24
_XLA_FLAGS = (
  '--xla_gpu_enable_libnvptxcompiler=false',  # They ask for a GPU's driver.
  '--xla_gpu_enable_libnvjitlink=false',
  '--xla_dump_hlo_as_text',
)
# How XLA's own kernels are called.
_GENERATED = re.compile(r'(loop|input|gemm|wrapped|sort|triton|fusion)_')


def is_installed() -> bool:
  """Whether XLA's compiler for GPUs is there."""
  try:
    return importlib.util.find_spec(PLUGIN) is not None
  except ModuleNotFoundError:  # Not even the package that plugins are in.
    return False


def names() -> list[str]:
  """The programs."""
  layers = [
    f'{cell}_{size}_{precision}_{backend}'
    for backend, sizes in (
      ('fused', (256,)),
      ('cluster', (256,)),
    )
    for cell in ('gru', 'lstm')
    for size in sizes
    for precision in ('float32', 'bfloat16')
    if (backend, precision) != ('cluster', 'float32')  # It has no kernels.
  ]
  return [*layers, 'vae_step_float32', 'vae_step_bfloat16']


def measure(name: str, dump: str = '') -> dict[str, Any]:
  """Compiles a program in a process of its own, and counts.

  Args:
    name: one of `names`.
    dump: the folder for XLA's dump; '': a temporary one.

  Raises:
    RuntimeError: it does not compile.
  """
  with contextlib.ExitStack() as stack:
    folder = dump or stack.enter_context(tempfile.TemporaryDirectory())
    os.makedirs(folder, exist_ok=True)
    xla_flags = (*_XLA_FLAGS, f'--xla_dump_to={folder}')
    start = time.time()
    done = subprocess.run(
      [sys.executable, '-m', 'benchmarks.gpu_aot', f'--compile={name}'],
      env=os.environ
      | {
        'XLA_FLAGS': ' '.join(xla_flags),
        'JAX_PLATFORMS': 'cpu',
        'JAX_SKIP_CUDA_CONSTRAINTS_CHECK': '1',
        'JAX_ENABLE_COMPILATION_CACHE': 'false',
        # The assembler's report of registers is a message of this file.
        'TF_CPP_MIN_LOG_LEVEL': '0',
        'TF_CPP_VMODULE': 'subprocess_compilation=3',
      },
      capture_output=True,
      text=True,
      check=False,
    )
    if done.returncode:
      raise RuntimeError(f'{name}: {done.stderr[-2000:]}')
    read = lambda ending: next(
      path
      for path in pathlib.Path(folder).iterdir()
      if path.name.endswith(ending)
    ).read_text()
    hlo = read('gpu_after_optimizations.txt')
    loops = trip_counts(hlo, read('thunk_metadata.txt'))
    counts = count(parse(read('thunk_sequence_after_thunk_passes.txt')), loops)
  updates = _UPDATES if name.startswith('vae_step') else 1
  return {
    **{key: round(value / updates, 2) for key, value in counts.items()},
    'atomic_scatters': atomic_scatters(hlo),
    **resources(done.stderr),
    'compile_seconds': round(time.time() - start, 1),
  }


class Node:
  """What the host does in one step of a program: a line of XLA's dump."""

  def __init__(self, kind: str, number: int):
    self.kind = kind
    self.number = number
    self.label = ''  # Of the part that is being read.
    self.parts: dict[str, list[Node]] = {}


def parse(text: str) -> list[Node]:
  """Reads XLA's dump of a sequence of thunks.

  A line is a number, a kind and more; its parts follow, four columns further
  in, those of loops and branches after a line with their name.
  """
  root = Node('root', 0)
  open_nodes = {-4: root}  # By indentation, the last one.
  last = root
  for line in text.splitlines():
    if item := re.match(r'( *)(\d+): (k\w+)', line):
      indent = len(item[1])
      last = open_nodes[indent] = Node(item[3], int(item[2]))
      parent = open_nodes[indent - 4]
      parent.parts.setdefault(parent.label, []).append(last)
    elif label := re.match(r'( *)(condition|body|branch_\d+):', line):
      # The dump does not indent conditions; they follow their loop.
      is_next = label[2] == 'condition'
      owner = last if is_next else open_nodes[len(label[1]) - 2]
      owner.label = label[2]
  return root.parts.get('', [])


_COPIES = {'kCopy', 'kMemset32BitValue', 'kMemzero'}
# Kinds that are no work of their own.
_FRAMES = {'kAsyncStart', 'kAsyncDone', 'kDynamicSliceFusion', 'kSequential'}


def count(
  nodes: list[Node], trips: dict[int, int], in_graph: bool = False
) -> dict[str, int]:
  """What a sequence does; the keys are those of the module's docstring.

  Args:
    nodes: the sequence.
    trips: how often a loop runs, by its node's number, where that is known.
    in_graph: whether the GPU runs it without the host.
  """
  total = dict.fromkeys(
    ('kernels', 'graph_launches', 'launches', 'host_waits', 'copies'), 0
  )

  def add(counts, times=1):
    for key, value in counts.items():
      total[key] += times * value

  for node in nodes:
    parts = {
      label: count(part, trips, in_graph or node.kind == 'kCommandBuffer')
      for label, part in node.parts.items()
    }
    if node.kind == 'kCommandBuffer':
      add({'graph_launches': not in_graph})
      add(parts[''])
    elif node.kind == 'kWhile':
      passes = trips.get(node.number)
      add({'host_waits': passes is None and not in_graph})
      add(parts['condition'], (passes or 0) + 1)
      add(parts['body'], passes or 0)
    elif node.kind == 'kConditional':
      add({'host_waits': not in_graph})
      add(max(parts.values(), key=lambda counts: counts['kernels']))
    elif node.kind in _FRAMES:
      add(parts.get('', {}))
    else:
      is_copy = node.kind in _COPIES
      add({'copies' if is_copy else 'kernels': 1, 'launches': not in_graph})
  return total


def trip_counts(hlo: str, metadata: str) -> dict[int, int]:
  """How often loops run, by the number of their node, where XLA knows it."""
  known = {
    loop[1]: int(loop[2])
    for loop in re.finditer(
      r'^ *(?:ROOT )?%(\S+) = .* while\(.*"known_trip_count":\{"n":"(\d+)"',
      hlo,
      re.MULTILINE,
    )
  }
  of_node = re.findall(
    r'profile_annotation: "([^"]+)"\s+thunk_id: (\d+)', metadata
  )
  return {int(node): known[name] for name, node in of_node if name in known}


def atomic_scatters(hlo: str) -> int:
  """Scatters that may write a place more than once."""
  lines = [line for line in hlo.splitlines() if re.search(r' scatter\(', line)]
  return sum('unique_indices=true' not in line for line in lines)


def resources(messages: str) -> dict[str, Any]:
  """The assembler's report.

  Returns:
    'registers' of each kernel that XLA has not generated; 'spilled_bytes',
    stored and loaded, of all kernels.
  """
  registers: dict[str, int] = {}
  spilled = 0
  for kernel in re.finditer(
    r"Compiling entry function '(\S+)'.*?(\d+) bytes spill stores, "
    r'(\d+) bytes spill loads.*?Used (\d+) registers',
    messages,
    re.DOTALL,
  ):
    name, stores, loads, used = kernel.groups()
    spilled += int(stores) + int(loads)
    if not _GENERATED.match(name):
      registers[name] = max(registers.get(name, 0), int(used))
  return {'registers': registers, 'spilled_bytes': spilled}


def regressions(
  baseline: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]
) -> list[str]:
  """A line for each count that is greater than the baseline's."""
  found = []
  for program in sorted(baseline.keys() & now.keys()):
    before, after = _flat(baseline[program]), _flat(now[program])
    found += [
      f'{program}: {name} {before[name]:,} -> {after[name]:,}'
      for name in sorted(before.keys() & after.keys())
      if after[name] > before[name]
    ]
  return found


def _flat(counts: dict[str, Any]) -> dict[str, float]:
  """The counts, with those of each kernel beside the others."""
  flat = {}
  for name, value in counts.items():
    of_each = value if isinstance(value, dict) else {'': value}
    flat |= {f'{name} {each}'.strip(): x for each, x in of_each.items()}
  return flat


def load() -> baselines.Baselines:
  """The baseline, by version of JAX and by program."""
  return baselines.load(BASELINE)


def key() -> str:
  """What a baseline belongs to."""
  return f'jax {importlib.metadata.version("jax")}, H100'


def _compile(name: str) -> None:
  """Compiles a program in this process."""
  import jax
  from jax.experimental import topologies

  from rnnvae_jax.ops.cluster import calls

  calls.obstacle = lambda *_: ''  # It asks the device, which is a CPU here.
  topology = topologies.get_topology_desc(
    platform='cuda', target_config=_DEVICE.read_text(), topology='1x1x1'
  )
  device = jax.sharding.SingleDeviceSharding(topology.devices[0])
  mesh = jax.sharding.AbstractMesh(
    (),
    (),
    abstract_device=jax.sharding.AbstractDevice('NVIDIA H100', None, 'gpu'),
  )
  on_device = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device)
  jax.default_backend = lambda: 'gpu'
  is_step = name.startswith('vae_step')
  program, arguments = (_vae_step if is_step else _layer)(name)
  with jax.sharding.use_abstract_mesh(mesh):
    program.lower(*jax.tree.map(on_device, arguments)).compile()


def _vae_step(name: str) -> tuple[Callable, Any]:
  """The training step of `ours`, and shapes of its arguments."""
  import jax
  import jax.numpy as jnp

  from benchmarks import ours
  from rnnvae_jax.data import batches
  from rnnvae_jax.training import optimizers, step
  from rnnvae_jax.training import state as state_lib

  precision = name.removeprefix('vae_step_')
  config = ours.make_config(precision=precision)
  # As `auto` chooses on such a GPU.
  config.model.backend = 'fused' if precision == 'float32' else 'cluster'
  task, tx = ours.make_task(config, 9_877), optimizers.build(config)
  integers = lambda *axes: jax.ShapeDtypeStruct(axes, jnp.int32)
  program = step.make_train_step(
    task,
    tx,
    tuple(batches.Bucket(*bucket) for bucket in _BUCKETS),
    config.optimizer.schedule,
  )
  return program, (
    state_lib.abstract(task, tx),
    batches.DeviceSplit(integers(999_999), *[integers(42_068)] * 3, integers()),
    integers(_UPDATES, 32),
    integers(_UPDATES),
    jax.eval_shape(lambda: ours.make_hyperparameters(config)),
  )


def _layer(name: str) -> tuple[Callable, Any]:
  """The gradient of a layer, and shapes of its arguments."""
  import jax
  import jax.numpy as jnp

  from rnnvae_jax.config import build as config_build
  from rnnvae_jax.models import build
  from rnnvae_jax.training import compiler

  cell, size, precision, backend = name.split('_')
  config = config_build.default('language_model')
  config.model.cell = cell
  config.model.precision = precision
  config.model.backend = backend
  stack = build.recurrent(config, int(size))

  def program(params, x, mask, carry):
    after, outputs = stack.apply(params, x, mask, carry)
    return jnp.sum(outputs) + sum(map(jnp.sum, jax.tree.leaves(after)))

  x = jax.ShapeDtypeStruct((_ROWS, _STEPS, int(size)), jnp.float32)
  mask = jax.ShapeDtypeStruct(x.shape[:2], bool)
  carry = jax.eval_shape(lambda: stack.zero_carry(_ROWS))
  params = jax.eval_shape(stack.init, jax.random.key(0), x, mask)
  gradients = jax.jit(
    jax.grad(program, (0, 1, 3)), compiler_options=compiler.options('gpu')
  )
  return gradients, (params, x, mask, carry)


def main(_) -> None:
  if _COMPILE.value:
    _compile(_COMPILE.value)
    return
  if not is_installed():
    sys.exit("This needs jax[cuda13] in Python's environment; no GPU.")
  now: dict[str, Any] = {}
  for name in names():
    if not re.fullmatch(_PROGRAMS.value, name):
      continue
    dump = os.path.join(_KEEP.value, name) if _KEEP.value else ''
    now[name] = measure(name, dump)
    print(name, json.dumps(now[name]), flush=True)
    del now[name]['compile_seconds']  # It is another one each time.
    if baselines.UPDATE.value:
      programs = load().get(key(), {}) | now
      baselines.update(BASELINE, key(), programs)
  if not baselines.UPDATE.value:
    baselines.compare(BASELINE, key(), now, regressions)


if __name__ == '__main__':
  app.run(main)
