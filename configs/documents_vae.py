r"""Document-level LSTM VAE of Yahoo and Yelp (He et al., arXiv:1901.05534).

  python -m rnnvae_jax.main --config=configs/documents_vae.py:path/to/yahoo ...
  python -m rnnvae_jax.main --config=configs/documents_vae.py:DIR,labelled ...

A folder with yahoo.train.txt, yahoo.valid.txt and yahoo.test.txt (or train.txt
...), tokens separated by spaces, as the text-VAE versions of both corpora have
them (100,000 / 10,000 / 10,000 documents); `labelled` where each line begins
with a label and a tab. LSTM 1,024, embeddings 512, z 32, dropout .5; rows as in
ptb_vae.py.
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
  if config.train.eval_every != _BASE['_EPOCH']:  # Tiny.
    return config
  config.corpus.vocab_size = 20_000
  config.corpus.max_length = 200
  config.model.embedding_size = 512
  config.model.hidden_size = 1_024
  epochs = config.train.num_steps // config.train.eval_every
  pretraining = config.train.pretrain_steps // config.train.eval_every
  config.train.eval_every = _EPOCH
  config.train.num_steps = epochs * _EPOCH
  config.train.pretrain_steps = pretraining * _EPOCH
  annealing = config.objective.kl_anneal_steps // _BASE['_EPOCH']
  config.objective.kl_anneal_steps = annealing * _EPOCH
  return config
