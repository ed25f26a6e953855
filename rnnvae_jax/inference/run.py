"""A trained run as an object: text and latent vectors in, text and nats out."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import re
from typing import Any, NamedTuple

from absl import logging
import jax
import ml_collections
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora, protocols
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import export, fill, translation
from rnnvae_jax.inference import programs as programs_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import checkpoints, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

BLANK = re.compile('_{3,}')  # What `Run.fill_in` fills.
# Tokens that a stream of characters writes for itself before a sample begins.
_WARM_UP = 64
# Words that are tried in a blank, the likeliest ones after its left context.
_SHORTLIST = 64


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


class Filled(NamedTuple):
  """A text with its blanks filled.

  Attributes:
    text: all of it.
    words: what was filled in, from left to right.
    nats: of the whole text; see `Score`.
  """

  text: str
  words: tuple[str, ...]
  nats: float


@dataclasses.dataclass(eq=False)
class Run:
  """A trained run; `open_run` and `rnnvae_jax.load` make one.

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

  config: ml_collections.ConfigDict
  vocab: vocab_lib.Vocabulary
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

  # -- text and ids -----------------------------------------------------------

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

  def text(self, ids: Sequence[int] | np.ndarray) -> str:
    """Readable text of ids, up to the end mark."""
    return self.protocol.join(self.vocab.decode(ids))

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
    return self.encode_ids(self._sentences(texts))[:2]

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
      **options: see `Decoding`; those not given are `config.generate`'s.

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
      **options: see `Decoding`, and `prime`: the text that all begin with,
        which `max_length` does not count.

    Returns:
      int[T] each; a sentence cut at `max_length` has no end mark.
    """
    self._require(base.Generates)
    prime = options.pop('prime', '')
    decoding = self._decoding(options)
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
    begun = self._prime_ids(prime)
    context = np.concatenate([[self.begin_mark], begun]).astype(np.int32)
    contexts = [context] * count
    if self.config.corpus.stream and not self.ends and not len(begun):
      contexts = self._warmed_up(contexts, latents, decoding)
    written = self._write(contexts, latents, decoding)
    return [np.concatenate([begun, ids]) for ids in written]

  def sample(self, count: int = 1, **options: Any) -> list[str]:
    """Texts that the model writes; z is drawn from the prior, if there is one.

    Args:
      count: how many.
      **options: see `Decoding`, and `prime`: the text that all begin with. What
        is not given is `config.generate`'s.
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
      **options: see `Decoding`.
    """
    seed = options.get('seed', self.config.get('generate', {}).get('seed', 0))
    latents = self.latents_of(self._sentences(texts), drawn, seed)
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
      **options: see `Decoding`.
    """
    ends = self.latents_of(self._sentences([first, second]))
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
    begun = self._prime_ids(prefix)
    latents = None
    if isinstance(self.task, base.HasLatents):
      latents = np.zeros((1, self.task.latents.size), np.float32)
      if len(begun):
        latents = self._means([np.append(begun, vocab_lib.EOS)])
    context = np.concatenate([[self.begin_mark], begun]).astype(np.int32)
    _, following = self.programs.next_log_probs(self.params, [context], latents)
    legal = np.flatnonzero(~self._forbidden(forbid_unk=False))
    order = legal[np.argsort(-following[0, legal], kind='stable')]
    chosen = order[: count or len(order)]
    return [(self.vocab.tokens[i], float(following[0, i])) for i in chosen]

  def fill_in(
    self, text: str, count: int = 5, shortlist: int = _SHORTLIST
  ) -> list[Filled]:
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
    pieces = BLANK.split(text)
    if len(pieces) < 2:
      raise ValueError(f'{text!r} has no blank: write ___ for a missing word.')
    segments = [self._encoded(piece) for piece in pieces]
    segments[0] = np.concatenate([[self.begin_mark], segments[0]])
    if self.ends:
      segments[-1] = np.append(segments[-1], vocab_lib.EOS)
    latents = None
    if isinstance(self.task, base.HasLatents):
      unknown = np.array([vocab_lib.UNK])
      read = [segments[0][1:]]
      for segment in segments[1:]:
        read += [unknown, segment]
      latents = self._means([np.concatenate(read).astype(np.int32)])

    def after(prefixes):
      tiled = None
      if latents is not None:
        tiled = np.repeat(latents, len(prefixes), axis=0)
      return self.programs.next_log_probs(self.params, prefixes, tiled)

    legal = ~self._forbidden(forbid_unk=True)
    legal[vocab_lib.EOS] = False
    found = fill.candidates(segments, after, legal, shortlist)
    # The same noise for all of them, where there is any, compares them better.
    nats = self._nats(
      [ids[1:] for ids, _ in found], np.zeros(len(found), np.int32)
    )
    filled = []
    for i in np.argsort(nats, kind='stable')[:count]:
      words = tuple(
        self.protocol.join([self.vocab.tokens[w]]) for w in found[i][1]
      )
      filled.append(Filled(fill.insert(pieces, words), words, float(nats[i])))
    return filled

  def predict(self, texts: Sequence[str]) -> np.ndarray:
    """Log-probabilities of the labels of each text: float32[N, C], nats.

    The names of the labels are those of `task.labels`.

    Raises:
      ValueError: a text is blank, or the task predicts no labels.
    """
    self._require(base.Predicts)
    return self.programs.predict(
      self.params, self.extras, self._sentences(texts), self.begin_mark
    )

  # -- what these have in common ----------------------------------------------

  def _require(self, capability: type) -> None:
    if isinstance(self.task, capability):
      return
    what = (capability.__doc__ or '').strip().splitlines()[0].rstrip('.')
    raise ValueError(
      f'This needs a run that {what[0].lower()}{what[1:]}; this one is a '
      f'{self.config.model.kind}.'
    )

  def _sentences(self, texts: Sequence[str]) -> list[np.ndarray]:
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

  def _encoded(self, text: str) -> np.ndarray:
    """The ids of a part of a text, without marks."""
    if not text.strip() and self.vocab.kind == 'word':
      return np.zeros(0, np.int32)
    return self.vocab.encode(self.protocol.tokenise(text))

  def _prime_ids(self, prime: str) -> np.ndarray:
    ids = self._encoded(prime)
    if vocab_lib.UNK in ids:
      logging.warning('Some tokens of %r are not in the vocabulary.', prime)
    return ids

  def _decoding(self, options: Mapping[str, Any]) -> programs_lib.Decoding:
    """Given options, and those of the config for what is not given."""
    generate = self.config.generate
    fields = programs_lib.Decoding._fields
    for name in options:
      if name not in fields:
        raise ValueError(errors.unknown('option', name, (*fields, 'prime')))
    if options.get('beam_size', 1) > 1 and options.get('temperature', 0) > 0:
      raise ValueError(
        f'beam_size = {options["beam_size"]} searches, it does not draw: it '
        'needs temperature = 0.'
      )
    values = {name: generate[name] for name in fields} | dict(options)
    if not values['max_length']:
      values['max_length'] = self.config.corpus.max_length
    return programs_lib.Decoding(**values)

  def _forbidden(self, forbid_unk: bool) -> np.ndarray:
    """bool[V], ids that are never written."""
    forbidden = np.zeros(len(self.vocab), bool)
    forbidden[[vocab_lib.PAD, vocab_lib.BOS]] = True
    forbidden[vocab_lib.UNK] = forbid_unk
    if not self.ends:
      forbidden[vocab_lib.EOS] = True  # The text has none.
    return forbidden

  def _warmed_up(
    self,
    contexts: Sequence[np.ndarray],
    latents: np.ndarray | None,
    decoding: programs_lib.Decoding,
  ) -> list[np.ndarray]:
    """Contexts for samples of a stream of characters that has no prime.

    A state of zeros is one that such a model has hardly met: what it writes
    first is often noise. So it writes some text for itself, ended by a line end
    where its text has any, and each sample begins after that.
    """
    written = self._write(
      contexts,
      latents,
      decoding._replace(max_length=_WARM_UP, beam_size=1),
      quietly=True,
    )
    end = [] if self.begin_mark == vocab_lib.EOS else [self.begin_mark]
    return [
      np.concatenate([context, ids, end]).astype(np.int32)
      for context, ids in zip(contexts, written, strict=True)
    ]

  def _write(
    self,
    contexts: Sequence[np.ndarray],
    latents: np.ndarray | None,
    decoding: programs_lib.Decoding,
    quietly: bool = False,
  ) -> list[np.ndarray]:
    """The ids that follow on each context; logs how many were cut."""
    written = self.programs.decode(
      self.params,
      contexts,
      latents,
      self._forbidden(decoding.forbid_unk),
      decoding,
    )
    cut = sum(ids[-1] != vocab_lib.EOS for ids in written)
    if cut and self.ends and not quietly:
      logging.info(
        '%d of %d sentences did not end within %d tokens: raise '
        'config.generate.max_length.',
        cut,
        len(written),
        decoding.max_length,
      )
    return written

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


def load(workdir: str, **overrides: Any) -> Run:
  """The run in a folder, or what `export` wrote of one.

  Args:
    workdir: the folder.
    **overrides: config keys that may change once a run is trained, by their
      dotted names: `load(workdir, **{'evaluate.iw_samples': 10})`.

  Raises:
    FileNotFoundError: there is no run, or it has no checkpoint yet.
    ValueError: an unknown key, an illegal value, or a key that cannot change.
  """
  config = workdir_lib.load_config(workdir)
  fixed = config_build.flatten(config)
  for key in overrides:
    if key not in fixed:
      raise ValueError(errors.unknown('config key', key, fixed))
  with _as_value_errors():
    config.update_from_flattened_dict(overrides)
  config_build.validate(config, list(overrides))
  differing = config_build.differences(
    config_build.flatten(config), fixed, trained=True
  )
  if differing:
    raise ValueError(
      f'The run in {workdir} is trained; these keys cannot change now:\n  '
      + '\n  '.join(differing)
    )
  return open_run(config, workdir)


@contextlib.contextmanager
def _as_value_errors() -> Iterator[None]:
  try:
    yield
  except TypeError as error:
    raise ValueError(str(error)) from error


def open_run(config: ml_collections.ConfigDict, workdir: str) -> Run:
  """Restores the best checkpoint of a run, or else its latest.

  Args:
    config: from `workdir.load_config`, maybe with other evaluation settings.
    workdir: the run's folder, or one that `export` wrote.

  Raises:
    FileNotFoundError: no checkpoint yet.
    ValueError: a damaged or foreign vocabulary or checkpoint.
  """
  vocab = vocab_lib.Vocabulary.load(
    workdir_lib.path(workdir, workdir_lib.VOCABULARY)
  )
  labels = preparation.labels(workdir)
  kind = config_build.task(config.model.kind)
  if issubclass(kind, base.Fitted):
    fitted = kind.load(config, vocab, labels, workdir)
    return Run(config, vocab, labels, fitted, {}, {}, 'fitted')
  task = kind.build(config, vocab, labels)
  weights, checkpoint = _weights(config, workdir, task, vocab.content_hash)
  logging.info('Restored the checkpoint: %s.', checkpoint)
  return Run(
    config, vocab, labels, task, weights.params, weights.extras, checkpoint
  )


def _weights(
  config: ml_collections.ConfigDict,
  workdir: str,
  task: base.Trained,
  vocabulary_hash: str,
) -> tuple[state_lib.Weights, str]:
  """The weights of a run, and the name of the checkpoint that they are of."""
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), vocabulary_hash
  )
  abstract = state_lib.abstract_weights(task)
  for kind in checkpoints.KINDS[::-1]:
    if kind == 'best' and not saved.holds_all(kind):
      restored = saved.restore(abstract, kind)
    else:
      restored = _weights_of_state(config, task, saved, kind)
    if restored is not None:
      weights, step = restored
      return weights, f'{kind}, step {step}'
  if export.is_export(workdir):
    return export.read(workdir, abstract, vocabulary_hash)
  raise FileNotFoundError(
    f'The run in {workdir!r} has no checkpoint yet: the first is written '
    f'after {config.train.eval_every} steps.'
  )


def _weights_of_state(config, task, saved, kind):
  """The weights of a checkpoint that holds all of the state, and its step.

  The latest one does, and the best one of an earlier version.
  """
  if not saved.steps(kind):
    return None
  from rnnvae_jax.training import optimizers

  state = state_lib.abstract(task, optimizers.build(config))
  restored = saved.restore(state, kind)
  if restored is None:
    return None
  return optimizers.weights(restored[0]), restored[1]
