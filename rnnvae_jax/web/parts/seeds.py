"""Several seeds of a config: means, deviations, and the seeds' own reports."""

from rnnvae_jax.web import drawing, explanations, page
from rnnvae_jax.web import files as files_lib

FILE = 'seeds.json'


def render(files: files_lib.Files) -> str:
  found = files.json(FILE)
  if not found:
    return ''
  names = [*dict.fromkeys(name for values in found.values() for name in values)]
  rows = []
  for name in names:
    known = explanations.FIGURES.get(name, '')
    cells = [_cell(values.get(name)) for values in found.values()]
    rows.append([explanations.term(name.replace('_', ' '), known), *cells])
  head = ['figure', *(f'#{page.escape(split)}' for split in found)]
  folders = [
    name
    for name in files.names()
    if name.startswith('seed_') and files.has(f'{name}/report.html')
  ]
  links = ''.join(
    f'<li><a href="{name}/report.html">{name}</a></li>'
    for name in map(page.escape, folders)
  )
  text = page.table(head, rows, 'Mean ± deviation')
  return text + (
    f'<p>Reports of the seeds:</p><ul>{links}</ul>' if links else ''
  )


def _cell(value) -> str:
  if not value:
    return '-'
  if value.get('mean') is None:
    return 'inf'
  text = drawing.number_text(value['mean'])
  if value.get('std') is None:
    return text
  return f'{text} ± {value["std"]:.2g} ({value["seeds"]})'
