"""Which backend runs a recurrence on which platform, and why."""

from rnnvae_jax import errors
from rnnvae_jax.ops import rules
from rnnvae_jax.ops.cluster import calls
from rnnvae_jax.ops.native import library

BACKENDS = ('auto', 'scan', 'fused', 'native', 'cluster')
# Units from which `auto` takes `native`: below, little time is in the layer.
_NATIVE_SIZE = 128


def choose(
  backend: str,
  cell: rules.Spec,
  precision: str,
  platform: str,
  drops_states: bool = False,
  size: int = 1,
) -> str:
  """The backend that runs a cell on a platform, 'auto' resolved.

  Args:
    backend: one of `BACKENDS`.
    cell: the cell to run.
    precision: one of `products.PRECISIONS`.
    platform: 'cpu', 'gpu' or 'tpu'.
    drops_states: whether the recurrent products read states through a mask.
    size: H, hidden units of the largest layer.

  Returns:
    One of `BACKENDS` other than 'auto'; see `reason`.

  Raises:
    ValueError: the backend cannot run this cell here.
  """
  no_rule = f'cell {cell.name} has no hand-derived rule'
  obstacles = {
    'auto': '',
    'scan': '',
    'fused': no_rule if cell.rule is None else '',
    'native': 'it needs a CPU'
    if platform != 'cpu'
    else 'it runs LSTMs without peepholes and clipping, and GRUs with '
    'reset_after'
    if not cell.kernel
    else 'it computes in float32'
    if precision == 'bfloat16'
    else '',
    'cluster': 'its kernels need an NVIDIA GPU'
    if platform != 'gpu'
    else 'its kernels do not support dropout on states'
    if drops_states
    else calls.obstacle(cell, precision, size),
  }
  if backend not in obstacles:
    raise ValueError(errors.unknown('backend', backend, obstacles))
  # Asked only where it is wanted, because the answer may take a compilation.
  is_wanted = backend == 'native' or (
    backend == 'auto' and size >= _NATIVE_SIZE and library.is_fastest()
  )
  if is_wanted and not obstacles['native']:
    obstacles['native'] = library.obstacle(cell.kernel)
  if obstacles[backend]:
    legal = ', '.join(name for name, why in obstacles.items() if not why)
    raise ValueError(
      f'backend = {backend!r} does not fit: {obstacles[backend]}. '
      f'Legal here: {legal}.'
    )
  if backend != 'auto':
    return backend
  if is_wanted and not obstacles['native']:
    return 'native'
  if not obstacles['cluster']:
    return 'cluster'
  return 'scan' if obstacles['fused'] else 'fused'


def reason(backend: str, cell: rules.Spec) -> str:
  """Describes what a chosen backend runs, for the log.

  Args:
    backend: a result of `choose`.
    cell: the cell that it was chosen for.
  """
  if backend == 'scan' and cell.rule is None:
    return f'cell {cell.name} has no hand-derived rule: nn.scan'
  return {
    'scan': f'nn.scan of cell {cell.name}, automatic gradient',
    'fused': f'hand-derived rule of cell {cell.name}, loops in XLA',
    'native': f'hand-derived rule of cell {cell.name}, the layer in C++',
    'cluster': f'hand-derived rule of cell {cell.name}, CUDA cluster kernels',
  }[backend]
