"""Runs that train as one population are those of their configs."""

import os
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.config import argument, build
from rnnvae_jax.results import records, together
from rnnvae_jax.training import loop

pytestmark = pytest.mark.usefixtures('compile_once')
EPS = np.finfo(np.float32).eps


def make_config(folder, **overrides):
  config = build.default('sentence_vae')
  argument.apply(config, argument.parse('tiny', tiny=False))
  config.corpus.name, config.corpus.protocol = folder, 'mikolov'
  config.train.num_steps, config.train.eval_every = 18, 6
  config.optimizer.learning_rate = 0.02
  config.update_from_flattened_dict(overrides)
  return config


def validations(workdir):
  """By step, the nats of its validation."""
  name = 'valid/nll_per_sentence'
  return {r['step']: r[name] for r in records.read(workdir) if name in r}


class TogetherTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.text = tempfile.mkdtemp(dir=self.root)
    rng = np.random.default_rng(0)
    for split, count in (('train', 30), ('valid', 11), ('test', 5)):
      lines = (
        ' '.join(rng.choice([*'abcdefgh'], size=rng.integers(2, 11)))
        for _ in range(count)
      )
      pathlib.Path(self.text, f'{split}.txt').write_text('\n'.join(lines))

  def runs(self, name):
    return {
      os.path.join(self.root, name, str(seed)): make_config(
        self.text, seed=seed, **{'objective.kl_weight': 0.5 + seed}
      )
      for seed in range(3)
    }

  @pytest.mark.slow
  def test_a_pause_changes_nothing_and_members_are_their_runs(self):
    paused, whole, apart = (self.runs(n) for n in ('paused', 'whole', 'apart'))
    together.train(paused, until=6)
    for folder in paused:
      self.assertEqual([*validations(folder)], [6])
    left = dict([*paused.items()][:2])  # One does not go on.
    together.train(left, until=12)
    together.train(left)
    together.train(whole)
    for ours, theirs in zip(left, whole, strict=False):
      self.assertEqual([*validations(ours)], [6, 12, 18])
      # Two members may be multiplied in another order than three are.
      np.testing.assert_allclose(
        [*validations(ours).values()],
        [*validations(theirs).values()],
        rtol=100 * EPS * 18,
      )
    folder, config = next(iter(apart.items()))
    loop.train(config, folder)
    np.testing.assert_allclose(
      [*validations(folder).values()],
      [*validations(next(iter(whole))).values()],
      rtol=100 * EPS * 18,
    )

  def test_groups_are_of_one_program_and_one_step(self):
    runs = self.runs('runs')
    first, second, third = runs
    runs[second].model.latent_size = 3
    self.assertEqual(
      [[*group] for group in together.groups(runs)],
      [[first, third], [second]],
    )
    os.makedirs(os.path.join(third, 'checkpoints', 'latest', '6'))
    self.assertEqual(
      [[*group] for group in together.groups(runs)],
      [[first], [second], [third]],
    )


if __name__ == '__main__':
  absltest.main()
