"""What README and docs name exists: links, paths, modes, configs, keys."""

import pathlib
import re
import runpy
import tomllib

from absl.testing import absltest, parameterized

from benchmarks import render_figures
from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import build, files
from tests.docs import tutorial

ROOT = pathlib.Path(__file__).parents[2]
# RESULTS.md is rendered; it has tests of its own.
PAGES = (
  ROOT / 'README.md',
  ROOT / 'CONTRIBUTING.md',
  ROOT / 'CHANGELOG.md',
  *sorted((ROOT / 'docs').glob('*.md')),
)
LONGEST_README = 800  # Words.
CLEARLY = 0.3  # Nats a sentence that a bold figure is ahead by.

_COMMENT = re.compile(r'<!--.*?-->', re.S)
_CODE_BLOCK = re.compile(r'^```.*?^```', re.S | re.M)
_LINK = re.compile(r'\]\(([^)\s]+)\)')
_BOLD = re.compile(r'\*\*([^*\n]*<!-- figure [^*\n]*)\*\*')
_FIGURE = re.compile(r'<!-- figure ([\w.-]+) -->')
_HEADING = re.compile(r'^#+ (.*)$', re.M)
_TICKS = re.compile(r'`([^`\n]+)`')
_PATH = re.compile(
  r'(?:rnnvae_jax|docs|examples|benchmarks|configs|tests|\.ci)/[\w./-]*'
)
_KEY = re.compile(r'--config\.([a-z_.]+)')
# In a line of code: a section and a key, alone or with a value.
_DOTTED = re.compile(r'([a-z_]+)\.([a-z_.]+)(?==|$)')
_FILE_ENDINGS = (
  *('txt', 'tsv', 'source', 'target', 'py', 'md'),
  *('json', 'jsonl', 'html', 'png', 'npz'),
)
_CONFIG = re.compile(r'--config=([^\s`,:]+)(?::(\S+))?')


def text_of(path):
  return _COMMENT.sub('', path.read_text(encoding='utf-8'))


def anchors(path):
  """What GitHub calls the headings of a page."""
  prose = _CODE_BLOCK.sub('', text_of(path))
  plain = (re.sub(r'[`*]', '', h).lower() for h in _HEADING.findall(prose))
  return {re.sub(r'[^\w\- ]', '', h).replace(' ', '-') for h in plain}


def added_by_the_tutorial(folder):
  """Names of the modules that docs/extending.md adds to a folder."""
  paths = map(pathlib.PurePath, tutorial.files())
  return {path.stem for path in paths if path.parent.name == folder}


@parameterized.named_parameters((page.name, page) for page in PAGES)
class PagesTest(parameterized.TestCase):
  def test_links_lead_somewhere(self, page):
    for link in _LINK.findall(_CODE_BLOCK.sub('', text_of(page))):
      if link.startswith(('http://', 'https://')):
        continue
      file, _, anchor = link.partition('#')
      target = (page.parent / file).resolve() if file else page
      self.assertTrue(target.exists(), link)
      if anchor:
        self.assertIn(anchor, anchors(target), link)

  def test_paths_exist(self, page):
    shown = tutorial.files() if page == tutorial.PAGE else {}
    for code in _TICKS.findall(_CODE_BLOCK.sub('', text_of(page))):
      for path in _PATH.findall(code):
        is_placeholder = re.search(r'[A-Z]{3}', path)
        if is_placeholder or path in shown or path != code:
          continue
        self.assertTrue((ROOT / path).exists(), path)

  def test_modes_exist(self, page):
    known = {*commands.REGISTRY, *added_by_the_tutorial('commands')}
    for mode in re.findall(r'--mode=([a-z_]+)', text_of(page)):
      self.assertIn(mode, known)

  def test_configs_and_their_arguments_exist(self, page):
    text = text_of(page)
    for name, argument in _CONFIG.findall(text):
      if name.isupper():
        continue
      file = files.find(name)
      row = re.search(r'row=(\w+)', argument)
      if row:
        self.assertIn(row[1], runpy.run_path(file)['ROWS'])
    for name in re.findall(r'--table=(\w+)', text):
      rows = runpy.run_path(files.find(name))['ROWS']
      of_table = rf'--table={name} --rows=(\S+)'
      for listed in re.findall(of_table, text):
        self.assertContainsSubset(listed.split(','), rows)

  def test_keys_exist(self, page):
    known = set(build.all_keys())
    named = set(_KEY.findall(text_of(page)))
    sections = {name.split('.')[0] for name in known if '.' in name}
    for code in _TICKS.findall(_CODE_BLOCK.sub('', text_of(page))):
      key = _DOTTED.match(code)
      if key and key[1] in sections and key[2] not in _FILE_ENDINGS:
        named.add(key[0])
    self.assertEmpty(named - known)

  def test_what_is_bold_is_ours_and_clearly_ahead(self, page):
    figures = render_figures.Figures()
    definitions = tomllib.loads(
      (ROOT / render_figures.DEFINITIONS).read_text(encoding='utf-8')
    )['figures']
    for bold in _BOLD.findall(page.read_text(encoding='utf-8')):
      name = _FIGURE.findall(bold)[0]
      self.assertNotIn('published', name)
      ours = figures.evaluate(definitions[name][0])
      published = figures.evaluate(definitions[f'{name}_published'][0])
      nats = published - ours
      if 'perplexity' in definitions[name][0]:
        # Of Penn Treebank, whose events a sentence the file defines.
        nats = figures.evaluate(f'events * log({published} / {ours})')
      self.assertGreater(nats, CLEARLY, name)


class ReadmeTest(absltest.TestCase):
  def test_it_is_short(self):
    self.assertLessEqual(
      len(text_of(ROOT / 'README.md').split()), LONGEST_README
    )

  def test_every_mode_has_a_section_and_a_command_in_the_guide(self):
    guide = text_of(ROOT / 'docs' / 'guide.md')
    for mode in commands.REGISTRY:
      if mode == 'train':
        continue
      section = guide.partition(f'### {mode}\n')[2].partition('\n### ')[0]
      self.assertIn(f'--mode={mode} ', section)


if __name__ == '__main__':
  absltest.main()
