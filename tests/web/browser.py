"""Drives a headless Chromium through its DevTools protocol, over two pipes.

No package is needed for that: a message is a JSON object that a zero byte ends,
read from descriptor 3 of the browser and written to descriptor 4.
"""

import base64
from collections.abc import Iterator
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any
from urllib import parse

_PROGRAMS = ('chromium', 'chromium-headless-shell', 'chromium-browser')
_ARGUMENTS = (
  '--headless',
  '--remote-debugging-pipe',
  '--no-sandbox',  # Which root cannot have.
  '--no-first-run',
  '--disable-gpu',
  '--disable-extensions',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
  '--force-color-profile=srgb',
)
_PATIENCE = 60.0  # Seconds that an answer may take on a busy machine.
# Key names and their codes, as the protocol wants them.
_KEYS = {
  'Tab': 9,
  'Enter': 13,
  'Escape': 27,
  'ArrowLeft': 37,
  'ArrowUp': 38,
  'ArrowRight': 39,
  'ArrowDown': 40,
}


def program() -> str:
  """The path of an installed Chromium; '' if there is none."""
  return next(filter(None, map(shutil.which, _PROGRAMS)), '')


@contextlib.contextmanager
def started() -> Iterator['Browser']:
  """A browser, which ends with the block."""
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Away from the numbers that the browser has for them.
    theirs = [
      fcntl.fcntl(number, fcntl.F_DUPFD, 20)
      for number in (theirs_in, theirs_out)
    ]
    process = subprocess.Popen(
      [
        *('bash', '-c', f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', 'bash'),
        *(program(), *_ARGUMENTS, f'--user-data-dir={profile}', 'about:blank'),
      ],
      pass_fds=theirs,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      env=os.environ | {'HOME': profile},
    )
    for number in (theirs_in, theirs_out, *theirs):
      os.close(number)
    browser = Browser(ours_in, ours_out)
    try:
      yield browser
      with contextlib.suppress(OSError, ConnectionError):
        browser.call('Browser.close')
    finally:
      os.close(ours_out)
      os.close(ours_in)
      try:
        process.wait(10)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Browser:
  """Sends commands and reads answers and events."""

  def __init__(self, incoming: int, outgoing: int):
    self._incoming, self._outgoing = incoming, outgoing
    self._numbers = itertools.count(1)
    self._rest = b''
    self.events: list[dict[str, Any]] = []

  def call(
    self, method: str, session: str = '', **params: Any
  ) -> dict[str, Any]:
    """The result of a command; events that come before it are kept.

    Raises:
      RuntimeError: the browser refuses the command.
      TimeoutError: it does not answer.
    """
    number = next(self._numbers)
    message = {'id': number, 'method': method, 'params': params}
    if session:
      message['sessionId'] = session
    os.write(self._outgoing, json.dumps(message).encode() + b'\0')
    end = time.monotonic() + _PATIENCE
    while True:
      answer = self._read(end)
      if answer.get('id') == number:
        if 'error' in answer:
          raise RuntimeError(f'{method}: {answer["error"]}')
        return answer['result']
      self.events.append(answer)

  def _read(self, end: float) -> dict[str, Any]:
    while b'\0' not in self._rest:
      left = end - time.monotonic()
      if left < 0 or not select.select([self._incoming], [], [], left)[0]:
        raise TimeoutError('Chromium does not answer.')
      content = os.read(self._incoming, 1 << 20)
      if not content:
        raise ConnectionError('Chromium has ended.')
      self._rest += content
    message, _, self._rest = self._rest.partition(b'\0')
    return json.loads(message)

  def open(self, place: pathlib.Path | str, script: bool = True) -> 'Page':
    """A page, once it is loaded.

    Args:
      place: a file, or the address of a server on this machine.
      script: whether scripts run.
    """
    address = place if isinstance(place, str) else place.resolve().as_uri()
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    session = self.call('Target.attachToTarget', targetId=target, flatten=True)[
      'sessionId'
    ]
    page = Page(self, session, address)
    for domain in ('Page', 'Runtime', 'Log', 'Network'):
      page.call(f'{domain}.enable')
    page.call('Emulation.setScriptExecutionDisabled', value=not script)
    page.size(1280, 800)
    page.call('Page.navigate', url=address)
    page.wait_for_load()
    return page


class Page:
  """A page: what a reader does with it, and what is wrong with it."""

  def __init__(self, browser: Browser, session: str, address: str):
    self._browser, self._session = browser, session
    self._address = address

  def call(self, method: str, **params: Any) -> dict[str, Any]:
    return self._browser.call(method, self._session, **params)

  def _events(self, method: str) -> list[dict[str, Any]]:
    return [
      event['params']
      for event in self._browser.events
      if event.get('method') == method
      and event.get('sessionId') == self._session
    ]

  def wait_for_load(self) -> None:
    end = time.monotonic() + _PATIENCE
    while not self._events('Page.loadEventFired'):
      if time.monotonic() > end:
        raise TimeoutError('The page does not load.')
      self.call('Page.getLayoutMetrics')

  def problems(self) -> list[str]:
    """Errors on the console, and requests that leave the file."""
    found = []
    for event in self._events('Runtime.exceptionThrown'):
      found.append(f'exception: {event["exceptionDetails"]}')
    for event in self._events('Runtime.consoleAPICalled'):
      if event['type'] in ('error', 'warning', 'assert'):
        found.append(f'console: {event["args"]}')
    for event in self._events('Log.entryAdded'):
      if event['entry']['level'] in ('error', 'warning'):
        found.append(f'log: {event["entry"]["text"]}')
    return found + [f'request: {url}' for url in self.outside()]

  def outside(self) -> list[str]:
    """Addresses that were asked for, but for the page's own file or server."""
    is_file = self._address.startswith('file:')
    own = self._address if is_file else parse.urljoin(self._address, '/')
    is_own = lambda url: url == own if is_file else url.startswith(own)
    return [
      url
      for event in self._events('Network.requestWillBeSent')
      if not is_own(url := event['request']['url'])
      and not url.startswith(('data:', 'blob:'))
    ]

  def evaluate(self, expression: str) -> Any:
    """The value of a JavaScript expression."""
    result = self.call(
      'Runtime.evaluate',
      expression=expression,
      returnByValue=True,
      awaitPromise=True,
    )
    if 'exceptionDetails' in result:
      raise RuntimeError(f'{expression}: {result["exceptionDetails"]}')
    return result['result'].get('value')

  def text(self, selector: str) -> str:
    """What a reader sees of the first element that matches."""
    return self.evaluate(
      f'document.querySelector({json.dumps(selector)}).innerText'
    )

  def place(self, selector: str) -> tuple[float, float]:
    """The middle of the first element that matches, scrolled into view."""
    x, y = self.evaluate(
      f'(() => {{ const e = document.querySelector({json.dumps(selector)});'
      "e.scrollIntoView({block: 'center', behavior: 'instant'});"
      'const b = e.getBoundingClientRect();'
      'return [b.left + b.width / 2, b.top + b.height / 2]; })()'
    )
    return x, y

  def hover(self, selector: str) -> None:
    x, y = self.place(selector)
    self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)

  def click(self, selector: str) -> None:
    x, y = self.place(selector)
    for kind in ('mousePressed', 'mouseReleased'):
      self.call(
        'Input.dispatchMouseEvent',
        type=kind,
        x=x,
        y=y,
        button='left',
        clickCount=1,
      )

  def focus(self, selector: str) -> None:
    self.evaluate(f'document.querySelector({json.dumps(selector)}).focus()')

  def press(self, key: str) -> None:
    for kind in ('keyDown', 'keyUp'):
      self.call(
        'Input.dispatchKeyEvent',
        type=kind,
        key=key,
        code=key,
        windowsVirtualKeyCode=_KEYS[key],
        text='\r' if key == 'Enter' and kind == 'keyDown' else '',
      )

  def write(self, text: str) -> None:
    """Types into what has the focus."""
    self.call('Input.insertText', text=text)

  def size(self, width: int, height: int, scale: float = 1.0) -> None:
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=scale,
      mobile=False,
    )

  def scheme(self, name: str) -> None:
    """Prefers a 'light' or a 'dark' scheme."""
    self.call(
      'Emulation.setEmulatedMedia',
      features=[{'name': 'prefers-color-scheme', 'value': name}],
    )

  def picture(self, path: pathlib.Path, whole: bool = False) -> None:
    """A screenshot of the window, or of the whole page, as PNG."""
    shot = self.call(
      'Page.captureScreenshot', format='png', captureBeyondViewport=whole
    )
    path.write_bytes(base64.b64decode(shot['data']))

  def paper(self) -> bytes:
    """The page as PDF, on A4."""
    shot = self.call(
      'Page.printToPDF',
      paperWidth=8.27,
      paperHeight=11.69,
      displayHeaderFooter=False,
    )
    return base64.b64decode(shot['data'])
