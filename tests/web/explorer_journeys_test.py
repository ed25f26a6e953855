"""A reader's way through the explorer, in a headless Chromium.

Fails on any error on the console and on any request but those for the server.
$RNNVAE_EXPLORER_RUN names the folder of a real run that takes the place of the
tiny one; with $RNNVAE_SCREENSHOTS pictures are written into that folder.
"""

import contextlib
import io
import json
import os
import pathlib
import signal
import tempfile
import time

from absl.testing import absltest
import pytest

from benchmarks import explorer as explorer_lib
import rnnvae_jax
from tests.web import server_test

browser = pytest.importorskip('tests.web.browser')

_RUN = os.environ.get('RNNVAE_EXPLORER_RUN', '')
_PICTURES = os.environ.get('RNNVAE_SCREENSHOTS', '')
_TEXT, _OTHER = 'the cook tasted the soup .', 'a child does not read .'
_PATIENCE = 60.0  # Seconds that an answer may take on a busy machine.


@pytest.mark.skipif(
  not server_test.HAS_GRADIO, reason='gradio is not installed'
)
@pytest.mark.skipif(
  not browser.program(),
  reason='no Chromium: apt-get install chromium, or chromium-headless-shell',
)
class JourneyTest(absltest.TestCase):
  def field(self, name, tag=''):
    """JavaScript for the field in the component of this name."""
    tag = tag or 'textarea, input'
    return f'document.querySelector("#{name}").querySelector("{tag}")'

  def value(self, name):
    return self.page.evaluate(f'{self.field(name)}.value')

  def type(self, name, text):
    """What is in the field is replaced, as a reader's keys would."""
    self.page.evaluate(
      f'(() => {{ const e = {self.field(name)}; e.focus(); e.select(); }})()'
    )
    self.page.write(text)

  def wait(self, expression, what):
    end = time.monotonic() + _PATIENCE
    while not self.page.evaluate(f'Boolean({expression})'):
      self.assertLess(time.monotonic(), end, what)
      time.sleep(0.05)

  def tab(self, title):
    self.page.evaluate(
      '[...document.querySelectorAll("button[role=tab]")].find('
      f'e => e.innerText.trim() === {json.dumps(title)}).click()'
    )

  def ask(self, name):
    """Presses a button, and waits for the note that comes with an answer."""
    note = (
      f'document.querySelector("#{name}-note textarea, #{name}-note input")'
    )
    self.wait(f'document.querySelector("#{name}-ask")?.offsetParent', name)
    self.page.evaluate(f'window.before = {note}.value')
    self.page.click(f'#{name}-ask')
    self.wait(f'{note}.value && {note}.value !== window.before', name)
    return self.page.evaluate(f'{note}.value')

  def picture(self, name):
    if _PICTURES:
      time.sleep(1.0)  # Plots are drawn some time after their fields.
      path = pathlib.Path(_PICTURES, f'explorer-{name}.png')
      self.page.picture(path, whole=True)

  @pytest.mark.slow
  def test_a_reader_asks_all_questions_of_an_autoencoder(self):
    workdir = _RUN or os.path.join(tempfile.mkdtemp(), 'run')
    if not _RUN:
      with contextlib.redirect_stdout(io.StringIO()):
        rnnvae_jax.train('gru_vae:tiny,corpus=grammar', workdir)
    run = rnnvae_jax.load(workdir)
    explorer = explorer_lib.Explorer(workdir)
    self.addCleanup(explorer.process.stdout.close)
    self.addCleanup(explorer.process.kill)
    with browser.started() as chromium:
      self.page = page = chromium.open(explorer.address)
      page.size(1100, 900)
      self.wait('document.querySelector("#sentence-ask")', 'the page')
      self.assertIn(os.path.realpath(workdir), self.value('run'))
      self.assertNotEmpty(self.value('sentence'))  # One to begin with.

      # A sentence: its reconstruction, neighbours and place.
      self.type('sentence', _TEXT)
      self.ask('sentence')
      (written,) = run.reconstruct([_TEXT])
      self.assertEqual(self.value('reconstruction'), written)
      self.assertRegex(page.text('#nearest'), r'0?\.\d{3}')
      self.wait('document.querySelector("#map .here")', 'its place on the map')
      self.picture('sentence')

      # Markup is text wherever it is shown.
      self.type('sentence', '<img src=x onerror="window.ran = 1"> <b>')
      self.assertIn('<img', self.ask('sentence'))
      self.assertFalse(page.evaluate('Boolean(window.ran)'))
      self.type('sentence', '')
      self.assertIn('is empty', self.ask('sentence'))
      self.assertEqual(self.value('reconstruction'), '')

      # Two sentences and what is between them.
      self.tab('Blend')
      self.wait('document.querySelector("#first")?.offsetParent', 'Blend')
      self.type('first', _TEXT)
      self.type('second', _OTHER)
      self.ask('blend')
      self.assertEqual(
        self.value('blended'), run.interpolate(_TEXT, _OTHER, 3)[1]
      )
      self.picture('blend')

      # One latent, and an attribute where the corpus has one.
      self.tab('Move')
      self.wait('document.querySelector("#moved")?.offsetParent', 'Move')
      self.type('moved', _TEXT)
      self.ask('move')
      self.assertNotEmpty(self.value('traversed'))
      if page.evaluate('Boolean(document.querySelector("#shift-ask"))'):
        self.ask('shift')
      self.picture('move')

      # Samples, and the next words.
      self.tab('Write')
      self.wait('document.querySelector("#prime")?.offsetParent', 'Write')
      self.type('prime', 'the')
      self.ask('write')
      for line in self.value('written').split('\n'):
        self.assertStartsWith(line, 'the')
      self.assertIn('%', page.text('#next'))
      self.picture('write')

      self.tab('Likelihood')
      self.wait('document.querySelector("#scored")?.offsetParent', 'Likelihood')
      self.type('scored', _TEXT)
      self.ask('nats')
      self.assertIn('soup', page.text('#nats'))
      # Gradio's own specification of plots is of an older version.
      problems = [p for p in page.problems() if 'Vega-Lite v' not in p]
      self.assertEqual(problems, [])
    code, _ = explorer.stop(signal.SIGTERM)
    self.assertEqual(code, 0)


if __name__ == '__main__':
  absltest.main()
