r"""GRU sentence VAE (Bowman et al., arXiv:1511.06349).

  python -m rnnvae_jax.main --config=configs/gru_vae.py --workdir=runs/gru_vae
  python -m rnnvae_jax.main --config=configs/gru_vae.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/gru_vae.py:path/to/folder ...

z is kept informative by free bits on the batch's mean KL term (Kingma et al.,
arXiv:1606.04934): below the threshold it costs nothing.
"""

from rnnvae_jax import config_lib


def get_config(tail: str = ''):
  arg = config_lib.parse_arg(tail, tiny=False)
  config = config_lib.default()

  config.model.kind = 'sentence_vae'
  config.model.cell = 'gru'
  config.model.embedding_size = 200
  config.model.hidden_size = 256
  config.model.latent_size = 16
  config.model.latent_every_step = True
  config.model.tied_embeddings = True

  config.dropout.embedding = 0.3
  config.dropout.output = 0.3
  config.dropout.locked = True

  config.objective.free_bits = 6.8  # Nats that z may say for free,
  config.objective.free_bits_per = 'batch'  # on average over a batch.

  config.optimizer.learning_rate = 0.0015
  config.optimizer.schedule = 'cosine'

  if arg.corpus == 'ptb':
    config.model.embedding_size = 400
    config.model.hidden_size = 400
    config.model.encoder_hidden_size = 256
    config.model.latent_size = 32
    config.dropout.output = 0.4
    config.train.num_buckets = 10
    config.train.num_steps = 10_560  # Eight epochs.
    config.train.eval_every = 1_320

  config_lib.apply(config, arg)
  return config
