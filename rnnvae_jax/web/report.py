"""The report of a run, of several seeds or of a search: report.html.

It is a function of the files in the folder alone, so it can be written again at
any time. What is absent is left out; what is damaged is named in a line.
"""

from collections.abc import Callable
import os
import shlex
import sys

from rnnvae_jax.config import build
from rnnvae_jax.tasks import base
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers
from rnnvae_jax.web import drawing, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import (
  analyses,
  classes,
  curves,
  figures,
  latents,
  run,
  search,
  seeds,
  texts,
  vectors,
)

FILE = 'report.html'
# In their order: the name of a section, its heading, what draws it.
PARTS: tuple[tuple[str, str, Callable[[files_lib.Files], str]], ...] = (
  ('search', 'Search', search.render),
  ('seeds', 'Seeds', seeds.render),
  ('figures', 'Figures', figures.render),
  ('curves', 'Curves', curves.render),
  ('latents', 'Latents', latents.render),
  ('texts', 'Texts', texts.render),
  ('classes', 'Labels', classes.render),
  ('vectors', 'Word vectors', vectors.render),
  ('analyses', 'Analyses', analyses.render),
  ('config', 'Config', run.settings),
)
# The command line's module, which is above this one.
_MAIN = os.path.realpath(
  os.path.join(os.path.dirname(__file__), '..', 'main.py')
)
_BASES = (
  run.CONFIG,
  search.TRIALS,
  search.SWEEP,
  seeds.FILE,
  vectors.FILE,
)


def write(workdir: str) -> str:
  """Writes the report of the folder; returns its path.

  Raises:
    FileNotFoundError: the folder has neither a run nor what the modes leave
      that need none.
  """
  text = render(workdir)
  path = os.path.join(workdir, FILE)
  writers.write_text(path, text)
  return path


def note_command(workdir: str) -> None:
  """Keeps the command line of a training, for its report.

  Programs that train by calling the library have none.
  """
  program, *arguments = sys.argv
  is_ours = os.path.realpath(program) == _MAIN
  if is_ours and os.path.exists(os.path.join(workdir, run.CONFIG)):
    words = ['python', '-m', 'rnnvae_jax.main', *arguments]
    path = os.path.join(workdir, run.COMMAND)
    writers.write_text(path, shlex.join(words) + '\n')


def render(workdir: str) -> str:
  """The page of the folder; see `write`."""
  files = files_lib.Files(workdir)
  if not any(files.has(name) for name in _BASES):
    raise FileNotFoundError(
      f'There is nothing to report in {workdir!r}: it has no run, no search '
      'and no word vectors.'
    )
  head = _shown(files, 'facts', run.facts)
  sections = [
    (name, heading, text)
    for name, heading, draw in PARTS
    if (text := _shown(files, heading.lower(), draw))
  ]
  links = ' '.join(
    f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections
  )
  body = ''.join(
    f'<section id="{name}"><h2>{heading}</h2>{text}</section>'
    for name, heading, text in sections
  )
  title = os.path.basename(os.path.abspath(workdir))
  kind = files.json(run.CONFIG).get(build.KIND, '')
  what = f'{kind}, {files.json(run.CONFIG).get("corpus.name")}' if kind else ''
  if files.has(search.TRIALS):
    what = 'search'
  return page.document(
    f'{title}: report',
    f'{drawing.symbols()}<header><p class="kicker">{page.escape(what)}</p>'
    f'<h1>{page.escape(title)}</h1>{head}<nav aria-label="Sections">{links}'
    f'</nav></header><main>{body}{_notes(files)}</main>',
    page.source('report.css'),
    page.source('report.js'),
  )


def _shown(
  files: files_lib.Files, name: str, draw: Callable[[files_lib.Files], str]
) -> str:
  """A part, or '' and a line where files hold what no version has written."""
  try:
    return draw(files)
  except Exception as error:
    reason = f'{type(error).__name__}: {error}'.splitlines()[0]
    files.problems.append(f'The part {name!r} cannot be shown ({reason}).')
    return ''


def _notes(files: files_lib.Files) -> str:
  """What is damaged, and what could be here, a line each."""
  lines = [page.escape(line) for line in files.problems]
  lines += [
    f'{page.escape(what)} <code>{page.escape(command)}</code>'
    for what, command in _absent(files)
  ]
  if not lines:
    return ''
  items = ''.join(f'<li>{line}</li>' for line in lines)
  return (
    '<section id="notes"><h2>What is not here</h2>'
    f'<ul class="notes">{items}</ul></section>'
  )


def _absent(files: files_lib.Files) -> list[tuple[str, str]]:
  """What the run's task could have, and the command that adds it."""
  task = run.task(files)
  if task is None:
    return []
  wanted: tuple[tuple[type, str, str, str], ...] = (
    (base.Task, workdir_lib.RESULTS, 'Figures of a split:', 'evaluate'),
    (base.HasLatents, latents.FILE, 'What the latents hold:', 'latents'),
  )
  return [
    (what, f'--mode={mode} --workdir={files.folder}')
    for capability, name, what, mode in wanted
    if issubclass(task, capability) and not files.has(name)
  ]
