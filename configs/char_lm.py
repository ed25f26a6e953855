r"""LSTM language model of the characters of any text file, as one stream.

  python -m rnnvae_jax.main --config=configs/char_lm.py --workdir=runs/char_lm
  python -m rnnvae_jax.main --config=configs/char_lm.py:path/to/text.txt ...
  python -m rnnvae_jax.main --mode=sample --workdir=runs/char_lm \
    --config.generate.prime='ROMEO:' --config.generate.temperature=0.8
  python -m rnnvae_jax.main --mode=reproduce --table=char_lm --workdir=...

The state is carried from window to window; line ends are characters. The first
90 % of a file are for training, the rest is for validation.
"""

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Tiny Shakespeare, 1,115,394 characters of 65 kinds as one stream, the state '
  'carried; the first 90 % train, the last 10 % validate (111,540 events), '
  'read in one row; the best validation, read in several, chooses the '
  'checkpoint. Products in bfloat16.'
)
ROWS = {
  'uniform_0': {
    'published': {
      'valid_bits_per_character': 6.022,
      'valid_nll_per_token': 4.174,
    },
    'source': 'log 65, by definition',
  },
  'kneser_ney_7': {'published': {}, 'source': 'none'},
  'lstm': {'published': {}, 'source': 'none'},
}
COLUMNS = 'valid_bits_per_character', 'valid_nll_per_token'
PLOT = 'minutes', 'valid_nll_per_token'


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='lstm', tiny=False)
  argument.check_row(arg.row, ROWS)
  kind, _, order = arg.row.rpartition('_')
  config = build.default('ngrams' if kind else 'language_model')

  config.corpus.name = 'tiny_shakespeare'
  config.corpus.protocol = 'characters'
  config.corpus.stream = True
  config.evaluate.split = 'valid'
  config.generate.max_length = 500
  config.generate.num_samples = 3

  if kind:
    config.model.ngrams.order = int(order)
  else:
    config.model.cell = 'lstm'
    config.model.embedding_size = 64
    config.model.hidden_size = 768
    config.model.precision = 'bfloat16'
    config.dropout.locked = True
    config.dropout.embedding = 0.1
    config.dropout.output = 0.5
    config.dropout.weight = 0.4
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = 'cosine'
    config.train.batch_size = 64
    config.train.unroll = 64
    config.train.num_steps = 5_280  # About 21 epochs.
    config.train.eval_every = 240
    config.train.validation_rows = 32

  argument.apply(config, arg)
  return config
