"""The config schema: every key with its default, the argument, validation."""

from collections.abc import Collection, Iterable
import os
from typing import Any

import ml_collections

from rnnvae_jax import errors
from rnnvae_jax.baselines import ngrams
from rnnvae_jax.data import batches, formats, protocols
from rnnvae_jax.models import sentence_vae
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.models.cells import elman
from rnnvae_jax.objectives import (
  free_bits,
  posteriors,
  rate_control,
  schedules,
)
from rnnvae_jax.ops import backends, products

OPTIMIZERS = ('adam', 'sgd')
SELECT_BY = ('nll_per_sentence', 'reconstruction')


def default() -> ml_collections.ConfigDict:
  """Every key the program reads, with its default. Nothing else is legal."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  config.corpus = ml_collections.ConfigDict()
  # A name (see data/corpora.py), a folder with {train,valid,test}.txt, a file.
  config.corpus.name = 'wikipedia_sample'
  # One text, the state carried from line to line; see data/__init__.py.
  config.corpus.stream = False
  config.corpus.valid_share = 0.1  # Of a single file's characters.
  config.corpus.test_share = 0.0  # Likewise; 0: no such split.
  config.corpus.labelled = False  # Lines of a folder: a label, a tab, text.
  config.corpus.protocol = ''  # Tokenisation; empty: the corpus' own.
  config.corpus.max_length = 60  # Tokens, eos counted; longer ones are cut.
  config.corpus.vocab_size = 0  # Specials counted; 0: no limit.
  config.corpus.min_count = 0  # Rarer words are unk; 0: the protocol's own.

  config.data = ml_collections.ConfigDict()
  config.data.dir = ''  # Raw corpora; empty: $RNNVAE_DATA_DIR.
  # Of the device's memory; a larger corpus of sentences is read from the host,
  # with the same results. What is read as one stream is always on the device.
  config.data.device_share = 0.2

  config.model = ml_collections.ConfigDict()
  config.model.kind = 'sentence_vae'
  config.model.cell = 'gru'
  config.model.embedding_size = 300
  # Word vectors that embeddings begin with: a file, or 'glove'; '': none.
  config.model.pretrained_embeddings = ''
  config.model.hidden_size = 256
  config.model.last_hidden_size = 0  # Of a decoder's last layer; 0: the same.
  config.model.num_layers = 1
  config.model.tied_embeddings = False  # Output layer = embedding table.
  config.model.output_bias = True
  # Weights begin uniformly in [-scale, scale]; 0: each kind in its own way.
  config.model.init_scale = 0.0
  config.model.embedding_init_scale = 0.0  # 0: as the others.
  config.model.inputless = False  # The decoder reads no words, only z.
  config.model.latent_size = 16
  config.model.latent_every_step = False  # z beside every decoder input.
  config.model.latent_to_output = False  # z beside what the output layer reads.
  config.model.posterior = 'gaussian'  # See objectives/posteriors.py.
  config.model.posterior_scale = 0.6  # Of batch_norm: the means' deviation.
  config.model.committed_rate = 3.0  # Of committed: its least KL, in nats.
  config.model.flow_layers = 4  # Of planar.
  config.model.concentration = 13.0  # Of von_mises_fisher.
  config.model.prior = 'standard'
  config.model.prior_components = 50  # Of mixture and vamp.
  config.model.encoder_hidden_size = 0  # 0: as the decoder's.
  config.model.bidirectional_encoder = False
  # A second language model reads each sentence in reverse, embeddings shared.
  config.model.both_directions = False
  # A bidirectional decoder would read the words it is asked to predict.
  config.model.bidirectional_decoder = False
  config.model.backend = 'auto'  # Of the recurrence; see ops/backends.py.
  config.model.precision = 'float32'  # Of matrix products' operands.
  config.model.elman = ml_collections.ConfigDict()
  config.model.elman.activation = 'tanh'
  config.model.gru = ml_collections.ConfigDict()
  config.model.gru.reset_after = True  # As cuDNN; False: Cho et al. 2014.
  config.model.lstm = ml_collections.ConfigDict()  # And of mlstm.
  config.model.lstm.peepholes = False
  config.model.lstm.forget_bias = 1.0  # Initial bias of the forget gate.
  config.model.lstm.cell_clip = 0.0  # 0: not clipped.

  config.model.feed_forward = ml_collections.ConfigDict()
  config.model.feed_forward.window = 4  # Words that are read: n - 1.
  config.model.feed_forward.direct = False  # From words to the output layer.
  config.model.ngrams = ml_collections.ConfigDict()
  config.model.ngrams.order = 5  # 0: the uniform distribution.
  config.model.ngrams.smoothing = 'modified_kneser_ney'

  config.dropout = ml_collections.ConfigDict()  # Probabilities of dropping.
  config.dropout.embedding = 0.0
  config.dropout.hidden = 0.0  # Between layers.
  config.dropout.output = 0.0
  config.dropout.word_type = 0.0  # Of all inputs of one word in a row.
  config.dropout.word = 0.0  # Decoder inputs replaced by unk, training only.
  config.dropout.recurrent = 0.0  # Of states; one mask for all time steps.
  config.dropout.weight = 0.0  # Of recurrent kernels' elements, an update.
  config.dropout.locked = False  # One mask for all time steps of a sentence.

  config.objective = ml_collections.ConfigDict()
  config.objective.kl_schedule = 'constant'
  config.objective.kl_weight = 1.0  # At the end of the schedule.
  config.objective.kl_start = 0.0  # At its beginning.
  config.objective.kl_anneal_steps = 0
  config.objective.kl_cycles = 1  # Of the cyclical schedule.
  config.objective.free_bits = 0.0  # Nats.
  config.objective.free_bits_per = 'sentence'
  config.objective.rate_control = 'none'
  config.objective.target_rate = 0.0  # Nats of KL that a rate control holds.
  config.objective.rate_control_speed = 0.01  # An update.
  config.objective.mmd_weight = 0.0
  config.objective.label_smoothing = 0.0
  # Of language models: weight (gamma) of the augmented loss of Inan et al.,
  # arXiv:1611.01462, whose teacher's temperature may change linearly.
  config.objective.augmentation = 0.0
  config.objective.teacher_temperature = 10.0
  config.objective.final_teacher_temperature = 0.0  # 0: as the first.
  config.objective.teacher_interval = 0  # Steps that one copy serves; 0: none.
  config.objective.teacher_stop_gradient = True
  # Per token, of the mean square of outputs and of their steps in time.
  config.objective.activation_penalty = 0.0
  config.objective.temporal_penalty = 0.0

  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule = 'constant'  # Over all steps, to the final rate.
  config.optimizer.final_learning_rate = 0.0
  config.optimizer.clip_norm = 5.0  # Of a gradient in nats a sentence; 0: no.
  config.optimizer.decay_every = 0  # Steps; 0: the rate does not decay so.
  config.optimizer.decay_start = 0  # The first step with a smaller rate.
  config.optimizer.decay_factor = 1.0
  config.optimizer.weight_decay = 0.0  # Times parameters, added to gradients.
  config.optimizer.plateau_patience = 0  # Evaluations before a decay; 0: none.
  config.optimizer.plateau_factor = 0.5
  # Weights are averaged once an evaluation is worse than the best of those
  # before the last so many (the n of NT-ASGD); 0: never.
  config.optimizer.average_patience = 0

  config.train = ml_collections.ConfigDict()
  config.train.num_steps = 10_000
  # Of these the first ones as an autoencoder; then a new decoder begins.
  config.train.pretrain_steps = 0
  # Updates of the encoder alone before one of the decoder alone, at most,
  # until mutual information falls (He et al., arXiv:1901.05534); 0: none.
  config.train.inner_steps = 0
  config.train.batch_size = 32  # Of a stream: rows read side by side.
  config.train.unroll = 35  # Of a stream: tokens of a window of a row.
  config.train.unroll_spread = 0  # Deviation of drawn lengths; 0: all equal.
  # Of a stream: rows that validation reads it by, each from a state of zeros.
  config.train.validation_rows = 10
  # Padded lengths, one compiled branch each; 0: as fits the platform.
  config.train.num_buckets = 0
  config.train.steps_per_call = 10  # Updates fused into one program call.
  config.train.eval_every = 500  # Validation and checkpoint, in steps.
  config.train.patience = 0  # Evaluations without a new best; 0: never stop.
  # Which figure of a validation is best when lowest: nll_per_sentence (of a VAE
  # the negative ELBO, unweighted) or reconstruction (for autoencoders).
  config.train.select_by = 'nll_per_sentence'

  config.evaluate = ml_collections.ConfigDict()
  config.evaluate.split = 'test'  # train, valid, test or all.
  config.evaluate.batch_size = 64
  config.evaluate.num_buckets = 0
  config.evaluate.iw_samples = 100  # Posterior samples a sentence.
  config.evaluate.chunk = 4  # Samples decoded at a time: bounds the memory.
  config.evaluate.mutual_information_group = 32  # Of the per-batch estimator.

  config.generate = ml_collections.ConfigDict()
  config.generate.num_samples = 20
  config.generate.prime = ''  # Text that samples go on from.
  config.generate.max_length = 0  # Tokens, eos counted; 0: corpus.max_length.
  config.generate.seed = 0
  config.generate.temperature = 1.0  # Of sample; 0: greedy.
  config.generate.reconstruct_temperature = 0.0  # And of interpolate.
  config.generate.top_k = 0  # 0: all.
  config.generate.top_p = 1.0
  config.generate.beam_size = 1  # At temperature 0; 1: greedy.
  config.generate.length_penalty = 0.0  # Of beam search; see ops/sampling.py.
  config.generate.forbid_unk = True
  config.generate.posterior_sample = False  # Else its mean.
  config.generate.interpolation_steps = 7  # Sentences in all, ends included.
  # Lines to read; '-': standard input. '' interpolates between prior samples.
  config.generate.input = '-'
  config.generate.output = '-'  # Where to; '-': standard output.

  config.judge = ml_collections.ConfigDict()
  config.judge.num_samples = 1_000  # Of the prior.
  config.judge.critic_steps = 0  # Updates of each critic; 0: no critics.

  config.trace = ml_collections.ConfigDict()
  config.trace.input = ''  # Text to follow; '': the validation split.
  config.trace.length = 20_000  # Characters that units are ranked over.
  config.trace.page = 3_000  # Of these, on the page.
  config.trace.units = 10  # Shown for each property.

  config.lock()  # A misspelt key is an error here, not a silent no-op.
  return config


def get_config() -> ml_collections.ConfigDict:
  """The defaults, so that overrides need no config file of their own."""
  return default()


def parse_arg(tail: str, **defaults: Any) -> ml_collections.ConfigDict:
  """The text after the config file's colon, as typed values.

  `name` or `key=value` pairs, separated by commas. A bare name is a switch to
  turn on, a corpus, or an existing folder or file, which is a corpus too.

  Args:
    tail: as given on the command line, e.g. 'ptb', 'tiny,cell=lstm' or a path.
    **defaults: the legal keys; a value's type is its default's. A key `corpus`
      is always there, '' when none was named.

  Returns:
    The values.

  Raises:
    ValueError: an unknown name, or a value of the wrong type.
  """
  values: dict[str, Any] = {'corpus': '', **defaults}
  for part in filter(None, (part.strip() for part in tail.split(','))):
    name, equals, text = part.partition('=')
    if equals and name in values:
      values[name] = _typed(name, text, values[name])
    elif not equals and isinstance(values.get(name), bool):
      values[name] = True
    elif not equals and (name in formats.NAMES or os.path.exists(name)):
      values['corpus'] = name
    elif not equals and (os.sep in name or '.' in name):
      raise ValueError(
        f'config argument = {name!r}: no such folder or file. A corpus folder '
        'holds train.txt, valid.txt and test.txt.'
      )
    else:
      known = (*values, *formats.NAMES)
      raise ValueError(errors.unknown('config argument', name, known))
  return ml_collections.ConfigDict(values)


def _typed(name: str, text: str, like: Any) -> Any:
  if isinstance(like, bool):
    if text.lower() not in ('true', 'false'):
      raise ValueError(f'config argument {name}={text!r}: true or false.')
    return text.lower() == 'true'
  try:
    return type(like)(text)
  except ValueError as error:
    wanted = type(like).__name__
    message = f'config argument {name}={text!r} is not {wanted}.'
    raise ValueError(message) from error


def apply(
  config: ml_collections.ConfigDict, arg: ml_collections.ConfigDict
) -> None:
  """Sets what every config file's argument may ask for: a corpus, `tiny`."""
  if arg.corpus:
    is_name = arg.corpus in formats.NAMES
    if is_name and arg.corpus != config.corpus.name and _is_of_words(config):
      config.corpus.protocol = ''  # How words are told is that corpus's own.
    config.corpus.name = arg.corpus if is_name else os.path.abspath(arg.corpus)
    # These have no test split of their own.
    if os.path.isfile(arg.corpus) or arg.corpus == 'tiny_shakespeare':
      config.evaluate.split = 'valid'
  if arg.tiny:
    _shrink(config, default_corpus=not arg.corpus)


def _is_of_words(config) -> bool:
  name = config.corpus.protocol
  return bool(name) and protocols.PROTOCOLS[name].kind == 'word'


def check_row(row: str, rows: Iterable[str]) -> None:
  """Raises ValueError unless `row` is one of a table's."""
  if row not in rows:
    raise ValueError(errors.unknown('config argument row', row, rows))


def take_row(tail: str) -> tuple[str, list[str]]:
  """The row that an argument asks for, '' if none, and its other parts.

  For a table whose rows are those of another one with more to them.
  """
  parts = [part for part in map(str.strip, tail.split(',')) if part]
  rows = [part for part in parts if part.startswith('row=')]
  row = rows[-1].removeprefix('row=') if rows else ''
  return row, [part for part in parts if part not in rows]


def _shrink(config: ml_collections.ConfigDict, default_corpus: bool) -> None:
  """Seconds on a laptop, for tests and for a first look. All sizes differ."""
  if default_corpus:
    config.corpus.name = 'grammar'
  config.corpus.max_length = 12
  config.corpus.vocab_size = 200
  if config.model.kind != 'ngrams':
    config.model.embedding_size = 10
    config.model.hidden_size = 14
    config.train.num_steps = 12
    config.train.batch_size = 8
    config.train.steps_per_call = 3
    config.train.eval_every = 6
    if not config.corpus.stream:
      config.train.num_buckets = 2
  if config.model.last_hidden_size:
    config.model.last_hidden_size = config.model.embedding_size
  if _is_vae(config):
    config.model.encoder_hidden_size = 11
    config.model.latent_size = 9
  config.evaluate.batch_size = 128
  config.evaluate.num_buckets = 2
  config.evaluate.iw_samples = 4
  config.generate.num_samples = 5
  config.generate.max_length = 13
  config.judge.num_samples = 15


def validate(
  config: ml_collections.ConfigDict,
  given: Collection[str] | None = None,
  trained: bool = False,
) -> None:
  """Raises ValueError for a config that cannot run, before any device work.

  Args:
    config: of a run.
    given: keys that are refused where nothing would read them, such as a
      command line's: to switch something off is not to unset all that belongs
      to it. All keys if None.
    trained: whether it reads what was trained, which may outlive its text.
  """
  corpus, model, train = config.corpus, config.model, config.train
  if not trained:
    formats.check_name(corpus.name)
  for key, value, known in (
    ('corpus.protocol', corpus.protocol, ('', *protocols.PROTOCOLS)),
    ('model.kind', model.kind, ('language_model', 'sentence_vae', 'ngrams')),
    (
      'model.ngrams.smoothing',
      model.ngrams.smoothing,
      ngrams.SMOOTHINGS,
    ),
    ('model.cell', model.cell, tuple(cells.REGISTRY)),
    ('model.backend', model.backend, backends.BACKENDS),
    ('model.precision', model.precision, products.PRECISIONS),
    ('model.elman.activation', model.elman.activation, elman.ACTIVATIONS),
    ('objective.kl_schedule', config.objective.kl_schedule, schedules.KINDS),
    ('model.posterior', model.posterior, posteriors.KINDS),
    ('model.prior', model.prior, sentence_vae.PRIORS),
    ('objective.free_bits_per', config.objective.free_bits_per, free_bits.PER),
    (
      'objective.rate_control',
      config.objective.rate_control,
      rate_control.KINDS,
    ),
    ('optimizer.name', config.optimizer.name, OPTIMIZERS),
    ('optimizer.schedule', config.optimizer.schedule, schedules.KINDS),
    ('train.select_by', train.select_by, SELECT_BY),
    (
      'evaluate.split',
      config.evaluate.split,
      ('train', 'valid', 'test', 'all'),
    ),
  ):
    if value not in known:
      raise ValueError(errors.unknown(f'config.{key}', value, known))
  if model.bidirectional_decoder:
    raise ValueError(
      'config.model.bidirectional_decoder = True: a decoder that reads '
      'backwards is given the words it is asked to predict. Legal: False. '
      'An encoder may be bidirectional: config.model.bidirectional_encoder.'
    )
  _check_ranges(config)
  if _is_vae(config):
    for key, value in (
      ('corpus.stream', corpus.stream),
      ('model.both_directions', model.both_directions),
      ('model.last_hidden_size', model.last_hidden_size),
      ('objective.augmentation', config.objective.augmentation),
      ('objective.activation_penalty', config.objective.activation_penalty),
      ('objective.temporal_penalty', config.objective.temporal_penalty),
    ):
      if value:
        raise ValueError(
          f'config.{key} = {value} is for language models, not for VAEs of '
          'sentences. Legal: its default.'
        )
    if model.cell == 'feed_forward':
      raise ValueError(
        "config.model.cell = 'feed_forward' has no state that a latent vector "
        'could set. Legal for a VAE: '
        f'{", ".join(cells.recurrent_names())}.'
      )
    _check_combination(config)
  elif train.inner_steps:
    raise ValueError(
      f'config.train.inner_steps = {train.inner_steps}: a language model has '
      'no encoder. Legal: 0.'
    )
  elif train.pretrain_steps:
    raise ValueError(
      f'config.train.pretrain_steps = {train.pretrain_steps}: a language model '
      'has nothing to be an autoencoder of. Legal: 0.'
    )
  elif train.select_by == 'reconstruction':
    raise ValueError(
      "config.train.select_by = 'reconstruction' is a figure of VAEs. Legal "
      "for a language model: 'nll_per_sentence'."
    )
  _check_ignored(config, given)
  penalties = ('activation_penalty', 'temporal_penalty')
  if model.both_directions and any(map(config.objective.get, penalties)):
    raise ValueError(
      'config.model.both_directions = True with config.objective.'
      'activation_penalty or temporal_penalty: these are of one direction. '
      'Set them to 0.'
    )
  if model.feed_forward.direct and any(map(config.objective.get, penalties)):
    raise ValueError(
      'config.model.feed_forward.direct = True with config.objective.'
      'activation_penalty or temporal_penalty: the embedded words that go to '
      'the output beside the features would be held down, too. Set them to 0.'
    )
  protocol = corpus.protocol or formats.default_protocol(corpus.name)
  kind = protocols.PROTOCOLS[protocol].kind
  if model.pretrained_embeddings and kind != 'word':
    raise ValueError(
      f'config.model.pretrained_embeddings = {model.pretrained_embeddings!r} '
      f'are of words; config.corpus.protocol = {protocol!r} is about {kind}s. '
      "Legal: ''."
    )
  if corpus.stream:
    batches.windows(train.unroll, train.unroll_spread)
  if corpus.stream and model.both_directions:
    raise ValueError(
      'config.model.both_directions = True reads sentences in reverse; streams '
      'have no end to begin at. Legal with config.corpus.stream: False.'
    )
  if train.pretrain_steps >= train.num_steps:
    raise ValueError(
      f'config.train.pretrain_steps={train.pretrain_steps} leaves nothing of '
      f'config.train.num_steps={train.num_steps}, which counts them.'
    )
  waits = config.optimizer.average_patience
  if waits and 0 < train.patience <= waits + 1:
    raise ValueError(
      f'config.optimizer.average_patience={waits}: training stops first, at '
      f'config.train.patience={train.patience}, which may be 0 or more than '
      f'{waits + 1}.'
    )
  if train.pretrain_steps % train.eval_every:
    raise ValueError(
      f'config.train.pretrain_steps={train.pretrain_steps} is not a multiple '
      f'of config.train.eval_every={train.eval_every}: it ends with a '
      'validation. Nearest legal value: '
      f'{train.pretrain_steps - train.pretrain_steps % train.eval_every}.'
    )
  for key, multiple in (
    ('num_steps', train.num_steps),
    ('eval_every', train.eval_every),
  ):
    rest = multiple % train.steps_per_call
    if rest:
      raise ValueError(
        f'config.train.{key}={multiple} is not a multiple of '
        f'config.train.steps_per_call={train.steps_per_call}: a call runs '
        'that many steps. Nearest legal value: '
        f'{max(multiple - rest, train.steps_per_call)}.'
      )


def _is_vae(config) -> bool:
  return config.model.kind == 'sentence_vae'


# By condition, prefixes of keys that would then be read by nothing.
_IGNORED = (
  (
    "config.model.kind = 'ngrams' is counted, not trained",
    lambda flat: flat['model.kind'] == 'ngrams',
    (
      'dropout.',
      'objective.',
      'optimizer.',
      'train.',
      *(
        f'model.{name}'
        for name in default().model
        if name not in ('kind', 'ngrams')
      ),
    ),
  ),
  (
    "config.model.kind = 'language_model' has no latents",
    lambda flat: flat['model.kind'] == 'language_model',
    (
      'objective.free_bits',
      'objective.kl_',
      'objective.mmd_weight',
      'objective.rate_control',
      'objective.target_rate',
      'model.bidirectional_encoder',
      'model.committed_rate',
      'model.concentration',
      'model.encoder_hidden_size',
      'model.flow_layers',
      'model.latent_',
      'model.posterior',
      'model.prior',
    ),
  ),
  *(
    (
      f'config.model.cell is not {" or ".join(map(repr, cells_))}',
      lambda flat, cells_=cells_: flat['model.cell'] not in cells_,
      (f'model.{options}.',),
    )
    for options, cells_ in (
      ('elman', ('elman',)),
      ('gru', ('gru',)),
      ('lstm', ('lstm', 'mlstm')),
      ('feed_forward', ('feed_forward',)),
    )
  ),
  (
    "config.model.kind is not 'ngrams'",
    lambda flat: flat['model.kind'] != 'ngrams',
    ('model.ngrams.',),
  ),
  (
    "config.optimizer.schedule = 'constant' has one rate",
    lambda flat: flat['optimizer.schedule'] == 'constant',
    ('optimizer.final_learning_rate',),
  ),
  (
    'config.optimizer.decay_every = 0 never decays',
    lambda flat: not flat['optimizer.decay_every'],
    ('optimizer.decay_',),
  ),
  (
    "config.model.cell = 'feed_forward' has one layer and no state",
    lambda flat: flat['model.cell'] == 'feed_forward',
    (
      'model.num_layers',
      'model.last_hidden_size',
      'model.backend',
      'dropout.hidden',
      'dropout.recurrent',
      'dropout.weight',
    ),
  ),
  (
    'config.corpus.stream = False has no windows',
    lambda flat: not flat['corpus.stream'],
    ('train.unroll', 'train.validation_rows'),
  ),
  (
    'config.corpus.stream = True has no sentences to be bucketed',
    lambda flat: flat['corpus.stream'],
    ('train.num_buckets',),
  ),
  (
    'config.model.num_layers = 1 has nothing between layers',
    lambda flat: flat['model.num_layers'] == 1,
    ('dropout.hidden',),
  ),
  *(
    (
      f'config.{name} is none of {", ".join(kinds)}',
      lambda flat, name=name, kinds=kinds: (
        flat['model.kind'] == 'sentence_vae' and flat[name] not in kinds
      ),
      keys,
    )
    for name, kinds, keys in (
      (
        'objective.kl_schedule',
        tuple(kind for kind in schedules.KINDS if kind != 'constant'),
        ('objective.kl_start', 'objective.kl_anneal_steps'),
      ),
      ('objective.kl_schedule', ('cyclical',), ('objective.kl_cycles',)),
      (
        'objective.rate_control',
        tuple(kind for kind in rate_control.KINDS if kind != 'none'),
        ('objective.target_rate', 'objective.rate_control_speed'),
      ),
      ('model.posterior', ('batch_norm',), ('model.posterior_scale',)),
      ('model.posterior', ('committed',), ('model.committed_rate',)),
      ('model.posterior', ('planar',), ('model.flow_layers',)),
      ('model.posterior', ('von_mises_fisher',), ('model.concentration',)),
      ('model.prior', ('mixture', 'vamp'), ('model.prior_components',)),
    )
  ),
  (
    'config.model.inputless = True reads no words',
    lambda flat: flat['model.inputless'],
    ('dropout.word', 'dropout.embedding'),
  ),
  (
    'config.objective.free_bits = 0 leaves the KL as it is',
    lambda flat: not flat['objective.free_bits'],
    ('objective.free_bits_per',),
  ),
  (
    'config.generate.beam_size = 1 ranks no beams',
    lambda flat: flat['generate.beam_size'] == 1,
    ('generate.length_penalty',),
  ),
  (
    "config.model.posterior = 'von_mises_fisher' has one KL whatever it says",
    lambda flat: flat['model.posterior'] == 'von_mises_fisher',
    ('objective.kl_',),
  ),
  (
    'config.optimizer.plateau_patience = 0 waits for no plateau',
    lambda flat: not flat['optimizer.plateau_patience'],
    ('optimizer.plateau_factor',),
  ),
  (
    'config.objective.augmentation = 0 has no teacher',
    lambda flat: not flat['objective.augmentation'],
    ('objective.teacher_', 'objective.final_teacher_'),
  ),
  (
    'config.objective.teacher_interval > 0 teaches with a copy',
    lambda flat: flat['objective.teacher_interval'] > 0,
    ('objective.teacher_stop_gradient',),
  ),
)


def _check_ignored(config, given) -> None:
  """Raises ValueError for a key that is set, but that nothing would read."""
  ours, defaults = flatten(config), flatten(default())
  for because, holds, prefixes in _IGNORED:
    if not holds(ours):
      continue
    for key in ours if given is None else given:
      value = ours[key]
      if key.startswith(prefixes) and value != defaults[key]:
        raise ValueError(
          f'config.{key} = {value!r} would change nothing: {because}. '
          f'Legal: {defaults[key]!r}.'
        )


def _check_combination(config) -> None:
  """Raises ValueError for KL controls that have nothing to act on together."""
  model, objective = config.model, config.objective
  optimizer = config.optimizer
  monte_carlo = model.prior != 'standard' or model.posterior == 'planar'
  is_sphere = model.posterior == 'von_mises_fisher'
  is_normalised = model.posterior == 'batch_norm'
  controls = objective.rate_control != 'none'
  # Nats a sentence that the KL may be held up to, and those it has anyhow.
  is_per_latent = objective.free_bits_per in ('latent', 'sentence_latent')
  held = objective.free_bits * (model.latent_size if is_per_latent else 1)
  held = objective.target_rate if controls else held
  floor, of_floor = 0.0, ''
  if model.posterior == 'committed':
    floor, of_floor = model.committed_rate, 'committed_rate'
  elif is_normalised and (
    controls or not objective.free_bits_per.startswith('sentence')
  ):
    # Of a batch (Zhu et al., arXiv:2004.12585).
    floor = model.latent_size * model.posterior_scale**2 / 2
    of_floor = 'posterior_scale'
  for wrong, message in (
    (
      objective.kl_weight == 0 and (objective.free_bits > 0 or controls),
      'config.objective.kl_weight = 0 takes away the KL term that free bits '
      'and rate controls act on: set it above 0, or config.objective.free_bits '
      'and rate_control to their defaults.',
    ),
    (
      0 < held <= floor,
      f'config.model.{of_floor} makes the KL at least {floor:.4g} nats, so '
      f'there is nothing to hold up to {held:g}. Set config.objective.'
      'free_bits and rate_control to their defaults, or ask for more.',
    ),
    (
      config.train.pretrain_steps > 0
      and not (objective.kl_weight or objective.kl_start)
      and not objective.mmd_weight,
      'config.objective.kl_weight = 0 trains an autoencoder to the end: set it '
      'above 0, or config.train.pretrain_steps to 0.',
    ),
    (
      objective.kl_schedule != 'constant' and not objective.kl_anneal_steps,
      f'config.objective.kl_schedule = {objective.kl_schedule!r} takes '
      'config.objective.kl_anneal_steps: at least 1.',
    ),
    (
      is_sphere and model.latent_size < 2,
      "config.model.posterior = 'von_mises_fisher' wants config.model."
      'latent_size >= 2: a direction needs a plane.',
    ),
    (
      is_normalised and config.train.batch_size < 2,
      "config.model.posterior = 'batch_norm' wants config.train.batch_size >= "
      '2: of one sentence every mean is 0.',
    ),
    (
      is_normalised and not model.posterior_scale,
      "config.model.posterior = 'batch_norm' wants config.model."
      'posterior_scale > 0: else every mean is 0.',
    ),
    (
      config.train.inner_steps > 0 and config.train.pretrain_steps > 0,
      'config.train.inner_steps and config.train.pretrain_steps: an '
      'autoencoder needs no encoder that runs ahead. Set one of them to 0.',
    ),
    (
      objective.free_bits > 0 and controls,
      'config.objective.free_bits and config.objective.rate_control both hold '
      'the rate up: set one of them to its default.',
    ),
    (
      objective.free_bits > 0
      and monte_carlo
      and objective.free_bits_per != 'batch',
      f'config.objective.free_bits_per = {objective.free_bits_per!r} wants the '
      f'KL of each sentence; that of posterior {model.posterior!r} and prior '
      f"{model.prior!r} is known on average only. Legal: 'batch'.",
    ),
    (
      is_sphere and (objective.free_bits > 0 or controls),
      "config.model.posterior = 'von_mises_fisher' has a constant KL: there is "
      'nothing for free bits or a rate control to hold. Set '
      'config.model.concentration instead.',
    ),
    (
      controls and objective.target_rate <= 0,
      f'config.objective.rate_control = {objective.rate_control!r} wants a '
      'config.objective.target_rate above 0.',
    ),
    (
      controls and not objective.rate_control_speed,
      f'config.objective.rate_control = {objective.rate_control!r} wants a '
      'config.objective.rate_control_speed above 0: at 0 it adapts nothing.',
    ),
    (
      config.train.inner_steps > 0
      and (optimizer.name != 'sgd' or optimizer.average_patience > 0),
      'config.train.inner_steps want config.optimizer.name = '
      "'sgd' without averaging: other optimisers' states would be those of two "
      'loops.',
    ),
    (
      (config.train.inner_steps > 0 or optimizer.average_patience > 0)
      and is_normalised,
      "config.model.posterior = 'batch_norm' with config.train.inner_steps or "
      'config.optimizer.average_patience: its running statistics would be '
      'those of other weights. Set these to 0.',
    ),
    (
      config.train.inner_steps > 0 and model.posterior == 'planar',
      "config.train.inner_steps and config.model.posterior = 'planar': inner "
      'updates end when mutual information falls, which is not known of flows.',
    ),
    (
      model.prior != 'standard' and model.posterior not in _FREE_GAUSSIANS,
      f'config.model.prior = {model.prior!r} is a mixture of Gaussians on all '
      f'of space; posterior {model.posterior!r} is made for its own prior. '
      f'Legal: {", ".join(_FREE_GAUSSIANS)}.',
    ),
  ):
    if wrong:
      raise ValueError(message)


_FREE_GAUSSIANS = ('gaussian', 'planar')

# Keys with their smallest and largest legal value; None: no bound.
_RANGES = (
  ('seed', 0, 2**31 - 1),
  ('data.device_share', 0, 1),
  ('corpus.max_length', 2, None),
  ('corpus.valid_share', 0, 0.9),
  ('corpus.test_share', 0, 0.9),
  ('corpus.vocab_size', 0, None),
  ('corpus.min_count', 0, None),
  ('model.embedding_size', 1, None),
  ('model.hidden_size', 1, None),
  ('model.num_layers', 1, None),
  ('model.last_hidden_size', 0, None),
  ('model.latent_size', 1, None),
  ('model.encoder_hidden_size', 0, None),
  ('model.init_scale', 0, None),
  ('model.embedding_init_scale', 0, None),
  ('model.posterior_scale', 0, None),
  ('model.committed_rate', 0, None),
  ('model.flow_layers', 1, None),
  ('model.concentration', 0, 5_000),
  ('model.prior_components', 1, None),
  ('model.lstm.cell_clip', 0, None),
  ('model.feed_forward.window', 1, None),
  ('model.ngrams.order', 0, 20),
  ('dropout.embedding', 0, 0.99),
  ('dropout.hidden', 0, 0.99),
  ('dropout.output', 0, 0.99),
  ('dropout.word', 0, 1),
  ('dropout.word_type', 0, 0.99),
  ('dropout.recurrent', 0, 0.99),
  ('dropout.weight', 0, 0.99),
  ('objective.kl_weight', 0, None),
  ('objective.kl_start', 0, None),
  ('objective.kl_anneal_steps', 0, None),
  ('objective.kl_cycles', 1, None),
  ('objective.free_bits', 0, None),
  ('objective.target_rate', 0, None),
  ('objective.rate_control_speed', 0, 1),
  ('objective.mmd_weight', 0, None),
  ('objective.label_smoothing', 0, 0.99),
  ('objective.augmentation', 0, None),
  ('objective.teacher_temperature', 1e-3, None),
  ('objective.final_teacher_temperature', 0, None),
  ('objective.teacher_interval', 0, None),
  ('objective.activation_penalty', 0, None),
  ('objective.temporal_penalty', 0, None),
  ('optimizer.learning_rate', 0, None),
  ('optimizer.final_learning_rate', 0, None),
  ('optimizer.clip_norm', 0, None),
  ('optimizer.decay_every', 0, None),
  ('optimizer.decay_start', 0, None),
  ('optimizer.decay_factor', 0, None),
  ('optimizer.weight_decay', 0, None),
  ('optimizer.plateau_patience', 0, None),
  ('optimizer.plateau_factor', 0, 1),
  ('optimizer.average_patience', 0, None),
  ('train.num_steps', 1, None),
  ('train.pretrain_steps', 0, None),
  ('train.inner_steps', 0, None),
  ('train.batch_size', 1, None),
  ('train.unroll', 1, None),
  ('train.unroll_spread', 0, None),
  ('train.validation_rows', 1, None),
  ('train.num_buckets', 0, None),
  ('train.steps_per_call', 1, None),
  ('train.eval_every', 1, None),
  ('train.patience', 0, None),
  ('evaluate.batch_size', 1, None),
  ('evaluate.num_buckets', 0, None),
  ('evaluate.iw_samples', 1, None),
  ('evaluate.chunk', 1, None),
  ('evaluate.mutual_information_group', 2, None),
  ('generate.num_samples', 1, None),
  ('generate.max_length', 0, None),
  ('generate.seed', 0, 2**31 - 1),
  ('generate.temperature', 0, None),
  ('generate.reconstruct_temperature', 0, None),
  ('generate.beam_size', 1, None),
  ('generate.length_penalty', 0, None),
  ('trace.length', 2, None),
  ('trace.page', 1, None),
  ('trace.units', 1, None),
  ('judge.num_samples', 2, None),
  ('judge.critic_steps', 0, None),
  ('generate.top_k', 0, None),
  ('generate.top_p', 0, 1),
  ('generate.interpolation_steps', 2, None),
)


def _check_ranges(config) -> None:
  flat = flatten(config)
  for key, low, high in _RANGES:
    value = flat[key]
    if not value >= low or (high is not None and value > high):
      bound = f'at least {low}' if high is None else f'{low} to {high}'
      raise ValueError(f'config.{key} = {value!r} is out of range: {bound}.')


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{'model.cell': 'gru', ...}, sorted by key."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat.update({f'{key}.{k}': v for k, v in flatten(value).items()})
    else:
      flat[key] = value
  return dict(sorted(flat.items()))


# What may be different each time; what of a run that is trained; and if that
# reads another text, as its own would show what it was trained on.
_FREE = ('evaluate.', 'generate.', 'judge.', 'trace.', 'data.')
_FREE_ONCE_TRAINED = ('corpus.name', 'model.backend')
_FREE_OF_OTHER_TEXT = (
  'corpus.labelled',
  'corpus.valid_share',
  'corpus.test_share',
)


def differences(
  ours: dict[str, Any], theirs: dict[str, Any], trained: bool = False
) -> list[str]:
  """Keys of two flat configs that make them different runs, with values.

  Args:
    ours: a config, flat.
    theirs: another.
    trained: whether they only read what was trained.
  """
  absent = '(absent)'
  free: tuple[str, ...] = _FREE
  if trained:
    free += _FREE_ONCE_TRAINED
    if ours.get('corpus.name') != theirs.get('corpus.name'):
      free += _FREE_OF_OTHER_TEXT
  return [
    f'config.{key}: {theirs.get(key, absent)!r} there, '
    f'{ours.get(key, absent)!r} here'
    for key in sorted({*ours, *theirs})
    if not key.startswith(free)
    and ours.get(key, absent) != theirs.get(key, absent)
  ]


def from_flat(flat: dict[str, Any]) -> ml_collections.ConfigDict:
  """The config that `flatten` was given.

  Raises:
    ValueError: keys are missing or unknown: another version wrote them.
  """
  config = default()
  known = flatten(config)
  wrong = sorted(set(flat) ^ set(known))
  if wrong:
    raise ValueError(
      'The saved config does not fit this version: '
      + ', '.join(
        f'{key} is ' + ('missing' if key in known else 'unknown')
        for key in wrong
      )
      + '.'
    )
  try:
    config.update_from_flattened_dict(flat)
  except TypeError as error:
    raise ValueError(f'The saved config is damaged: {error}.') from error
  return config
