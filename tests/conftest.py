"""Strict numerics for every test; no network, no accelerator."""

import os

# Before jax is imported: tests never look for an accelerator.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Most of the time is compilation, of what runs a few times. Without LLVM's
# optimisations it takes two thirds, and without MLIR's emitters of fused loops
# a quarter of that; where these options are unknown they are ignored.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_backend_optimization_level=0',
    '--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters',
  )
)

from absl import flags
import jax
from jax.experimental.compilation_cache import compilation_cache
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_nans', True)
flags.FLAGS.mark_as_parsed()


def pytest_configure(config):
  """Corpora are prepared in a folder of this test run, never in the home."""
  del config
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')


@pytest.fixture(autouse=True, scope='session')
def _tfds_data_dir(tmp_path_factory):
  if 'TFDS_DATA_DIR' not in os.environ:
    os.environ['TFDS_DATA_DIR'] = str(tmp_path_factory.mktemp('tfds'))


@pytest.fixture(scope='module')
def compile_once(tmp_path_factory):
  """For modules that compile much of the same again."""
  _configure(
    jax_persistent_cache_min_compile_time_secs=0.0,
    jax_compilation_cache_dir=str(tmp_path_factory.mktemp('compiled')),
  )
  yield
  _configure(
    jax_persistent_cache_min_compile_time_secs=1.0,
    jax_compilation_cache_dir=None,
  )


def _configure(**settings):
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
  """Skips what needs an absent corpus; `slow` runs only when asked for."""
  root = os.environ.get('RNNVAE_DATA_DIR')
  for item in items:
    if item.get_closest_marker('corpus') and not (root and os.path.isdir(root)):
      item.add_marker(pytest.mark.skip(reason='$RNNVAE_DATA_DIR is not set'))
    if item.get_closest_marker('slow') and not config.option.markexpr:
      item.add_marker(pytest.mark.skip(reason='slow: run with -m slow'))
