"""The explorer as a process, asked over HTTP on the loopback."""

from concurrent import futures
import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import tempfile
import urllib.error
import urllib.request

from absl.testing import absltest
import numpy as np
import pytest

from benchmarks import explorer as explorer_lib
import rnnvae_jax
from rnnvae_jax.commands import base as commands
from rnnvae_jax.web import server

HAS_GRADIO = importlib.util.find_spec('gradio') is not None
_TEXT = 'the cook tasted the soup .'


@pytest.mark.skipif(not HAS_GRADIO, reason='gradio is not installed')
class ServerTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    workdir = os.path.join(tempfile.mkdtemp(), 'run')
    with contextlib.redirect_stdout(io.StringIO()):
      rnnvae_jax.train('gru_vae:tiny,corpus=grammar', workdir)
    cls.run_ = rnnvae_jax.load(workdir)
    cls.explorer = explorer_lib.Explorer(workdir)
    cls.addClassCleanup(cls.explorer.process.stdout.close)
    cls.addClassCleanup(cls.explorer.process.kill)

  @pytest.mark.slow
  def test_it_answers_readers_side_by_side_until_it_is_stopped(self):
    explorer = self.explorer
    with explorer.open('/') as page:
      policy = page.headers['Content-Security-Policy']
      html = page.read().decode()
    self.assertIn("default-src 'self'", policy)
    self.assertNotIn('://fonts.', html)
    loaded = re.findall(r'(?:src|href)="([^"]*)"', html)
    self.assertEmpty([link for link in loaded if '://' in link])
    self.assertIn('"analytics_enabled":false', html)

    (note, read, written, near, drawn), _ = explorer.ask('sentence', _TEXT)
    self.assertEqual(read, _TEXT)
    self.assertEqual([written], self.run_.reconstruct([_TEXT]))
    self.assertLen(near['data'], 10)
    self.assertIn('this sentence', json.dumps(drawn))
    self.assertRegex(note, r'^\d+ ms')

    # Oversized, empty and strange texts have an answer, or a note why not.
    markup = '<script>alert(1)</script> \x00\u202e<b>'
    (note, *_), _ = explorer.ask('sentence', markup)
    self.assertIn('<script>alert(1)</script>, <b>', note)
    for text, why in (('', 'is empty'), ('x' * 5_000, 'at most 4,000')):
      found, _ = explorer.ask('nats', text)
      self.assertIn(why, found[0])
      self.assertIsNone(found[1])
    for refused in (b'x' * 2**21,):
      with self.assertRaises(urllib.error.HTTPError) as raised:
        explorer.open('/gradio_api/call/sentence', refused)
      self.assertEqual(raised.exception.code, 413)
    with self.assertRaises(urllib.error.HTTPError) as raised:
      explorer.open('/', Host='example.org')
    self.assertEqual(raised.exception.code, 400)

    # Twenty readers at once.
    words = [w for w in self.run_.vocab.tokens[4:] if w.isalpha()][:20]
    self.assertLen(words, 20)
    ask = lambda word: explorer.ask('nats', f'the {word} .')[0][1:]
    with futures.ThreadPoolExecutor(20) as pool:
      together = list(pool.map(ask, words))
    self.assertEqual(together, [ask(word) for word in words])
    for word, (_, tokens) in zip(words, together, strict=True):
      self.assertEqual(tokens['data'][1][0], word)

    seconds = {}
    for name, values in (
      ('sentence', (_TEXT,)),
      ('blend', (_TEXT, 'a child read .', 0.4)),
      ('move', (_TEXT, 0, 1.5)),
      ('write', ('the', 1.0, 0.9, 0)),
      ('nats', (_TEXT,)),
    ):
      seconds[name] = [explorer.ask(name, *values)[1] for _ in range(20)]
    for name, found in seconds.items():
      middle, high = np.percentile(found, [50, 95])
      print(f'{name}: median {1e3 * middle:.0f} ms, 95% {1e3 * high:.0f} ms')
      # Ten times what two idle cores are to take: others may work here.
      self.assertLess(middle, 3.0)

    code, rest = explorer.stop(signal.SIGTERM)
    self.assertEqual(code, 0)
    self.assertIn('The explorer has ended.', rest)


class CommandTest(absltest.TestCase):
  def test_without_gradio_the_error_names_the_extra(self):
    find = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == 'gradio' else find(name, *rest)
    context = commands.Context(self.create_tempdir().full_path)
    with (
      absltest.mock.patch.object(importlib.util, 'find_spec', hidden),
      self.assertRaisesRegex(ImportError, r"'rnnvae_jax\[explore\]'"),
    ):
      commands.REGISTRY['explore'].run(context)

  def test_a_port_that_is_taken_is_named(self):
    with server.listening(0) as listener:
      host, port = listener.getsockname()
      self.assertEqual(host, '127.0.0.1')
      listener.listen()
      with (
        self.assertRaisesRegex(OSError, f'--port={port} cannot be had'),
        server.listening(port),
      ):
        pass


if __name__ == '__main__':
  absltest.main()
