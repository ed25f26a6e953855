"""Serves the explorer's page to this machine alone, until a signal."""

from collections.abc import Iterator
import contextlib
import importlib.util
import json
import os
import socket
import threading
import time
from typing import Any
import urllib.request

from rnnvae_jax.training import stopping
from rnnvae_jax.web import answers as answers_lib
from rnnvae_jax.web import explorer

HOST = '127.0.0.1'
_MOST_BYTES = 2**20  # Of a request.
_SECONDS = 2  # That open connections have once the server is to end.
# By which a browser neither loads from elsewhere nor sends anything there.
_POLICY = '; '.join(
  (
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "worker-src 'self' blob:",
    "base-uri 'self'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  )
)
# What Gradio and the library of its hub read: nothing is asked of the network.
_OFFLINE = {
  'GRADIO_ANALYTICS_ENABLED': 'False',
  'GRADIO_MCP_SERVER': 'False',
  'GRADIO_NODE_SSR_MODE': 'False',
  'GRADIO_SHARE': 'False',
  'GRADIO_SSR_MODE': 'False',
  'HF_HUB_DISABLE_TELEMETRY': '1',
  'HF_HUB_OFFLINE': '1',
}


def check() -> None:
  """Raises ImportError unless Gradio is installed."""
  if importlib.util.find_spec('gradio') is None:
    raise ImportError(
      "--mode=explore needs Gradio: pip install 'rnnvae_jax[explore]'."
    )


def serve(answers: answers_lib.Answers, workdir: str, port: int) -> None:
  """Serves the page of a run, and prints its address.

  It returns once the process is asked to stop, see `stopping.SIGNALS`.

  Args:
    answers: of the run, warmed up.
    workdir: its folder.
    port: to listen at; 0: one that is free.

  Raises:
    OSError: the port is taken.
  """
  with listening(port) as listener, stopping.requests() as stop:
    address = f'http://{HOST}:{listener.getsockname()[1]}'
    with running(answers, workdir, listener) as thread:
      print(f'Explorer: {address} (Ctrl-C ends it)', flush=True)
      while not stop and thread.is_alive():
        time.sleep(0.1)
  if not stop:
    raise OSError('the explorer has ended by itself.')
  print('The explorer has ended.', flush=True)


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
  """A socket of the loopback.

  Raises:
    OSError: the port is taken.
  """
  with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind((HOST, port))
    except OSError as error:
      raise OSError(
        f'--port={port} cannot be had: {error.strerror}. --port=0 takes '
        'one that is free.'
      ) from error
    yield listener


@contextlib.contextmanager
def running(
  answers: answers_lib.Answers, workdir: str, listener: socket.socket
) -> Iterator[threading.Thread]:
  """The server's thread, which ends with the block."""
  check()
  os.environ.update(_OFFLINE)
  import uvicorn

  page = explorer.build(answers, workdir)
  server = uvicorn.Server(
    uvicorn.Config(
      _application(page),
      log_level='warning',
      ws='none',
      timeout_graceful_shutdown=_SECONDS,
    )
  )
  thread = threading.Thread(
    target=server.run, kwargs={'sockets': [listener]}, daemon=True
  )
  thread.start()
  try:
    while thread.is_alive() and not server.started:
      time.sleep(0.01)
    if thread.is_alive():
      _ask_all(page, f'http://{HOST}:{listener.getsockname()[1]}')
    yield thread
  finally:
    server.should_exit = True
    thread.join(5 * _SECONDS)


def _ask_all(page: Any, address: str) -> None:
  """Asks what the page's fields ask at first: the first time takes seconds."""
  # A proxy would not find this machine.
  opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  opener.open(address).read()
  for question in page.fns.values():
    if not callable(question.fn) or not question.api_name:
      continue
    values = [component.value for component in question.inputs]
    url = f'{address}/gradio_api/call/{question.api_name}'
    request = urllib.request.Request(
      url,
      json.dumps({'data': values}).encode(),
      {'Content-Type': 'application/json'},
    )
    event = json.load(opener.open(request))['event_id']
    opener.open(f'{url}/{event}').read()


def _application(page: Any) -> Any:
  import fastapi
  import gradio
  from starlette.middleware import trustedhost

  application = fastapi.FastAPI(openapi_url=None)
  fonts = ['system-ui', 'sans-serif'], ['ui-monospace', 'monospace']
  # Fonts by name are the reader's own; others would come from elsewhere.
  gradio.mount_gradio_app(
    application,
    page,
    path='/',
    server_name=HOST,
    footer_links=[],
    run_history=False,
    show_error=False,
    max_file_size=_MOST_BYTES,
    ssr_mode=False,
    enable_monitoring=False,
    pwa=False,
    mcp_server=False,
    theme=gradio.themes.Default(font=fonts[0], font_mono=fonts[1]),
  )
  application.add_middleware(_Guard)
  # Pages of other sites, whose names may be made to lead here, are refused.
  application.add_middleware(
    trustedhost.TrustedHostMiddleware, allowed_hosts=[HOST, 'localhost']
  )
  return application


class _Guard:
  """Refuses large requests, and tells browsers to ask nobody else."""

  def __init__(self, app: Any):
    self._app = app

  async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
    if scope['type'] != 'http':
      await self._app(scope, receive, send)
      return
    headers = dict(scope['headers'])
    size = headers.get(b'content-length', b'0')
    is_chunked = b'transfer-encoding' in headers
    if is_chunked or not size.isdigit() or int(size) > _MOST_BYTES:
      await send(
        {
          'type': 'http.response.start',
          'status': 413,
          'headers': [(b'content-length', b'0'), (b'connection', b'close')],
        }
      )
      await send({'type': 'http.response.body', 'body': b''})
      return

    async def guarded(message):
      if message['type'] == 'http.response.start':
        message = message | {
          'headers': [
            *message['headers'],
            (b'content-security-policy', _POLICY.encode()),
            (b'referrer-policy', b'no-referrer'),
            (b'x-content-type-options', b'nosniff'),
          ]
        }
      await send(message)

    await self._app(scope, receive, guarded)
