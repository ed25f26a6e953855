"""How pages are made: one self-contained file that asks for nothing else.

All pages share a style sheet, which follows the reader's light or dark scheme
and prints in black on white, and a policy by which the browser runs the page's
own script alone and sends no request.
"""

import base64
from collections.abc import Iterable, Sequence
import hashlib
import html
from importlib import resources
import json
from typing import Any


def escape(value: Any) -> str:
  """A value as text in HTML, in elements and in quoted attributes."""
  return html.escape(str(value))


def source(name: str) -> str:
  """A style sheet or script that lies beside this module."""
  return (resources.files(__package__) / name).read_text(encoding='utf-8')


def document(title: str, body: str, styles: str = '', script: str = '') -> str:
  """A whole page.

  Args:
    title: its name, as text.
    body: HTML.
    styles: CSS in addition to `page.css`.
    script: JavaScript that runs once the body is there; '': none.
  """
  styles = f'\n{source("page.css")}{styles}'
  policy = [
    "default-src 'none'",
    f'style-src {_digest(styles)}',
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ]
  if script:
    script = f'\n{script}'
    policy.append(f'script-src {_digest(script)}')
    script = f'<script>{script}</script>\n'
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{'; '.join(policy)}">
<title>{escape(title)}</title>
<style>{styles}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""


def data(value: Any, name: str) -> str:
  """JSON for a script, in an element of the class `name`.

  '<' is written as an escape: '</script>' in a text would end the element.

  Raises:
    ValueError: a number is not finite, which JSON does not have.
  """
  content = json.dumps(
    value, ensure_ascii=False, separators=(',', ':'), allow_nan=False
  )
  content = content.replace('<', '\\u003c')
  return f'<script class="{name}" type="application/json">{content}</script>'


def table(
  head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = ''
) -> str:
  """A table of HTML cells, whose first column names the rows.

  Columns of numbers are those whose heading begins with '#', which is left out.
  """
  kinds = [' class="number"' if name.startswith('#') else '' for name in head]
  titles = ''.join(
    f'<th scope="col"{kind}>{name.removeprefix("#")}</th>'
    for name, kind in zip(head, kinds, strict=True)
  )
  lines = []
  for first, *rest in rows:
    cells = ''.join(
      f'<td{kind}>{cell}</td>'
      for cell, kind in zip(rest, kinds[1:], strict=True)
    )
    lines.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>')
  caption = f'<caption>{caption}</caption>' if caption else ''
  return (
    f'<div class="scroll" tabindex="0"><table>{caption}<thead><tr>{titles}</tr>'
    f'</thead><tbody>{"".join(lines)}</tbody></table></div>'
  )


def folded(summary: str, body: str, on_paper: bool = True) -> str:
  """What is shown once the reader opens it, and on paper if wanted there."""
  kind = '' if on_paper else ' class="screen"'
  return f'<details{kind}><summary>{summary}</summary>{body}</details>'


def _digest(text: str) -> str:
  """What a policy calls this style sheet or script."""
  code = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
  return f"'sha256-{code}'"
