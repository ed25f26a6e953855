"""Corpora that are prepared once from raw files, then read from disk."""

import dataclasses

from rnnvae_jax.data.sources import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSource(base.RawSource):
  """A named corpus whose raw files are verified, and prepared at first use.

  Attributes:
    otherwise: the same corpus from other raw files, which is read where those
      of this one are missing; its records are the same.
  """

  otherwise: 'FileSource | None' = None

  def read(self, data_dir: str | None = None) -> base.Records:
    """See `base.Source.read`."""
    from rnnvae_jax.data import prepared  # Imports TFDS, so only if needed.

    try:
      return prepared.load(self, data_dir)
    except FileNotFoundError:
      if self.otherwise is None:
        raise
    return self.otherwise.read(data_dir)
