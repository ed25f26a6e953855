"""Who runs a recurrence: which backend, on which platform."""

from rnnvae_jax import errors
from rnnvae_jax.ops import rules

BACKENDS = ('auto', 'scan', 'fused', 'pallas', 'cudnn')


def choose(
  backend: str,
  cell: rules.Cell,
  precision: str,
  platform: str,
  drops_states: bool = False,
) -> str:
  """The backend that runs a cell on a platform, 'auto' resolved.

  Args:
    backend: one of `BACKENDS`.
    cell: to be run.
    precision: one of `products.PRECISIONS`.
    platform: 'cpu', 'gpu' or 'tpu'.
    drops_states: whether the recurrent products read states through a mask.

  Returns:
    'scan', 'fused', 'pallas' or 'cudnn'.

  Raises:
    ValueError: the backend cannot run this cell here.
  """
  plain_lstm = cell.kind == 'lstm' and not cell.peepholes and not cell.cell_clip
  obstacles = {
    'auto': '',
    'scan': '',
    'fused': '',
    'pallas': 'its kernels need an NVIDIA GPU'
    if platform != 'gpu'
    else 'its kernels know no config.dropout.recurrent'
    if drops_states
    else '',
    'cudnn': 'it needs an NVIDIA GPU'
    if platform != 'gpu'
    else 'it knows LSTMs without peepholes and clipping only'
    if not plain_lstm
    else 'it computes in float32 or tf32 only'
    if precision == 'bfloat16'
    else 'it knows no config.dropout.recurrent'
    if drops_states
    else '',
  }
  if backend not in obstacles:
    raise ValueError(errors.unknown('config.model.backend', backend, obstacles))
  if obstacles[backend]:
    legal = ', '.join(name for name, why in obstacles.items() if not why)
    raise ValueError(
      f'config.model.backend = {backend!r} does not fit: '
      f'{obstacles[backend]}. Legal here: {legal}.'
    )
  if backend != 'auto':
    return backend
  return 'fused' if obstacles['cudnn'] else 'cudnn'
