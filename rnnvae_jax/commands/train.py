"""Trains a run or goes on training it, then evaluates it and writes samples."""

from typing import Any

from rnnvae_jax.commands import base, report

HELP = 'train or go on training, then evaluate and write samples'
NEEDS = 'config'
FLAGS = ('seeds',)


def run(context: base.Context) -> None:
  """Trains one run, or one run per seed in folders of their own."""
  if context.seeds == 1:
    _train(context.config, context.workdir)
    return
  from rnnvae_jax.results import seeds

  results = seeds.train(_train, context.config, context.workdir, context.seeds)
  if results[0]:  # Nothing is evaluated with config.evaluate.split = 'none'.
    seeds.report(results, context.workdir, context.config.model.kind)
    report.after(context.workdir)


def _train(config: Any, workdir: str) -> dict[str, Any]:
  from rnnvae_jax.config import build as config_build
  from rnnvae_jax.inference import evaluate, generate
  from rnnvae_jax.tasks import base as tasks_base
  from rnnvae_jax.training import loop

  generates = issubclass(
    config_build.task(config.model.kind), tasks_base.Generates
  )
  preview = generate.preview(config) if generates else None
  corpus = loop.train(config, workdir, preview=preview)
  results: dict[str, Any] = {}
  if config.evaluate.split != 'none':
    results = evaluate.evaluate(config, workdir, corpus)
  if generates:
    generate.showcase(config, workdir)
  report.after(workdir)
  return results
