"""Training of a tagger: the likelihood of a sentence's tags."""

from collections.abc import Sequence
from typing import Any

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.tasks import _likelihood, _tags, _trained_tags
from rnnvae_jax.tasks.tagging import settings


class Tagging(_likelihood.Recurrent, _trained_tags.TrainedTags):
  """The tags of a sentence's words, by recurrent layers and a CRF."""

  FRAGMENTS = (
    settings.TaggerConfig,
    *cells.fragments(),
    settings.DropoutConfig,
    *_trained_tags.TrainedTags.FRAGMENTS,
  )

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'Tagging':
    _tags.check_labels(config, labels)
    speller, scheme = _tags.reading(config, vocab)
    model = settings.model(config, len(vocab), len(labels), speller)
    task = cls(
      model,
      labels,
      speller,
      scheme=scheme,
      allowed=_trained_tags.allowed_moves(config, labels, scheme),
      initialise=_likelihood.initialiser(config),
    )
    task.frozen_parts = ('embedding',) * config.model.frozen_embeddings
    task.backend = model.layers.backend
    task.backend_reason = model.layers.backend_reason
    return task
