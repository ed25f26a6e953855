r"""Compiles the kernels' host library, their emulator, and their PTX.

  python -m rnnvae_jax.ops.cluster.build

builds the host library with a C++ compiler ($CXX, or g++), which otherwise
happens when the backend is first used. It needs neither CUDA nor a GPU. With
--ptx it compiles the kernels with nvcc instead, replaces the PTX that the
package ships, and prints each kernel's registers, spills and shared memory.
"""

from collections.abc import Sequence
import functools
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

from rnnvae_jax.ops import compiled

FOLDER = pathlib.Path(__file__).parent
ARCHIVE = FOLDER / 'kernels.zip'
_SOURCES = 'sources.sha256'  # In the archive: of what it was compiled from.
_KERNEL_SOURCES = ('cells.cuh', 'kernels.cuh', 'machine_gpu.cuh', 'entry.cu')
_HOST_SOURCES = ('cells.cuh', 'kernels.cuh', 'driver.h', 'host.cc')
_EMULATOR_SOURCES = (
  'cells.cuh',
  'kernels.cuh',
  'machine_emulated.h',
  'host.cc',
)
_ARCHITECTURE = 'compute_90'
_ALL = tuple(
  (cell, precision, size)
  for cell in ('gru', 'lstm')
  for precision in ('bfloat16', 'tf32')
  for size in (64, 128, 256, 384, 512)
  # Otherwise the weights do not fit on chip.
  if (cell, precision) != ('lstm', 'tf32') or size <= 256
)


def sizes(cell: str, precision: str) -> tuple[int, ...]:
  """Hidden units that there are kernels for, in ascending order."""
  return tuple(size for *key, size in _ALL if key == [cell, precision])


def kernel_name(cell: str, precision: str, size: int) -> str:
  """The name of the module that holds a kernel's two directions."""
  return f'{cell}_{precision}_{size}'


def ptx(module: str) -> bytes:
  """The PTX of a module."""
  with zipfile.ZipFile(ARCHIVE) as archive:
    return archive.read(f'{module}.ptx')


def sources_digest(names: Sequence[str] = _KERNEL_SOURCES) -> str:
  """A digest of source files, by default of those of the PTX."""
  digest = hashlib.sha256()
  for name in names:
    digest.update((FOLDER / name).read_bytes())
  return digest.hexdigest()


def archived_digest() -> str:
  """The digest of the sources that the archive was compiled from."""
  with zipfile.ZipFile(ARCHIVE) as archive:
    return archive.read(_SOURCES).decode()


def is_built() -> bool:
  """Whether the host library exists."""
  return _output(_HOST_SOURCES, ()).exists()


def obstacle() -> str:
  """Why there is no host library; '' if there is one, or can be."""
  if compiled.compiler() or is_built():
    return ''
  return (
    'its library has to be built once with g++ or $CXX (python -m '
    'rnnvae_jax.ops.cluster.build), and neither is here'
  )


def library() -> pathlib.Path:
  """The host library, which is compiled unless it has been.

  Raises:
    ValueError: it cannot be compiled.
  """
  return _compiled(_HOST_SOURCES, ())


def emulator(size: int) -> pathlib.Path:
  """The emulator of the kernels of one size, likewise."""
  return _compiled(_EMULATOR_SOURCES, ('-DEMULATED', f'-DSIZES={size}'))


def _output(sources, flags) -> pathlib.Path:
  paths = [FOLDER / name for name in sources]
  return compiled.output('cluster', paths, flags)


@functools.cache
def _compiled(sources, flags) -> pathlib.Path:
  path = _output(sources, flags)
  try:
    return compiled.build(path, FOLDER / sources[-1], ('-O1', *flags))
  except OSError as error:
    raise ValueError(f'The kernels need a library: {error}.') from error


def _run(command) -> str:
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise ValueError(f'{" ".join(command)} failed:\n{done.stderr}')
  return done.stdout + done.stderr


def _write_ptx() -> None:
  """Compiles all kernels into the archive, and prints what they take."""
  nvcc = shutil.which('nvcc')
  if not nvcc:
    raise ValueError('There is no nvcc.')
  print('| kernel | registers | spilled bytes |\n|---|---|---|')
  modules = {}
  with tempfile.TemporaryDirectory() as folder:
    for cell, precision, size in _ALL:
      module = kernel_name(cell, precision, size)
      defined = [
        f'-DCELL={cell.capitalize()}',
        f'-DOPERAND={precision.capitalize()}',
        f'-DSIZE={size}',
      ]
      out = pathlib.Path(folder, module)
      command = [nvcc, '-std=c++17', '-O3', f'-arch={_ARCHITECTURE}', '-ptx']
      command += [*defined, '-o', str(out), str(FOLDER / _KERNEL_SOURCES[-1])]
      _run(command)
      modules[module] = out.read_bytes()
      # What the driver will do with it.
      check = ['-arch=sm_90', '-v', '-o', f'{out}.cubin', str(out)]
      told = _run([str(pathlib.Path(nvcc).with_name('ptxas')), *check])
      for kernel, spilled, registers in re.findall(
        r"entry function '(\w+)_kernel'.*?(\d+) bytes spill stores"
        r'.*?Used (\d+) registers',
        told,
        re.DOTALL,
      ):
        print(f'| {module}, {kernel} | {registers} | {spilled} |', flush=True)
  with zipfile.ZipFile(ARCHIVE, 'w', zipfile.ZIP_LZMA) as archive:
    # Without times, so that equal sources give equal archives.
    for name, text in sorted(modules.items()):
      archive.writestr(_entry(f'{name}.ptx'), text)
    archive.writestr(_entry(_SOURCES), sources_digest())


def _entry(name: str) -> zipfile.ZipInfo:
  entry = zipfile.ZipInfo(name)
  entry.compress_type = zipfile.ZIP_LZMA
  return entry


if __name__ == '__main__':
  if sys.argv[1:] == ['--ptx']:
    _write_ptx()
  elif len(sys.argv) == 1:
    print(library())
  else:
    sys.exit(__doc__)
