r"""Language models of Penn Treebank as one stream with a carried state.

  python -m rnnvae_jax.main --config=configs/ptb_lm.py --workdir=runs/zaremba
  python -m rnnvae_jax.main --config=configs/ptb_lm.py:row=awd_lstm,folder ...
  python -m rnnvae_jax.main --mode=reproduce --table=ptb_lm --workdir=...

The loss is the sum of nats over the steps of a window, averaged over rows. The
learning rate of 1 and the clipping of Zaremba et al. belong to this scale.
Recipes with a mean over steps (AWD-LSTM) are converted: their learning rate is
divided by the window's length, their clipping and weight decay are multiplied
by it. All dropout rates are probabilities of dropping. Epochs are those of Penn
Treebank: for another text the same number of steps is another number of epochs,
which the log shows.
"""

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Penn Treebank, protocol `mikolov` (82,430 test events, eos counted) as one '
  'stream whose state is carried, each split read in one row; `reset` is the '
  'same model with each sentence by itself. Sizes and optimisation of `elman` '
  'and `gru` are ours, not those of the published. The best validation '
  'perplexity chooses the checkpoint. Products in bfloat16.'
)


def _published(valid, test, source):
  names = 'valid_perplexity', 'test_perplexity'
  figures = zip(names, (valid, test), strict=True)
  known = {name: value for name, value in figures if value is not None}
  return {'published': known, 'source': source}


_OURS = {'published': {}, 'source': 'none'}
ROWS = {
  'feed_forward': _OURS,
  'elman': _published(None, 124.7, 'Mikolov & Zweig 2012, RNN'),
  'gru': _published(None, 97.78, 'Tjandra et al. 2017'),
  'mlstm': _OURS,
  'zaremba_small': _published(120.7, 114.5, 'Zaremba et al., table 1'),
  'zaremba_medium': _published(86.2, 82.7, 'Zaremba et al., table 1'),
  'zaremba_large': _published(82.2, 78.4, 'Zaremba et al., table 1'),
  'gal_large': _published(77.3, 75.0, 'Gal & Ghahramani, tied masks'),
  'press_wolf_large': _published(75.8, 73.2, 'Press & Wolf, WT + BD'),
  'awd_lstm': _published(61.2, 58.8, 'awd-lstm-lm, README, batches of 20'),
  'regularised': _OURS,
}
COLUMNS = (
  'valid_perplexity',
  'test_perplexity',
  'test_reset_perplexity',
)
PLOT = 'minutes', 'valid_perplexity'

# By size: units, initial weights, dropout, window, epochs at the first learning
# rate, epochs in all, factor of each epoch's decay, clipping.
_ZAREMBA = {
  'small': (200, 0.1, 0.0, 20, 4, 13, 1 / 2, 5.0),
  'medium': (650, 0.05, 0.5, 35, 6, 39, 1 / 1.2, 5.0),
  'large': (1_500, 0.04, 0.65, 35, 14, 55, 1 / 1.15, 10.0),
}
_TOKENS = 929_589


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='zaremba_small', epochs=0, tiny=False)
  argument.check_row(arg.row, ROWS)
  config = build.default('language_model')

  config.corpus.name = 'ptb'
  config.corpus.protocol = 'mikolov'
  config.corpus.stream = True

  config.model.cell = 'lstm'
  config.model.num_layers = 2
  config.model.precision = 'bfloat16'
  config.optimizer.name = 'sgd'
  config.optimizer.learning_rate = 1.0
  config.train.batch_size = 20
  config.train.unroll = 35

  {'awd_lstm': _awd, 'regularised': _regularised}.get(arg.row, _zaremba)(
    config, arg
  )
  argument.apply(config, arg)
  return config


def _last_for(config, epochs: int) -> int:
  """Sets the length of a run; returns the number of steps in an epoch."""
  row = -(-_TOKENS // config.train.batch_size)
  steps = -(-row // config.train.unroll)
  per_call = config.train.steps_per_call
  steps = -(-steps // per_call) * per_call
  config.train.num_steps = epochs * steps
  config.train.eval_every = steps
  return steps


def _zaremba(config, arg) -> None:
  """Zaremba et al., arXiv:1409.2329, and variants with small differences."""
  model, dropout = config.model, config.dropout
  size = arg.row.rpartition('_')[2]
  size = size if size in _ZAREMBA else 'small'
  units, scale, drop, unroll, constant, epochs, decay, clip = _ZAREMBA[size]
  model.embedding_size = model.hidden_size = units
  model.init_scale = scale
  dropout.embedding = dropout.hidden = dropout.output = drop
  config.optimizer.clip_norm = clip
  config.train.unroll = unroll
  match arg.row:
    case 'feed_forward':  # Bengio et al. 2003: 5-grams, direct connections.
      model.cell = 'feed_forward'
      model.num_layers = 1
      model.feed_forward.direct = True
      dropout.embedding = dropout.output = 0.2
    case 'elman':
      model.cell = 'elman'
      model.num_layers = 1
      model.elman.activation = 'sigmoid'
    case 'gru' | 'mlstm':
      model.cell = arg.row
      dropout.embedding = dropout.hidden = dropout.output = 0.2
    # Here one mask serves all gates; both published scripts draw one for each.
    case 'gal_large':  # arXiv:1512.05287, and the code that goes with it.
      dropout.locked = True
      dropout.word_type, dropout.recurrent = 0.3, 0.3
      dropout.embedding, dropout.hidden, dropout.output = 0.5, 0.5, 0.5
      config.optimizer.weight_decay = 1e-7
      constant = 11
    case 'press_wolf_large':  # arXiv:1608.05859, tied, Bayesian dropout.
      model.tied_embeddings = True
      dropout.locked = True
      dropout.word_type, dropout.recurrent = 0.3, 0.3
      dropout.embedding, dropout.hidden, dropout.output = 0.5, 0.5, 0.5
      constant = 11
  if model.cell in ('lstm', 'mlstm'):
    model.lstm.forget_bias = 0.0
  steps = _last_for(config, arg.epochs or epochs)
  config.optimizer.decay_start = constant * steps
  config.optimizer.decay_every = steps
  config.optimizer.decay_factor = decay


def _awd(config, arg) -> None:
  """Merity et al., arXiv:1708.02182: weight drop, NT-ASGD, random windows.

  The settings are those of the authors' repository, with batches of 20. There
  are some differences. Word types are dropped independently in each row; in the
  repository all rows share a mask. Windows have one of five lengths around 70,
  or length 35; in the repository lengths are drawn around 70 or 35. Learning
  rate, clipping and decay are converted for windows of 70, so that shorter
  windows, which are clipped less often, may make larger updates. An epoch is
  counted in windows of 70, which makes it 2.5% too short. The last layer's
  weights and the output bias are initialised like the other layers' weights; in
  the repository within .05 and at 0.
  """
  model, dropout = config.model, config.dropout
  model.num_layers = 3
  model.embedding_size = model.last_hidden_size = 400
  model.hidden_size = 1_150
  model.tied_embeddings = True
  # As torch.nn.LSTM(1150) begins: within 1 / sqrt(units).
  model.init_scale, model.lstm.forget_bias = 0.03, 0.0
  model.embedding_init_scale = 0.1
  dropout.locked = True
  dropout.weight, dropout.word_type = 0.5, 0.1
  dropout.embedding, dropout.hidden, dropout.output = 0.4, 0.25, 0.4
  config.train.unroll, config.train.unroll_spread = 70, 5
  config.objective.activation_penalty = 2.0
  config.objective.temporal_penalty = 1.0
  config.optimizer.learning_rate = 30 / 70
  config.optimizer.clip_norm = 0.25 * 70
  config.optimizer.weight_decay = 1.2e-6 * 70
  config.optimizer.average_patience = 5
  _last_for(config, arg.epochs or 500)


def _regularised(config, arg) -> None:
  """Our recipe: 10 million parameters, hours instead of hundreds of epochs.

  One wide layer, projected down to tied embeddings (Melis et al.,
  arXiv:1707.05589, depth 1), and Adam with a cosine schedule.
  """
  model, dropout = config.model, config.dropout
  model.num_layers = 1
  model.embedding_size = 400
  model.hidden_size = 1_000
  model.tied_embeddings = True
  dropout.locked = True
  dropout.weight, dropout.word_type = 0.4, 0.1
  dropout.embedding, dropout.output = 0.4, 0.5
  config.train.batch_size = 32
  config.train.unroll, config.train.unroll_spread = 70, 5
  config.objective.activation_penalty = 2.0
  config.objective.temporal_penalty = 1.0
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = 'cosine'
  config.optimizer.clip_norm = 20.0
  _last_for(config, arg.epochs or 25)
