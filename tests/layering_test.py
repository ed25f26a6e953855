"""Imports point one way, and heavy ones wait until they are needed."""

import ast
import functools
import importlib.util
import pathlib
import re
import subprocess
import sys

from absl.testing import absltest, parameterized

from rnnvae_jax.config import build, render

PACKAGE = pathlib.Path(
  importlib.util.find_spec('rnnvae_jax').submodule_search_locations[0]
)
# Which anything may import.
BOTTOM = {'errors', 'registry', 'config.schema', 'web.page'}
# What each layer may import: itself and those below. A layer is a folder of the
# package or, where a folder has several, a module.
BELOW = {
  'ops': (),
  'data': (),
  'objectives': ('ops',),
  # The ids of marks such as <unk>, which are constants.
  'models': ('data', 'objectives', 'ops'),
  'tasks': ('models', 'objectives', 'data', 'ops'),
  'config.build': ('tasks',),
  'training': ('config.build', 'tasks'),
  'config.argument': ('config.build', 'data'),
  'config.files': (),
  'config.render': ('config.build',),
  'config.space': ('config.build', 'config.files'),
  'config.saved': ('config.build', 'training'),
  'config.command_line': (
    'config.files',
    'config.render',
    'config.saved',
    'training',
  ),
  'analysis': ('models',),
  'inference': ('training', 'analysis'),
  'web': ('inference',),
  # Its processes begin as that of the command line does.
  'results': ('inference', 'startup'),
  'search': ('results', 'config.space'),
  'commands': ('search', 'web'),
  'startup': ('training',),
  'main': ('commands', 'config.command_line', 'startup'),
  '': (
    'config.files',
    'inference',
    'training',
  ),  # What library users are given.
}
# By library, the modules that may import it.
KEPT = {
  'orbax': {'training.checkpoints'},
  'tensorflow_datasets': {'data.prepared'},
  'tensorboardX': {'training.writers'},
}
NEVER = ('tensorflow', 'torch')
# In these neither flags nor logging, files, writers or configs.
PURE = ('ops', 'objectives', 'models')
IMPURE = ('absl', 'clu', 'os', 'orbax', 'tensorflow_datasets', 'ml_collections')
# It compiles sources for the machine at hand, and keeps the result.
BUILDERS = ('ops.compiled',)
# They take seconds to import, or are not needed to train.
HEAVY = {
  'gensim',
  'gradio',
  'grain',
  'matplotlib',
  'nltk',
  'optuna',
  'plotly',
  'sacrebleu',
  'sklearn',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
  'torch',
}
# Modules that import a heavy library at their head. Nothing but a function
# imports them in turn.
AT_THE_HEAD = {'tensorflow_datasets': {'data.prepared'}}
# Where a task's name stands outside `tasks/`, and why.
NAMED = {
  # The defaults of a day in the past, which never change.
  'results.first_defaults': {'sentence_vae'},
  # A critic is a language model, whatever the run that it judges.
  'inference.judge': {'language_model'},
}


@functools.cache
def modules():
  """By dotted name below the package, its tree."""
  found = {}
  for path in sorted(PACKAGE.rglob('*.py')):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    if parts[0] == '_configs':
      continue
    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
    found[name] = ast.parse(path.read_text(encoding='utf-8'))
  return found


def imports(tree, everywhere=True):
  """Absolute names of all that is imported; inside functions if everywhere."""
  nodes = ast.walk(tree) if everywhere else at_the_head(tree)
  for node in nodes:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'relative imports are not followed'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def at_the_head(tree):
  """The nodes of a module that run when it is imported."""
  for node in ast.iter_child_nodes(tree):
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
      yield node
      yield from at_the_head(node)


def imported_modules(tree, known, everywhere=True):
  """Which of the known modules are imported, by their names."""
  for dotted in imports(tree, everywhere):
    package, _, name = dotted.partition('.')
    if package == 'rnnvae_jax':
      while name and name not in known:
        name = name.rpartition('.')[0]
      yield name


def layer_of(name):
  """The layer of 'training.step' or 'config.build'."""
  first, _, rest = name.partition('.')
  return f'config.{rest}' if first == 'config' and rest else first


@functools.cache
def allowed(layer):
  """All layers that it may import."""
  below = {layer, *BELOW[layer]}
  return frozenset(below.union(*(allowed(other) for other in BELOW[layer])))


def upward(name, tree):
  """The modules that a module imports and that its layer may not."""
  legal = allowed(layer_of(name))
  return [
    found
    for found in imported_modules(tree, {**modules(), name: tree})
    if found not in BOTTOM and layer_of(found) not in legal
  ]


def circles(graph):
  """Sets of nodes that reach each other, from node -> its successors."""
  reached = {}

  def reach(node):
    seen, todo = set(), [node]
    while todo:
      for following in graph.get(todo.pop(), ()):
        if following not in seen:
          seen.add(following)
          todo.append(following)
    return seen

  for node in graph:
    reached[node] = reach(node)
  return {
    frozenset(
      other for other in reached[node] if node in reached.get(other, ())
    )
    for node in graph
    if node in reached[node]
  }


def task_names(tree):
  """Names of tasks in a module's strings, and tasks that it imports."""
  prose = {
    id(node.body[0].value)
    for node in ast.walk(tree)
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    and node.body
    and isinstance(node.body[0], ast.Expr)
  }
  found = set()
  for node in ast.walk(tree):
    if (
      isinstance(node, ast.Constant)
      and isinstance(node.value, str)
      and id(node) not in prose
    ):
      quoted = re.findall(r"'(\w+)'", node.value)
      found |= {node.value, *quoted} & {*build.TASKS}
  for dotted in imports(tree):
    name = dotted.removeprefix('rnnvae_jax.tasks.').partition('.')[0]
    if dotted.startswith('rnnvae_jax.tasks.') and name in build.TASKS:
      found.add(name)
  return found


class ArrowsTest(parameterized.TestCase):
  def test_every_module_has_a_layer(self):
    found = {layer_of(name) for name in modules()} - BOTTOM - {'config'}
    self.assertLessEqual(found, {*BELOW})

  def test_no_import_points_up(self):
    wrong = {
      name: upward(name, tree)
      for name, tree in modules().items()
      if layer_of(name) in BELOW
    }
    self.assertEqual({k: v for k, v in wrong.items() if v}, {})

  def test_the_bottom_imports_nothing_above_it(self):
    for name in BOTTOM:
      found = set(imported_modules(modules()[name], modules()))
      self.assertLessEqual(found, BOTTOM, name)

  @parameterized.parameters(
    ('ops.noise', 'from rnnvae_jax import models'),
    ('ops.noise', 'from rnnvae_jax.config import build'),
    ('models.cells', 'from rnnvae_jax.training import step'),
    ('objectives.losses', 'import rnnvae_jax.training.step'),
    ('training.step', 'def f():\n  from rnnvae_jax.inference import run'),
    ('data.vocab', 'from rnnvae_jax.training import writers'),
    ('tasks.base', 'from rnnvae_jax.commands import sample'),
    ('analysis.plots', 'from rnnvae_jax.results import plots'),
    ('inference.run', 'from rnnvae_jax.results import rows'),
  )
  def test_an_import_that_points_up_is_found(self, name, source):
    self.assertLen(upward(name, ast.parse(source)), 1)

  def test_no_two_layers_import_each_other(self):
    self.assertEmpty(circles(BELOW))

  def test_no_module_imports_itself_through_others(self):
    graph = {
      name: {*imported_modules(tree, modules())}
      for name, tree in modules().items()
    }
    self.assertGreater(len(graph), 100)
    self.assertEmpty(circles(graph))

  def test_a_circle_is_found(self):
    graph = {'a': {'b'}, 'b': {'c'}, 'c': {'b', 'd'}, 'd': set()}
    self.assertEqual(circles(graph), {frozenset('bc')})
    self.assertEqual(circles({'a': {'a'}}), {frozenset('a')})
    self.assertEmpty(circles({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}))

  def test_pure_layers_touch_nothing(self):
    for name, tree in modules().items():
      if layer_of(name) in PURE and name not in BUILDERS:
        roots = {dotted.split('.')[0] for dotted in imports(tree)}
        self.assertEmpty(roots & set(IMPURE), name)

  def test_libraries_stay_behind_one_module(self):
    users = {}
    for name, tree in modules().items():
      for root in {dotted.split('.')[0] for dotted in imports(tree)}:
        users.setdefault(root, set()).add(name)
    for library, keepers in KEPT.items():
      self.assertEqual(users[library], keepers, library)
    for library in NEVER:
      self.assertNotIn(library, users)


class NamesTest(absltest.TestCase):
  def test_only_tasks_name_a_task(self):
    found = {
      name: task_names(tree)
      for name, tree in modules().items()
      if layer_of(name) != 'tasks'
    }
    self.assertEqual({k: v for k, v in found.items() if v}, NAMED)

  def test_a_name_is_found(self):
    for source in (
      "x = 'ngrams'",
      "'''Doc.'''\ndef f():\n  return \"kind = 'ngrams'.\"",
      'from rnnvae_jax.tasks import ngrams',
      'from rnnvae_jax.tasks.ngrams import task',
    ):
      self.assertEqual(task_names(ast.parse(source)), {'ngrams'}, source)
    for source in ("'''Of 'ngrams'.'''", "x = 'ngramsy'"):
      self.assertEmpty(task_names(ast.parse(source)), source)


class HeavyImportsTest(parameterized.TestCase):
  def test_heavy_libraries_are_imported_where_they_are_needed(self):
    users = {}
    for name, tree in modules().items():
      for dotted in imports(tree, everywhere=False):
        root = dotted.split('.')[0]
        if root in HEAVY:
          users.setdefault(root, set()).add(name)
    self.assertEqual(users, AT_THE_HEAD)
    heads = set().union(*AT_THE_HEAD.values())
    for name, tree in modules().items():
      found = {*imported_modules(tree, modules(), everywhere=False)}
      self.assertEmpty(found & heads, name)

  def test_an_import_at_the_head_is_found(self):
    source = (
      'if True:\n  import nltk\nclass A:\n  import gensim\n'
      'def f():\n  import torch\n  class B:\n    import grain\n'
    )
    found = {*imports(ast.parse(source), everywhere=False)}
    self.assertEqual(found, {'nltk', 'gensim'})

  def imported_by(self, program):
    """Which heavy libraries it imports, and what it prints."""
    program += (
      '\nimport sys\n'
      f'print("HEAVY", *sorted(m for m in {sorted(HEAVY)} if m in sys.modules))'
    )
    done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True,
      text=True,
      cwd=PACKAGE.parent,
      check=False,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    printed, _, heavy = done.stdout.rpartition('HEAVY')
    return heavy.split(), printed

  def test_a_training_step_needs_no_heavy_library(self):
    heavy, _ = self.imported_by(
      'import rnnvae_jax, rnnvae_jax.training.loop, rnnvae_jax.models.build'
    )
    self.assertEmpty(heavy)

  @parameterized.parameters('--help', '--helpfull')
  def test_help_lists_all_keys_tasks_and_modes_without_heavy_libraries(
    self, flag
  ):
    heavy, printed = self.imported_by(
      'import sys\nfrom absl import app\nfrom rnnvae_jax import main\n'
      'from rnnvae_jax.config import command_line\n'
      f'sys.argv = ["main", "{flag}"]\n'
      'try:\n  app.run(main.main, flags_parser=command_line.parse)\n'
      'except SystemExit:\n  pass\n'
    )
    self.assertEmpty(heavy)
    self.assertIn(render.plain(), printed)
    self.assertIn('reconstruct', printed)


if __name__ == '__main__':
  absltest.main()
