"""Corpora that are prepared once from raw files and then read from a disk."""

import dataclasses

from rnnvae_jax.data.sources import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSource(base.RawSource):
  """A named corpus whose raw files are verified, then prepared if need be."""

  def read(self, data_dir: str | None = None) -> base.Records:
    """See `base.Source.read`."""
    from rnnvae_jax.data import prepared  # TFDS is needed for nothing else.

    return prepared.load(self, data_dir)
