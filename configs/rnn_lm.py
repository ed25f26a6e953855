r"""Elman RNN language model.

  python -m rnnvae_jax.main --config=configs/rnn_lm.py --workdir=runs/rnn_lm
  python -m rnnvae_jax.main --config=configs/rnn_lm.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/rnn_lm.py:path/to/folder ...

Sentence by sentence: the state starts from zeros at every bos.
"""

from rnnvae_jax import config_lib


def get_config(tail: str = ''):
  arg = config_lib.parse_arg(tail, tiny=False)
  config = config_lib.default()

  config.corpus.vocab_size = 10_000

  config.model.kind = 'language_model'
  config.model.cell = 'elman'
  config.model.embedding_size = 200
  config.model.hidden_size = 256
  config.model.tied_embeddings = True

  config.dropout.embedding = 0.3
  config.dropout.output = 0.3
  config.dropout.locked = True

  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule = 'cosine'

  config.train.num_steps = 1_800
  config.train.eval_every = 300

  if arg.corpus == 'ptb':
    config.corpus.vocab_size = 0  # The protocol's own 9,877.
    config.model.embedding_size = 400
    config.model.hidden_size = 400
    config.dropout.output = 0.4
    config.train.num_steps = 10_560  # Eight epochs.
    config.train.eval_every = 1_320

  config_lib.apply(config, arg)
  return config
