"""What two processes tell each other; `peers_test.py` runs it in both.

Each has two devices. An assertion that fails in one ends both.
"""

import re
import sys

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.config import files
from rnnvae_jax.ops import rows
from rnnvae_jax.training import (
  devices,
  optimizers,
  peers,
  preparation,
  step,
)
from rnnvae_jax.training import (
  hyperparameters as hyperparameters_lib,
)
from rnnvae_jax.training import state as state_lib

COLLECTIVE = re.compile(
  r'^\s*\S+ = (.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|'
  r'collective-permute)(?:-start)?\(',
  re.MULTILINE,
)


def check_decisions():
  assert peers.count() == 2
  own = {'a': [1.5, np.float32(peers.index())], 'b': float('nan')}
  got = peers.agreed('figures', own)
  assert got['a'] == [1.5, 0.0] and np.isnan(got['b']), got
  assert peers.most(peers.index()) == 1
  assert peers.most(5 - peers.index()) == 5


def check_arrays():
  values = {
    'floats': np.float32([-0.0, np.nan, np.inf, 1e-45]),
    'flag': np.bool_(True),
    'empty': np.zeros((0, 3), np.int32),
    'key': jax.random.key(7),
  }
  given = values if peers.is_first() else jax.eval_shape(lambda: values)
  got = peers.from_first(given)
  for name, want in values.items():
    a, b = got[name], want
    assert (a.dtype, a.shape) == (b.dtype, b.shape), name
    if name == 'key':
      a, b = map(jax.random.key_data, (a, b))
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), name
  mesh = jax.sharding.Mesh(np.array(jax.devices()), (rows.AXIS,))
  table = np.arange(24, dtype=np.float32).reshape(8, 3)
  placed = devices.placed(table, mesh, devices.ROWS)
  assert not placed.is_fully_addressable
  for shard in placed.addressable_shards:
    np.testing.assert_array_equal(shard.data, table[shard.index])
  np.testing.assert_array_equal(devices.own_copy(placed), table)
  everywhere = devices.placed(jax.random.key(3), mesh)
  assert jnp.array_equal(devices.own_copy(everywhere), jax.random.key(3))


def check_exchanges():
  """Gradients meet in one exchange an update, across processes as within."""
  config = files.load('gru_lm:tiny')
  config.train.batch_size = 8
  corpus = preparation.build_corpus(config)
  kind = config_build.task(config.model.kind)
  task = kind.build(config, corpus.vocab)
  tx = optimizers.build(config)
  split, mesh = corpus.splits['train'], devices.for_rows(config)
  assert devices.count(mesh) == 4
  feeding = preparation.feeding(config, split, mesh)
  program = step.make_train_step(
    task, tx, feeding.buckets, 'constant', feeding.gather, mesh=mesh
  )
  arguments = devices.placed(
    (
      feeding.schedule.put(split),
      *map(jnp.asarray, feeding.schedule.steps(0, 2)),
      hyperparameters_lib.build(config_build.keys_of(config), config),
    ),
    mesh,
  )
  state = state_lib.create(task, tx, 0)
  want = [','.join(map(str, x.shape)) for x in jax.tree.leaves(state.params)]
  state = devices.placed(state, mesh, devices.state_specs(task))
  compiled = program.lower(state, *arguments).compile()
  found = COLLECTIVE.findall(compiled.as_text())
  of_arrays = [types for types in found if re.search(r'\[\d', types)]
  assert len(of_arrays) == 1, found
  shapes = re.findall(r'f32\[([\d,]+)\]', of_arrays[0])
  assert sorted(shapes) == sorted(want), shapes


if __name__ == '__main__':
  flags.FLAGS(sys.argv)
  with peers.ending_together():
    peers.join()
    check_decisions()
    check_arrays()
    check_exchanges()
    if not peers.is_first():
      peers.await_end()
