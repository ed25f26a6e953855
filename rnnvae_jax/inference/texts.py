"""Text as a trained run reads it: from strings to ids, and back."""

from collections.abc import Sequence
import dataclasses

from absl import logging
import ml_collections
import numpy as np

from rnnvae_jax.data import corpora, protocols
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import workdir as workdir_lib


@dataclasses.dataclass(eq=False)
class Texts:
  """Converts between texts and ids as a run's config and vocabulary say.

  Attributes:
    config: of the run, with the settings of this use.
    vocab: of its text.
  """

  config: ml_collections.ConfigDict
  vocab: vocab_lib.Vocabulary

  @property
  def protocol(self) -> protocols.Protocol:
    """How the run's text became tokens."""
    return protocols.PROTOCOLS[workdir_lib.protocol_name(self.config)]

  @property
  def begin_mark(self) -> int:
    """The id that is read before the first token."""
    return corpora.begin_mark(self.vocab, self.config.corpus.stream)

  @property
  def ends(self) -> bool:
    """Whether sentences end with a mark; a stream of characters has none."""
    return not self.config.corpus.stream or self.vocab.kind == 'word'

  def ids(self, texts: Sequence[str]) -> list[np.ndarray | None]:
    """The tokens of each text, uncut, with the end mark where there is one.

    A blank text is None, or a sentence of its end mark alone if the run was
    trained with `corpus.blank_lines = 'sentence'`.
    """
    found: list[np.ndarray | None] = [None] * len(texts)
    corpus = self.config.corpus
    if corpus.blank_lines == 'sentence':
      found = [np.array([vocab_lib.EOS], np.int32)] * len(texts)
    kept = [i for i, text in enumerate(texts) if text.strip()]
    if not kept:
      return found
    split = corpora.encode_lines(
      [texts[i] for i in kept],
      self.protocol.name,
      self.vocab,
      stream=corpus.stream,
      unknown_token=corpus.unknown_token,
    )
    for number, i in enumerate(kept):
      found[i] = split.sentence(number)
    return found

  def is_read(self, text: str) -> bool:
    """Whether a text has tokens, or an end mark: whether `ids` is not None."""
    return bool(text.strip()) or self.config.corpus.blank_lines == 'sentence'

  def text(self, ids: Sequence[int] | np.ndarray) -> str:
    """Readable text of ids, up to the end mark."""
    return self.protocol.join(self.vocab.decode(ids))

  def sentences(self, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of texts of which none is blank."""
    if isinstance(texts, str):
      raise ValueError('texts are a list of strings, not one string.')
    found = []
    for number, ids in enumerate(self.ids(texts)):
      if ids is None:
        raise ValueError(f'text {number} of {len(texts)} is blank.')
      found.append(ids)
    if not found:
      raise ValueError('there is no text.')
    return found

  def encoded(self, text: str) -> np.ndarray:
    """The ids of a part of a text, without marks."""
    if not text.strip() and self.vocab.kind == 'word':
      return np.zeros(0, np.int32)
    return self.vocab.encode(self.protocol.tokenise(text))

  def prime_ids(self, prime: str) -> np.ndarray:
    ids = self.encoded(prime)
    if vocab_lib.UNK in ids:
      logging.warning('Some tokens of %r are not in the vocabulary.', prime)
    return ids

  def forbidden(self, forbid_unk: bool) -> np.ndarray:
    """bool[V], ids that are never written."""
    forbidden = np.zeros(len(self.vocab), bool)
    forbidden[[vocab_lib.PAD, vocab_lib.BOS]] = True
    forbidden[vocab_lib.UNK] = forbid_unk
    if not self.ends:
      forbidden[vocab_lib.EOS] = True  # The text has none.
    return forbidden
