"""Pictures that modes have drawn."""

import base64

from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web import page

_LARGEST = 2_000_000  # Bytes of a picture that is shown.
_SIGNATURE = b'\x89PNG\r\n\x1a\n'


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
