"""Corpora that are prepared once from raw files, then read from disk."""

import dataclasses

from rnnvae_jax.data.sources import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSource(base.RawSource):
  """A named corpus whose raw files are verified, and prepared at first use."""

  def read(self, data_dir: str | None = None) -> base.Records:
    """See `base.Source.read`."""
    from rnnvae_jax.data import prepared  # Imports TFDS, so only if needed.

    return prepared.load(self, data_dir)
