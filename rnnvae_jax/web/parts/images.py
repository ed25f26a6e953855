"""Pictures that modes have drawn, and pages that they have written."""

import base64
from urllib import parse

from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web import page

_LARGEST = 2_000_000  # Bytes of a picture that is shown.
_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_KNOWN = {
  'agreement.png': 'Subject-verb agreement by the nouns in between',
  'gradients.png': 'Gradient norms through time',
}
_OWN = 'report.html'


def render(files: files_lib.Files) -> str:
  """Pictures that belong to no other part, and links to pages."""
  names = files.names()
  shown = [figure(files, name, title) for name, title in _KNOWN.items()]
  shown += [
    figure(files, name, f'The best unit by label: {name}')
    for name in names
    if name.startswith('units-') and name.endswith('.png')
  ]
  pages = [n for n in names if n.endswith('.html') and n != _OWN]
  links = ''.join(
    f'<li><a href="{page.escape(parse.quote(name))}">{page.escape(name)}</a>'
    '</li>'
    for name in pages
  )
  text = ''.join(shown)
  if links:
    text += f'<p>Pages beside this one:</p><ul>{links}</ul>'
  return text


def figure(files: files_lib.Files, name: str, title: str) -> str:
  """A picture as a part of the page; '' if there is none."""
  if not files.has(name):
    return ''
  content = files.content(name)
  if not content.startswith(_SIGNATURE) or len(content) > _LARGEST:
    files.problems.append(f'{name} is no picture of at most 2 MB.')
    return ''
  code = base64.b64encode(content).decode()
  return (
    f'<figure class="image"><figcaption>{page.escape(title)}</figcaption>'
    f'<img alt="{page.escape(title)}" src="data:image/png;base64,{code}">'
    '</figure>'
  )
