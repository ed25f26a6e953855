r"""GRU language model.

  python -m rnnvae_jax.main --config=configs/gru_lm.py --workdir=runs/gru_lm
  python -m rnnvae_jax.main --config=configs/gru_lm.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/gru_lm.py:path/to/folder ...

Sentences are independent: the state is zero at the start of every sentence.
"""

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('language_model')

  config.corpus.vocab_size = 10_000

  config.model.cell = 'gru'
  config.model.embedding_size = 200
  config.model.hidden_size = 256
  config.model.tied_embeddings = True

  config.dropout.embedding = 0.3
  config.dropout.output = 0.3
  config.dropout.locked = True

  config.optimizer.learning_rate = 1.5e-3
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

  argument.apply(config, arg)
  return config
