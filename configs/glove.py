r"""GloVe word vectors (Pennington, Socher & Manning 2014), trained here.

  python -m rnnvae_jax.main --config=configs/glove.py --workdir=runs/glove
  python -m rnnvae_jax.main --config=configs/glove.py:path/to/folder ...
  python -m rnnvae_jax.main --mode=vectors --workdir=runs/glove \
    --config.vectors.words=king,queen

Words that are seen fewer than five times have no vector, and are left out
before distances are counted.
"""

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('word_vectors')

  if not arg.tiny:
    config.corpus.min_count = 5
  config.corpus.max_length = 1_000  # No sentence is cut.

  config.evaluate.split = 'valid'

  argument.apply(config, arg)
  return config
