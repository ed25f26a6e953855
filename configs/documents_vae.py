r"""Document-level LSTM VAE of Yahoo and Yelp (He et al., arXiv:1901.05534).

  python -m rnnvae_jax.main --config=configs/documents_vae.py:path/to/yahoo ...
  python -m rnnvae_jax.main --config=configs/documents_vae.py:DIR,labelled ...

A folder has to be named, with yahoo.train.txt, yahoo.valid.txt and
yahoo.test.txt (or train.txt ...), tokens separated by spaces, as the text-VAE
versions of both corpora have them (100,000 / 10,000 / 10,000 documents);
`labelled` where each line begins with a label and a tab. LSTM 1,024, embeddings
512, z 32, dropout .5; rows as in ptb_vae.py.
"""

import os
import runpy

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'ptb_vae.py'))
_EPOCH = 3_120  # Steps, of 32 documents: 100,000 make 3,125.


def get_config(tail: str = ''):
  parts = tail.split(',')
  labelled = 'labelled' in parts
  config = _BASE['get_config'](','.join(p for p in parts if p != 'labelled'))
  config.corpus.labelled = labelled
  if config.corpus.name == 'ptb' and 'ptb' not in parts:
    config.corpus.name = ''  # Which is refused: it has no default.
  if config.train.eval_every != _BASE['_EPOCH']:  # Tiny.
    return config
  config.corpus.vocab_size = 20_000
  config.corpus.max_length = 200
  config.model.embedding_size = 512
  config.model.hidden_size = 1_024
  # What counts epochs counts longer ones.
  train, objective = config.train, config.objective
  train.eval_every = _EPOCH
  train.num_steps = _longer(train.num_steps)
  train.pretrain_steps = _longer(train.pretrain_steps)
  objective.kl_anneal_steps = _longer(objective.kl_anneal_steps)
  return config


def _longer(steps: int) -> int:
  """As many epochs of documents as they are of `ptb_vae`'s sentences."""
  return steps * _EPOCH // _BASE['_EPOCH']
