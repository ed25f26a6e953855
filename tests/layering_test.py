"""Imports point one way, and heavy ones wait until they are needed."""

import ast
import importlib.util
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

PACKAGE = pathlib.Path(
  importlib.util.find_spec('rnnvae_jax').submodule_search_locations[0]
)
# What a layer may import of the others; itself always. Layers are the folders
# and modules of the package. `errors` words messages and imports nothing.
LAYERS = {
  '': set(),
  'errors': set(),
  'ops': set(),
  'data': set(),
  'objectives': {'ops'},
  'models': {'ops'},
  'baselines': {'data'},
  'config_lib': {'baselines', 'data', 'models', 'objectives', 'ops'},
  'training': {
    'baselines',
    'config_lib',
    'data',
    'models',
    'objectives',
    'ops',
  },
  'train': {'data', 'training'},
  'evaluate': {'data', 'training'},
  'generate': {'data', 'ops', 'training'},
  'analysis': {'models'},
  'analyse': {'analysis', 'data', 'training'},
  'judge': {'analysis', 'config_lib', 'data', 'generate', 'training'},
  'results': {
    'analysis',
    'config_lib',
    'data',
    'evaluate',
    'judge',
    'train',
    'training',
  },
  'main': {
    'analyse',
    'config_lib',
    'evaluate',
    'generate',
    'judge',
    'results',
    'train',
    'training',
  },
}
# Single modules, beyond what their layer may import.
EXCEPTIONS = {
  # The ids of <unk> and its like, which are constants.
  'models.language_model': {'rnnvae_jax.data.vocab'},
}
# By library, the modules that may import it.
KEPT = {
  'orbax': {'training.checkpoints'},
  'tensorflow_datasets': {'data.builders'},
  'tensorboardX': {'training.writers'},
  'ml_collections': {'config_lib', 'main', 'training.runs'},
}
NEVER = ('tensorflow', 'torch')
# In these neither flags nor logging, files, writers or configs.
PURE = ('ops', 'objectives', 'models')
IMPURE = ('absl', 'clu', 'os', 'orbax', 'tensorflow_datasets', 'ml_collections')


def modules():
  """(dotted name below the package, whether it is a package, its tree)."""
  for path in sorted(PACKAGE.rglob('*.py')):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    is_package = parts[-1] == '__init__'
    name = '.'.join(parts[:-1] if is_package else parts)
    yield name, is_package, ast.parse(path.read_text())


def imports(tree):
  """Absolute names of all that is imported, inside functions as well."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'relative imports are not followed'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def layer_of(dotted):
  """The layer of 'rnnvae_jax.training.step', and of names in it."""
  first = dotted.split('.')[1:2]
  return first[0] if first else ''


def upward(name, tree):
  """The imports of a module that its layer may not have."""
  own = layer_of(f'rnnvae_jax.{name}')
  allowed = LAYERS[own] | {own, 'errors'}
  return [
    dotted
    for dotted in imports(tree)
    if dotted.split('.')[0] == 'rnnvae_jax'
    and layer_of(dotted) not in allowed
    and dotted not in EXCEPTIONS.get(name, ())
  ]


class ArrowsTest(parameterized.TestCase):
  def test_every_module_has_a_layer(self):
    found = {layer_of(f'rnnvae_jax.{name}') for name, _, _ in modules()}
    self.assertEqual(found, set(LAYERS))

  def test_no_import_points_up(self):
    wrong = {name: upward(name, tree) for name, _, tree in modules()}
    self.assertEqual({k: v for k, v in wrong.items() if v}, {})

  @parameterized.parameters(
    ('ops.noise', 'from rnnvae_jax import models'),
    ('models.cells', 'from rnnvae_jax.data import vocab'),
    ('objectives.losses', 'import rnnvae_jax.training.step'),
    ('training.step', 'def f():\n  from rnnvae_jax import train'),
    ('data.vocab', 'from rnnvae_jax.training import writers'),
  )
  def test_an_import_that_points_up_is_found(self, name, source):
    self.assertLen(upward(name, ast.parse(source)), 1)

  def test_no_two_layers_import_each_other(self):
    def below(layer):
      return LAYERS[layer] | {b for a in LAYERS[layer] for b in below(a)}

    for layer in LAYERS:  # Which would recurse for ever.
      self.assertNotIn(layer, below(layer))

  def test_pure_layers_touch_nothing(self):
    for name, _, tree in modules():
      if layer_of(f'rnnvae_jax.{name}') in PURE:
        roots = {dotted.split('.')[0] for dotted in imports(tree)}
        self.assertEmpty(roots & set(IMPURE), name)

  def test_libraries_stay_behind_one_module(self):
    users = {}
    for name, _, tree in modules():
      for root in {dotted.split('.')[0] for dotted in imports(tree)}:
        users.setdefault(root, set()).add(name)
    for library, keepers in KEPT.items():
      self.assertEqual(users[library], keepers, library)
    for library in NEVER:
      self.assertNotIn(library, users)


class HeavyImportsTest(absltest.TestCase):
  def test_a_training_step_needs_no_heavy_library(self):
    heavy = (
      'tensorflow',
      'tensorflow_datasets',
      'gensim',
      'nltk',
      'torch',
      'matplotlib',
      'tensorboardX',
    )
    program = (
      'import sys, rnnvae_jax, rnnvae_jax.training.step, rnnvae_jax.models\n'
      f'print(*(m for m in {heavy} if m in sys.modules))'
    )
    done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True,
      text=True,
      cwd=PACKAGE.parent,
      check=False,
    )
    self.assertEqual((done.stdout, done.returncode), ('\n', 0), done.stderr)


if __name__ == '__main__':
  absltest.main()
