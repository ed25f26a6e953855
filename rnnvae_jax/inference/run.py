"""A trained run as an object: text and latent vectors in, text and nats out."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import fill, tagging, translation, writing
from rnnvae_jax.inference import programs as programs_lib
from rnnvae_jax.inference import texts as texts_lib
from rnnvae_jax.tasks import base


class Score(NamedTuple):
  """The likelihood of a text.

  Attributes:
    text: as it was given.
    nats: its negative log-likelihood, or an upper bound on it; None for a blank
      text that is no sentence.
    tokens: that were scored, the end mark counted.
    unknown: how many of them the vocabulary does not know. A model is not asked
      which word <unk> stands for, so that they are cheap.
    estimator: 'exact', or what the bound is: 'iwae_100' is importance-weighted
      with 100 samples.
    by_token: (token, nats) of each token, if asked for. Of a model with latents
      these are the nats of the reconstruction at the posterior's mean: the KL
      is left out, and they do not add up to `nats`.
  """

  text: str
  nats: float | None
  tokens: int
  unknown: int
  estimator: str
  by_token: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(eq=False)
class Run(texts_lib.Texts):
  """A trained run; `loading.open_run` and `rnnvae_jax.load` make one.

  What it is able to do depends on its task's capabilities (`tasks.base`);
  a method that the task lacks the capability for raises ValueError. Functions
  are compiled at their first call and reused; later calls with as many rows and
  tokens, or about as many, are not traced again.

  Attributes:
    config: of the run, with the settings of this use.
    vocab: of its text.
    labels: names of its classes or tags.
    task: what it is able to do.
    params: as they are evaluated; may be replaced by others of the same shapes.
    extras: what the objective adapted beside them.
    checkpoint: which one was restored: 'best, step 500'.
  """

  labels: tuple[str, ...]
  task: Any
  params: Any
  extras: Any
  checkpoint: str

  @functools.cached_property
  def programs(self) -> programs_lib.Programs:
    """The compiled functions of the task."""
    return programs_lib.Programs(self.task)

  @functools.cached_property
  def translator(self) -> translation.Translator:
    """The compiled functions of a task that writes texts for source texts."""
    self._require(base.Translates)
    return translation.Translator(self.task)

  @functools.cached_property
  def tagger(self) -> tagging.Tagger:
    """The compiled functions of a task that gives words tags."""
    self._require(base.Tags)
    return tagging.Tagger(self.task)

  # -- latents ----------------------------------------------------------------

  def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The posterior of each text.

    Args:
      texts: sentences, one each; none may be blank, unless the run was trained
        with `corpus.blank_lines = 'sentence'`.

    Returns:
      Means and log-variances, float32[N, Z] each, in the order of the texts.
      With `model.posterior = 'von_mises_fisher'` the means are directions of
      length 1, and the log-variances are 0.

    Raises:
      ValueError: a text is blank, or the task has no latents.
    """
    return self.encode_ids(self.sentences(texts))[:2]

  def encode_ids(self, sentences: Sequence[np.ndarray]):
    """Means, log-variances and centres, float32[N, Z] each; see `encode`."""
    self._require(base.HasLatents)
    return self.programs.encode(
      self.params, self.extras, sentences, self.begin_mark
    )

  def latents_of(
    self, sentences: Sequence[np.ndarray], drawn: bool = False, seed: int = 0
  ) -> np.ndarray:
    """z float32[N, Z] of sentences of ids: the centre, or a posterior sample.

    Args:
      sentences: int[T] each.
      drawn: whether z is a sample.
      seed: of the samples.
    """
    if not drawn:
      return self.encode_ids(sentences)[2]
    self._require(base.HasLatents)
    return self.programs.draw_posterior(
      self.params,
      self.extras,
      sentences,
      self.begin_mark,
      jax.random.key(seed),
    )

  def prior_latents(
    self, count: int, seed: int = 0, site: str = 'prior'
  ) -> np.ndarray:
    """z float32[count, Z], drawn from the prior."""
    self._require(base.HasLatents)
    key = jax.random.key(seed)
    return self.programs.draw_prior(self.params, count, site, key)

  def decode(
    self, latents: np.ndarray, temperature: float = 0.0, **options: Any
  ) -> list[str]:
    """The text of each latent vector.

    Args:
      latents: float[N, Z].
      temperature: 0: the likeliest token after token.
      **options: see `decoding.Decoding`; those not given are those of
        `config.generate`.

    Raises:
      ValueError: the task has no latents, or they have another size.
    """
    self._require(base.HasLatents)
    options['temperature'] = temperature
    return [self.text(ids) for ids in self.decode_ids(latents, **options)]

  def decode_ids(
    self, latents: np.ndarray | None, count: int = 0, **options: Any
  ) -> list[np.ndarray]:
    """The ids of a sentence for each latent vector.

    Args:
      latents: float[N, Z]; None for a task without latents.
      count: how many sentences, without latents.
      **options: see `decoding.Decoding`, and `prime`: the text that all begin
        with, which `max_length` does not count.

    Returns:
      int[T] each; a sentence cut at `max_length` has no end mark.
    """
    self._require(base.Generates)
    prime = options.pop('prime', '')
    decoding = writing.settings(self.config, options)
    if latents is not None:
      latents = np.asarray(latents, np.float32)
      size = self.task.latents.size
      if latents.ndim != 2 or latents.shape[1] != size:
        raise ValueError(
          f'latents have the shape {latents.shape}, not (N, {size}).'
        )
      count = len(latents)
    if not count:
      return []
    begun = self.prime_ids(prime)
    return writing.write(self, begun, count, latents, decoding)

  def sample(self, count: int = 1, **options: Any) -> list[str]:
    """Texts that the model writes; z is drawn from the prior, if there is one.

    Args:
      count: how many.
      **options: see `decoding.Decoding`, and `prime`: the text that all begin
        with. What is not given is `config.generate`'s.
    """
    return [self.text(ids) for ids in self.sample_ids(count, **options)]

  def sample_ids(self, count: int, **options: Any) -> list[np.ndarray]:
    """Ids of what `sample` returns."""
    self._require(base.Generates)
    generate = self.config.generate
    options = {
      'temperature': generate.temperature,
      'prime': generate.prime,
      'seed': generate.seed,
      **options,
    }
    latents = None
    if isinstance(self.task, base.HasLatents):
      latents = self.prior_latents(count, options['seed'])
    return self.decode_ids(latents, count, **options)

  def reconstruct(
    self,
    texts: Sequence[str],
    temperature: float = 0.0,
    drawn: bool = False,
    **options: Any,
  ) -> list[str]:
    """What each text becomes once encoded and decoded.

    Args:
      texts: see `encode`.
      temperature: of decoding.
      drawn: whether z is drawn from the posterior instead of its mean.
      **options: see `decoding.Decoding`.
    """
    seed = options.get('seed', self.config.get('generate', {}).get('seed', 0))
    latents = self.latents_of(self.sentences(texts), drawn, seed)
    return self.decode(latents, temperature, **options)

  def interpolate(
    self,
    first: str,
    second: str,
    steps: int = 7,
    temperature: float = 0.0,
    **options: Any,
  ) -> list[str]:
    """Texts on the line from one text's posterior mean to another's.

    Args:
      first: a text.
      second: another.
      steps: how many texts, both ends counted.
      temperature: of decoding.
      **options: see `decoding.Decoding`.
    """
    ends = self.latents_of(self.sentences([first, second]))
    between = self.between(ends[:1], ends[1:], steps)
    return self.decode(between, temperature, **options)

  def between(
    self, left: np.ndarray, right: np.ndarray, steps: int
  ) -> np.ndarray:
    """Points on the lines from `left` to `right`, row by row.

    Where latents are on a sphere, so are the points.

    Args:
      left: float[N, Z].
      right: float[N, Z].
      steps: S, points of a line, both ends counted.

    Returns:
      float32[N S, Z], one line after the other.
    """
    self._require(base.HasLatents)
    way = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None, :, None]
    points = (1 - way) * left[:, None] + way * right[:, None]
    points = points.reshape(-1, left.shape[1]).astype(np.float32)
    return np.asarray(self.task.latents.family.onto_support(points))

  # -- texts for source texts --------------------------------------------------

  def translate(
    self, texts: Sequence[str], **options: Any
  ) -> list[translation.Translation]:
    """What the model writes for each source text, with its nats.

    Args:
      texts: the sources, of any length; for a blank one nothing is written.
      **options: `beam_size`, `length_penalty`, `max_length` and `forbid_unk`;
        those not given are `config.generate`'s.
    """
    self._require(base.Translates)
    return translation.of_texts(self, texts, **options)

  # -- likelihoods and labels -------------------------------------------------

  def score(self, texts: Sequence[str], per_token: bool = False) -> list[Score]:
    """The likelihood of each text by itself, uncut.

    Args:
      texts: one sentence each; of a run that `Translates` the source, a tab
        and the sentence. A blank one has no nats and no tokens, unless the run
        was trained with `corpus.blank_lines = 'sentence'`.
      per_token: whether the nats of each token are given as well.

    Raises:
      ValueError: the task gives no likelihood, or writes no tokens, whose nats
        are asked for.
    """
    self._require(base.Scores)
    if per_token:
      self._require(base.Generates)
    if isinstance(self.task, base.Translates):
      given, ids = translation.score_pairs(self, texts)
      nats = np.array([x for x in given if x is not None])
    else:
      ids = self.ids(texts)
      nats = self._nats([x for x in ids if x is not None])
    kept = [i for i, sentence in enumerate(ids) if sentence is not None]
    sentences = [sentence for sentence in ids if sentence is not None]
    by_token: list[tuple[tuple[str, float], ...]] = [()] * len(sentences)
    if per_token and sentences:
      latents = self._means(sentences)
      token_nats = self.programs.token_nats(
        self.params, sentences, self.begin_mark, latents
      )
      by_token = [
        tuple(zip((self.vocab.tokens[i] for i in s), n.tolist(), strict=True))
        for s, n in zip(sentences, token_nats, strict=True)
      ]
    scores = [Score(text, None, 0, 0, self.estimator) for text in texts]
    for number, i in enumerate(kept):
      sentence = sentences[number]
      scores[i] = scores[i]._replace(
        nats=float(nats[number]),
        tokens=len(sentence),
        unknown=int(np.sum(sentence == vocab_lib.UNK)),
        by_token=by_token[number],
      )
    return scores

  @property
  def estimator(self) -> str:
    """What `score` gives: 'exact', or the bound with its samples."""
    self._require(base.Scores)
    if self.task.score == 'nll':
      return 'exact'
    count = self.task.samples(self.config).count
    return f'{self.task.score.removesuffix("_nll")}_{count}'

  def next_token_log_probs(
    self, prefix: str = '', count: int = 10
  ) -> list[tuple[str, float]]:
    """The likeliest tokens after a text, with their log-probabilities.

    Args:
      prefix: what stands before; '': the beginning of a sentence.
      count: how many; 0: all.

    Returns:
      (token, nats) from the likeliest on; '</s>' is the end of the sentence. Of
      a model with latents they are given z = the posterior mean of the prefix;
      without a prefix, z = a zero vector, the prior's mean.
    """
    self._require(base.Generates)
    begun = self.prime_ids(prefix)
    latents = None
    if isinstance(self.task, base.HasLatents):
      latents = np.zeros((1, self.task.latents.size), np.float32)
      if len(begun):
        latents = self._means([np.append(begun, vocab_lib.EOS)])
    context = np.concatenate([[self.begin_mark], begun]).astype(np.int32)
    _, following = self.programs.next_log_probs(self.params, [context], latents)
    legal = np.flatnonzero(~self.forbidden(forbid_unk=False))
    order = legal[np.argsort(-following[0, legal], kind='stable')]
    chosen = order[: count or len(order)]
    return [(self.vocab.tokens[i], float(following[0, i])) for i in chosen]

  def fill_in(
    self, text: str, count: int = 5, shortlist: int = fill.SHORTLIST
  ) -> list[fill.Filled]:
    """Fills the blanks of a text, each with one token.

    Args:
      text: with one or several blanks of three underscores or more: 'the ___
        sat on the ___ .'
      count: how many candidates are returned.
      shortlist: how many candidates are scored: those whose beginnings, up to
        the last blank, are the likeliest.

    Returns:
      Candidates, those whose whole text scores best first.

    Raises:
      ValueError: there is no blank, or the task cannot score or write.
    """
    self._require(base.Scores)
    self._require(base.Generates)
    return fill.fill_in(self, text, count, shortlist)

  def predict(self, texts: Sequence[str]) -> np.ndarray:
    """Log-probabilities of the labels of each text: float32[N, C], nats.

    The names of the labels are those of `task.labels`.

    Raises:
      ValueError: a text is blank, or the task predicts no labels.
    """
    self._require(base.Predicts)
    return self.programs.predict(
      self.params, self.extras, self.sentences(texts), self.begin_mark
    )

  def tag(
    self, sentences: Sequence[Sequence[str]], count: int = 1
  ) -> list[tagging.Tagging]:
    """The tags of the words of each sentence, with their probabilities.

    Args:
      sentences: the words of each; there may be none.
      count: how many sequences of tags are given, the best one first.

    Raises:
      ValueError: the task gives no tags.
    """
    self._require(base.Tags)
    return tagging.of_sentences(self, sentences, count)

  # -- what these have in common ----------------------------------------------

  def _require(self, capability: type) -> None:
    if isinstance(self.task, capability):
      return
    what = (capability.__doc__ or '').strip().splitlines()[0].rstrip('.')
    raise ValueError(
      f'This needs a run that {what[0].lower()}{what[1:]}; this one is a '
      f'{self.config.model.kind}.'
    )

  def _means(self, sentences: Sequence[np.ndarray]) -> np.ndarray | None:
    """z of each sentence, of a task that has latents."""
    if not isinstance(self.task, base.HasLatents):
      return None
    return self.latents_of(sentences)

  def _nats(
    self, sentences: Sequence[np.ndarray], numbers: np.ndarray | None = None
  ) -> np.ndarray:
    """The task's score of each sentence: float64[N].

    Args:
      sentences: int[T] each.
      numbers: int[N], which the noise of a bound is keyed by.
    """
    if not sentences:
      return np.zeros(0)
    values = self.programs.evaluate(
      self.params,
      self.extras,
      sentences,
      self.begin_mark,
      jax.random.key(self.config.seed),
      dataclasses.replace(self.task.samples(self.config), shuffled=False),
      self.config.evaluate.batch_size,
      numbers,
    )
    return values[self.task.score].astype(np.float64)
