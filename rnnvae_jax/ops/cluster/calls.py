"""Persistent CUDA kernels of the GRU and the LSTM, as one custom call of XLA.

The kernels (`kernels.cuh`) are shipped as PTX for NVIDIA GPUs of compute
capability 9.0 and newer; the host library that launches them is compiled when
it is first needed (`build`). The emulator is the same sources compiled for a
CPU. See README.md in this folder.
"""

import ctypes
import functools

import jax

from rnnvae_jax.ops import rules
from rnnvae_jax.ops.cluster import build

PRECISIONS = ('bfloat16', 'tf32')


def padded_size(cell: str, precision: str, size: int) -> int:
  """The smallest size of a kernel that has room for `size` units; 0: none."""
  return min(
    (room for room in build.sizes(cell, precision) if room >= size), default=0
  )


def obstacle(cell: rules.Spec, precision: str, size: int) -> str:
  """Why the kernels do not run a layer on the first device; '' if they do.

  Args:
    cell: the layer's cell.
    precision: one of `products.PRECISIONS`.
    size: H, hidden units.
  """
  if not cell.kernel:
    return 'it runs GRUs that reset after, and LSTMs without peepholes and clip'
  if precision not in PRECISIONS:
    return f'its operands are {" or ".join(PRECISIONS)}'
  largest = max(build.sizes(cell.kernel, precision), default=0)
  if size > largest:
    return f'{cell.name} has kernels for {largest} {precision} units at most'
  capability = getattr(jax.devices()[0], 'compute_capability', '')
  try:
    is_hopper = float(capability) >= 9.0
  except ValueError:  # Not of NVIDIA.
    is_hopper = False
  if not is_hopper:
    return 'its kernels need an NVIDIA GPU of compute capability 9.0'
  return build.obstacle()


@functools.cache
def target(cell: str, precision: str, size: int, emulated: bool) -> str:
  """Registers the custom call of a kernel with XLA, and returns its name.

  Args:
    cell: 'gru' or 'lstm'.
    precision: one of `PRECISIONS`.
    size: hidden units, a result of `padded_size`.
    emulated: whether it runs on a CPU.

  Raises:
    ValueError: the library is not built and cannot be.
  """
  name = f'rnnvae_{build.kernel_name(cell, precision, size)}'
  if emulated:
    library = ctypes.CDLL(str(build.emulator(size)))
    name += '_emulated'
  else:
    library = ctypes.CDLL(str(build.library()))
    module = build.kernel_name(cell, precision, size)
    library.add_kernels(module.encode(), build.ptx(module))
  handler = jax.ffi.pycapsule(library.recurrent_kernel)
  # Modules are loaded at initialisation, because a graph that is being recorded
  # does not allow it.
  stages = {'initialize': handler, 'execute': handler}
  jax.ffi.register_ffi_target(
    name,
    handler if emulated else stages,
    platform='cpu' if emulated else 'CUDA',
  )
  return name
