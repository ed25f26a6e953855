"""Traces, agreement and gradient flow, from tiny runs to files."""

import contextlib
import io
import json
import os
import pathlib
import runpy
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np
import pytest

from rnnvae_jax.analysis import agreement as agreement_lib
from rnnvae_jax.commands import base as commands
from rnnvae_jax.commands import gradients
from rnnvae_jax.config import build as config_build
from rnnvae_jax.inference import agreement, loading, trace
from rnnvae_jax.tasks.ngrams import counts as counts_lib
from rnnvae_jax.training import loop

pytestmark = pytest.mark.usefixtures('compile_once')

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


def get_config(name, tail):
  return runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config'](tail)


class AnalyseTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = tempfile.mkdtemp()
    cls.text = os.path.join(cls.root, 'text.txt')
    with open(cls.text, 'w') as file:
      file.write('if (a == "b") { c(); }\n\nand so on\n' * 20)

  def make_run(self, name, tail, corpus):
    config = get_config(name, f'{tail},tiny,{corpus}')
    if config.model.kind != 'ngrams':
      config.train.num_steps = config.train.eval_every = 3
    config_build.validate(config)
    workdir = os.path.join(self.root, self.id(), name)
    with contextlib.redirect_stdout(io.StringIO()):
      loop.train(config, workdir)
    return config, workdir

  def quietly(self, act, *args):
    with contextlib.redirect_stdout(io.StringIO()) as out:
      result = act(*args)
    return result, out.getvalue()

  @pytest.mark.slow
  def test_a_trace_ranks_the_units_of_a_character_model(self):
    config, workdir = self.make_run('char_lm', '', self.text)
    result, table = self.quietly(trace.trace, config, workdir)
    self.assertEqual(
      set(result), {'line_position', 'quotes', 'brackets', 'if_statements'}
    )
    with open(os.path.join(workdir, 'trace.json')) as file:
      self.assertEqual(json.load(file), result)
    hidden = config.model.hidden_size
    self.assertIn(f'{2 * hidden} units', table)  # h and c of one layer.
    for best in result.values():
      sizes = [abs(unit['correlation']) for unit in best]
      self.assertEqual(sizes, sorted(sizes, reverse=True))
      self.assertRegex(best[0]['unit'], r'layer 0 [hc]\[\d+\]')
    with open(os.path.join(workdir, 'trace.html')) as file:
      self.assertIn('if (a ==', file.read())
    # What the vocabulary does not know has a place as well.
    config.trace.input = os.path.join(self.root, 'strange.txt')
    with open(config.trace.input, 'w') as file:
      file.write('if (\N{GREEK SMALL LETTER ALPHA}) "b"\nc\n')
    self.quietly(trace.trace, config, workdir)
    with open(os.path.join(workdir, 'trace.html')) as file:
      self.assertIn('if (\N{REPLACEMENT CHARACTER}) \\"b\\"\\nc', file.read())
    with self.assertRaisesRegex(ValueError, 'models of words'):
      agreement.agree(config, workdir)
    opened = loading.open_run(config, workdir)
    config.corpus.stream = False  # Lines by themselves.
    with (
      mock.patch.object(loading, 'open_run', return_value=opened),
      self.assertRaisesRegex(ValueError, 'of a stream of characters'),
    ):
      trace.trace(config, workdir)

  @pytest.mark.slow
  def test_agreement_is_tested_of_word_models_of_any_kind(self):
    nouns = [' '.join(pair) for pair in agreement_lib.NOUNS[:4]]
    lines = [f'the {noun} of the {noun} is are was were' for noun in nouns]
    folder = os.path.join(self.root, 'words')
    os.makedirs(folder)
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write('\n'.join(lines * 5))
    for name, tail in (('ptb_ngram', 'row=kneser_ney_2'), ('gru_lm', '')):
      config, workdir = self.make_run(name, tail, folder)
      measured, table = self.quietly(agreement.agree, config, workdir)
      self.assertIn('attractors', table)
      self.assertEqual(
        [(g['between'], g['attractors']) for g in measured],
        [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)],
      )
      self.assertTrue(os.path.exists(os.path.join(workdir, 'agreement.png')))
      with self.assertRaisesRegex(ValueError, 'characters or bytes'):
        trace.trace(config, workdir)

  def test_agreement_s_log_odds_are_those_of_the_scorer(self):
    # A bigram model's next word depends on the last noun alone, so that the
    # measure of three words is known from its distribution.
    folder = os.path.join(self.root, 'bigrams')
    os.makedirs(folder)
    text = 'the bank is\nthe banks are\nthe plan of the plans was were is are\n'
    text += 'the report of the reports\n'
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write(text * 3)
    config, workdir = self.make_run('ptb_ngram', 'row=kneser_ney_2', folder)
    measured, _ = self.quietly(agreement.agree, config, workdir)
    run = loading.open_run(config, workdir)
    counts = counts_lib.NGrams.load(os.path.join(workdir, 'ngrams.npz'))
    odds = []
    for singular in ('bank', 'plan', 'report'):
      for noun, turn in ((singular, 1), (f'{singular}s', -1)):
        (number,) = run.vocab.encode([noun])
        after = counts.next_log_probs(np.array([[number]]))[0]
        for verbs in (('is', 'are'), ('was', 'were')):
          one, many = run.vocab.encode(verbs)
          odds.append(turn * (after[one] - after[many]))
    np.testing.assert_allclose(
      measured[0]['log_odds'], np.mean(odds), rtol=1e-5
    )
    self.assertEqual(measured[0]['items'], len(odds))

  @pytest.mark.slow
  def test_gradient_flow_needs_no_run(self):
    workdir = os.path.join(self.root, 'flow')
    _, table = self.quietly(gradients.run, commands.Context(workdir))
    with open(os.path.join(workdir, 'gradients.json')) as file:
      result = json.load(file)
    flow = result['through_time']
    for name, values in flow.items():
      if name.startswith('linear'):
        self.assertAlmostEqual(values['slope'], values['closed_form'], places=4)
    self.assertIn('closed form', table)
    # The LSTM's slope is nearer to none than the Elman cell's.
    self.assertGreater(flow['lstm_0.9']['slope'], flow['elman_0.9']['slope'])
    self.assertLess(result['lstm_backward']['largest_difference'], 1e-4)
    self.assertIn('clipped at 0.1', result['clipping'])
    self.assertTrue(os.path.exists(os.path.join(workdir, 'gradients.png')))


if __name__ == '__main__':
  absltest.main()
