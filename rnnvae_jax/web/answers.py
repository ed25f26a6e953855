"""What a trained run answers to readers of the explorer's page.

Each answer is a function of its arguments alone, so any number of threads may
ask at a time. A text is read beside a filler of a fixed length, so that there
is one program of each kind for short texts and one for long ones: `warm_up`
compiles them all, and no later question does.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import decoding as decoding_lib
from rnnvae_jax.inference import moves, padding, translation, writing
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.web import landmarks as landmarks_lib
from rnnvae_jax.web import typed

DRAWN = 3  # Texts that a question for samples draws.
LARGEST_SEED = 2**31 - 1
HOTTEST = 5.0  # Temperature.
FARTHEST = 5.0  # Of a latent, standard deviations; of an attribute, its steps.
_SHORT, _LONG = 64, 512  # Tokens of fillers, at most.
_OF_STREAMS = 256  # Tokens that a model of streams reads at most.
_WRITTEN = 128  # Tokens of what is written, at most.
_NEAREST = 10  # Sentences that are listed.
_LABELS = 10  # A task with more labels writes of their mixture alone.


class Sentence(NamedTuple):
  """What is known of a sentence.

  Attributes:
    text: as the model reads it: unknown words are <unk>.
    reconstruction: of it.
    nearest: (distance, text, its labels as text), from the nearest on.
    place: on the map; None without one.
  """

  text: str
  reconstruction: str
  nearest: list[tuple[float, str, str]]
  place: tuple[float, float] | None


class Answers:
  """The answers of one run.

  Attributes:
    run: the run.
    landmarks: sentences of its corpus; None where the task has no latents or
      the corpus is not at hand.
    examples: sentences to pick from.
    longest: tokens of a text, at most, the end mark counted.
  """

  def __init__(
    self,
    run: run_lib.Run,
    landmarks: landmarks_lib.Landmarks | None = None,
    examples: Sequence[str] = (),
  ):
    self.run = run
    self.landmarks = landmarks
    self.examples = tuple(examples)
    corpus = run.config.corpus
    limit = _OF_STREAMS if corpus.stream else corpus.max_length
    self.longest = min(padding.static_length(limit), _LONG)
    self._fillers = sorted({min(_SHORT, self.longest), self.longest})
    self._writers: dict[str, run_lib.Run] = {}
    if self.labels_written:
      self._writers = {
        label: dataclasses.replace(run, task=run.task.given(label))
        for label in self.labels_written
      }

  # -- what the run is able to do ----------------------------------------------

  def can(self, *capabilities: type) -> bool:
    """Whether the run's task has all of these capabilities."""
    return all(isinstance(self.run.task, one) for one in capabilities)

  @functools.cached_property
  def labels_written(self) -> tuple[str, ...]:
    """Labels of which texts can be written; () if there are none."""
    if not self.can(base.WritesLabels) or len(self.run.task.labels) > _LABELS:
      return ()
    return tuple(self.run.task.labels)

  def about(self, workdir: str) -> list[tuple[str, str]]:
    """Which run this is, a name and a value a line."""
    run = self.run
    config = run.config
    count = sum(np.size(x) for x in jax.tree.leaves(run.params))
    kind = [config.model.kind, config.model.get('cell', '')]
    lines = [
      ('run', os.path.realpath(workdir)),
      ('model', ', '.join(filter(None, kind))),
      ('text', f'{config.corpus.name}, {len(run.vocab):,} {run.vocab.kind}s'),
      (
        'weights',
        f'{run.checkpoint}; {count:,} numbers' if count else 'fitted',
      ),
      ('device', jax.devices()[0].device_kind),
    ]
    if self.can(base.HasLatents):
      if self.landmarks is None:
        where = "the run's corpus is not at hand: there is no map"
      else:
        where = (
          f'{len(self.landmarks.texts):,} different sentences of the split '
          f'{config.latents.split}'
        )
      lines.append(('map', where))
    return [(name, _plain(value)) for name, value in lines]

  def warm_up(self) -> None:
    """Asks everything once for each length, which compiles all programs."""
    for length in self._fillers:
      ids = np.full(length, vocab_lib.UNK, np.int32)
      if self.can(base.HasLatents):
        self.run.decode(self._latents(ids)[None], max_length=self._written)
      if self.can(base.Generates):
        self._next(ids[:-1])
        self._nats(ids)
        for label in ('', *self.labels_written):
          self._draw(ids[:-2], label, 1.0, 1.0, 0)
      if self.can(base.Predicts):
        self._predict(ids)
      if self.can(base.Tags):
        self._tag(['a'] * (length - 1))
      if self.can(base.Translates):
        self._translate(ids)
    if self.can(base.Generates):
      for label in ('', *self.labels_written):
        self._draw(np.zeros(0, np.int32), label, 1.0, 1.0, 0)
    if self.landmarks is not None:
      self.landmarks.nearest(self.landmarks.points[0], 1)

  # -- answers -----------------------------------------------------------------

  def unknown(self, text: str) -> list[str]:
    """The words of a text that the vocabulary does not know, once each.

    None are listed for tasks that spell words or read other texts than they
    write.
    """
    text = self._text(text, 'The text')
    if not text.strip() or self.can(base.Tags) or self.can(base.Translates):
      return []
    tokens = self.run.protocol.tokenise(text)
    ids = self.run.vocab.encode(tokens)
    strange = ids == vocab_lib.UNK
    return list(
      dict.fromkeys(
        _plain(t) for t, s in zip(tokens, strange, strict=True) if s
      )
    )

  def sentence(self, text: str) -> Sentence:
    """The reconstruction of a sentence, its neighbours and its place."""
    ids = self._ids(text)
    point = self._latents(ids)
    nearest, place = [], None
    if self.landmarks is not None:
      count = min(_NEAREST, len(self.landmarks.texts))
      nearest = [
        (distance, _plain(self.landmarks.texts[i]), self._labels_of(i))
        for i, distance in self.landmarks.nearest(point, count)
      ]
      place = self.landmarks.place(point)
    return Sentence(self.run.text(ids), self._decode(point), nearest, place)

  def blend(self, first: str, second: str, share: float) -> str:
    """The text between two sentences.

    Args:
      first: a sentence.
      second: another.
      share: of the second, 0 to 1.
    """
    share = typed.number(share, 'The share of the second', 0.0, 1.0)
    left = self._latents(self._ids(first, 'The first sentence'))
    right = self._latents(self._ids(second, 'The second sentence'))
    return self._decode(_between(self.run, left, right, share))

  def with_latent(self, text: str, latent: int, value: float) -> str:
    """The text of a sentence once one of its latents has another value.

    Args:
      text: a sentence.
      latent: its number, from 0 on.
      value: in standard deviations of the prior.
    """
    size = self.run.task.latents.size
    latent = typed.integer(latent, 'The latent', 0, size - 1)
    value = typed.number(value, 'The value', -FARTHEST, FARTHEST)
    point = self._latents(self._ids(text))[None]
    return self._decode(moves.with_latent(self.run, point, latent, value)[0])

  def latent_of(self, text: str, latent: int) -> float:
    """A latent of a sentence, in standard deviations of the prior."""
    latents = self.run.task.latents
    latent = typed.integer(latent, 'The latent', 0, latents.size - 1)
    point = self._latents(self._ids(text))
    return float(point[latent] / latents.family.deviation)

  def shifted(self, text: str, direction: str, amount: float) -> str:
    """The text of a sentence moved from one value of a label to another.

    Args:
      text: a sentence.
      direction: one of `landmarks.directions`.
      amount: 1 moves the sentences of the one value to those of the other.
    """
    known = self.landmarks.directions if self.landmarks else {}
    if direction not in known:
      raise ValueError('There is no such attribute.')
    amount = typed.number(amount, 'The amount', -FARTHEST, FARTHEST)
    point = self._latents(self._ids(text))[None]
    return self._decode(
      moves.shifted(self.run, point, known[direction], amount)[0]
    )

  def write(
    self,
    prime: str,
    temperature: float,
    top_p: float,
    seed: int,
    label: str = '',
  ) -> list[str]:
    """Texts that the model writes; z is drawn from the prior, if there is one.

    Args:
      prime: what they begin with; '': nothing.
      temperature: 0: the likeliest token after token.
      top_p: they are drawn from the likeliest tokens of this probability.
      seed: of what is drawn.
      label: one of `labels_written`; '': the mixture of all.
    """
    temperature = typed.number(temperature, 'The temperature', 0.0, HOTTEST)
    top_p = typed.number(top_p, 'The nucleus', 0.0, 1.0)
    seed = typed.integer(seed, 'The seed', 0, LARGEST_SEED)
    if label and label not in self.labels_written:
      raise ValueError('There is no such label.')
    begun = self._prime(prime)
    return [
      _plain(self.run.text(ids), lines=True)
      for ids in self._draw(begun, label, temperature, top_p, seed)
    ]

  def next_words(self, prime: str, count: int = 10) -> list[tuple[str, float]]:
    """The likeliest tokens after a text and their probabilities.

    Args:
      prime: what stands before; '': the beginning of a sentence.
      count: how many; 0: all that can be written.
    """
    following = self._next(self._prime(prime))
    legal = np.flatnonzero(~self.run.forbidden(forbid_unk=False))
    order = legal[np.argsort(-following[legal], kind='stable')]
    return [
      (
        _plain(self.run.vocab.tokens[i]),
        float(np.exp(np.float64(following[i]))),
      )
      for i in order[: count or len(order)]
    ]

  def nats(self, text: str) -> list[tuple[str, float]]:
    """The tokens of a text and the nats of each, those before it given.

    Of a model with latents these are of the reconstruction, without the KL.
    """
    ids = self._ids(text)
    tokens = (_plain(self.run.vocab.tokens[i]) for i in ids)
    return list(zip(tokens, self._nats(ids).tolist(), strict=True))

  def predict(self, text: str) -> list[tuple[str, float]]:
    """The labels and their probabilities, the likeliest first."""
    shares = np.exp(np.float64(self._predict(self._ids(text))))
    names = self.run.task.labels
    return [
      (_plain(str(names[i])), float(shares[i]))
      for i in np.argsort(-shares, kind='stable')
    ]

  def tag(self, text: str) -> list[tuple[str, str, float]]:
    """The words of a sentence, their tags and the tags' probabilities."""
    text = self._text(text, 'The sentence')
    words = self.run.protocol.tokenise(text) if text.strip() else []
    self._check_length(len(words) + 1, 'The sentence')
    tagging = self._tag(words)
    return list(
      zip(
        map(_plain, tagging.words),
        map(_plain, tagging.tags),
        tagging.probabilities,
        strict=True,
      )
    )

  def translate(self, text: str) -> tuple[str, float]:
    """What the model writes for a source text, and its nats."""
    text = self._text(text, 'The text')
    (ids,) = translation.source_ids(self.run, [text])
    if ids is None:
      raise ValueError('The text is empty: type one.')
    self._check_length(len(ids), 'The text')
    written, nats = self._translate(ids)
    return _plain(self.run.text(written), lines=True), nats

  # -- what answers have in common ---------------------------------------------

  @property
  def _written(self) -> int:
    """Tokens that are written at most."""
    config = self.run.config
    return min(config.generate.max_length or config.corpus.max_length, _WRITTEN)

  def _text(self, value: Any, name: str) -> str:
    is_stream = self.run.config.corpus.stream and not self.run.ends
    return typed.text(value, name, lines=is_stream)

  def _ids(self, value: Any, name: str = 'The sentence') -> np.ndarray:
    """The ids of a sentence, with its end mark; no longer than the longest."""
    (ids,) = self.run.ids([self._text(value, name)])
    if ids is None:
      raise ValueError(f'{name} is empty: type or pick one.')
    self._check_length(len(ids), name)
    return ids

  def _prime(self, value: Any) -> np.ndarray:
    begun = self.run.encoded(self._text(value, 'The beginning'))
    self._check_length(len(begun) + 2, 'The beginning')
    return begun

  def _check_length(self, length: int, name: str) -> None:
    if length > self.longest:
      raise ValueError(
        f'{name} has {length:,} tokens; at most {self.longest:,} are read.'
      )

  def _beside(self, ids: np.ndarray) -> list[np.ndarray]:
    """Ids and a filler, which decides the length of both once padded."""
    length = next(size for size in self._fillers if size >= len(ids))
    return [ids, np.full(length, vocab_lib.UNK, np.int32)]

  def _latents(self, ids: np.ndarray) -> np.ndarray:
    """z float32[Z] of a sentence."""
    return self.run.latents_of(self._beside(ids))[0]

  def _decode(self, point: np.ndarray) -> str:
    """The likeliest text of z float[Z]."""
    (text,) = self.run.decode(point[None], max_length=self._written)
    return _plain(text, lines=True)

  def _reading(self, ids: np.ndarray | None) -> np.ndarray | None:
    """z float32[2, Z] that a text and its filler are read with, if any.

    Without a text it is the prior's mean.
    """
    if not self.can(base.HasLatents):
      return None
    latents = np.zeros((2, self.run.task.latents.size), np.float32)
    if ids is not None:
      latents[0] = self._latents(ids)
    return latents

  def _contexts(self, begun: np.ndarray) -> list[np.ndarray]:
    """What is read before the next token, and its filler."""
    mark = np.array([self.run.begin_mark], np.int32)
    context = np.concatenate([mark, begun]).astype(np.int32)
    return [context, self._beside(context)[1]]

  def _next(self, begun: np.ndarray) -> np.ndarray:
    """Log-probabilities float32[V] of the token after a beginning."""
    read = np.append(begun, vocab_lib.EOS) if len(begun) else None
    return self.run.programs.next_log_probs(
      self.run.params, self._contexts(begun), self._reading(read)
    )[1][0]

  def _nats(self, ids: np.ndarray) -> np.ndarray:
    return self.run.programs.token_nats(
      self.run.params,
      self._beside(ids),
      self.run.begin_mark,
      self._reading(ids),
    )[0]

  def _draw(
    self,
    begun: np.ndarray,
    label: str,
    temperature: float,
    top_p: float,
    seed: int,
  ) -> list[np.ndarray]:
    """Ids of `DRAWN` texts, int[T] each, as `Run.sample` draws them."""
    run = self._writers[label] if label else self.run
    options = {
      'temperature': temperature,
      'top_p': top_p,
      'seed': seed,
      'max_length': self._written,
    }
    if not len(begun):
      return run.sample_ids(DRAWN, prime='', **options)
    latents = None
    if self.can(base.HasLatents):
      latents = run.prior_latents(DRAWN + 1, seed)
    context, filler = self._contexts(begun)
    decoding: decoding_lib.Decoding = writing.settings(run.config, options)
    written = run.programs.decode(
      run.params,
      [context] * DRAWN + [filler],
      latents,
      run.forbidden(decoding.forbid_unk),
      decoding,
    )
    return [np.concatenate([begun, ids]) for ids in written[:DRAWN]]

  def _predict(self, ids: np.ndarray) -> np.ndarray:
    run = self.run
    return run.programs.predict(
      run.params, run.extras, self._beside(ids), run.begin_mark
    )[0]

  def _tag(self, words: Sequence[str]):
    filler = self._beside(np.zeros(len(words) + 1, np.int32))[1]
    return self.run.tag([words, ['a'] * (len(filler) - 1)])[0]

  def _translate(self, ids: np.ndarray) -> tuple[np.ndarray, float]:
    run = self.run
    sources = self._beside(ids)
    options = {'max_length': self._written}
    written = translation.write(run, sources, **options)[0]
    filler = np.full(self._written, vocab_lib.UNK, np.int32)
    nats = run.translator.nats(run.params, sources, [written, filler])
    return written, float(nats[0])

  def _labels_of(self, row: int) -> str:
    labels: Mapping[str, Any] = self.landmarks.labels if self.landmarks else {}
    return _plain(
      ', '.join(
        f'{name}: {values[row]}'
        for name, values in labels.items()
        if values[row] != ''
      )
    )


def _between(
  run: run_lib.Run, left: np.ndarray, right: np.ndarray, share: float
) -> np.ndarray:
  """z float32[Z] on the way from one to the other; see `Run.between`."""
  point = (1 - share) * left[None] + share * right[None]
  onto: Callable[..., Any] = run.task.latents.family.onto_support
  return np.asarray(onto(point.astype(np.float32)))[0]


def _plain(text: str, lines: bool = False) -> str:
  """A text that a page can show: models of characters may write any."""
  return ''.join(
    '\N{REPLACEMENT CHARACTER}'
    if typed.is_strange(c) and not (lines and c == '\n')
    else c
    for c in text
  )
