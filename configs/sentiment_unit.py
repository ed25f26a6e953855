r"""Multiplicative LSTM of the bytes of reviews, as one stream.

  python -m rnnvae_jax.main --config=configs/sentiment_unit.py \
    --workdir=runs/unit
  python -m rnnvae_jax.main --config=configs/sentiment_unit.py:FOLDER ...
  python -m rnnvae_jax.main --mode=units --workdir=runs/unit \
    --config.units.corpus=sentence_polarity

The paper's model (Radford et al., arXiv:1704.01444) has 4,096 units and read
the 38 GB of Amazon's reviews in a month on four GPUs. This one is for a
processor core.
"""

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('language_model')

  config.corpus.name = 'imdb'
  config.corpus.protocol = 'reviews'
  config.corpus.stream = True

  config.model.cell = 'mlstm'
  config.model.embedding_size = 64
  config.model.hidden_size = 256

  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = 'linear'
  config.optimizer.clip_norm = 50.0

  config.train.batch_size = 32
  config.train.unroll = 128
  config.train.num_steps = 4_000  # 16 MB, about half of the training split.
  config.train.eval_every = 1_000
  config.train.validation_rows = 32

  config.evaluate.split = 'valid'
  config.generate.max_length = 500
  config.generate.num_samples = 3

  argument.apply(config, arg)
  config.corpus.vocab_size = 0  # All bytes, even of a tiny run.
  return config
