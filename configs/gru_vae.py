r"""GRU sentence VAE (Bowman et al., arXiv:1511.06349).

  python -m rnnvae_jax.main --config=configs/gru_vae.py --workdir=runs/gru_vae
  python -m rnnvae_jax.main --config=configs/gru_vae.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/gru_vae.py:path/to/folder ...

The KL term is annealed, and free bits on its batch mean keep z informative
(Kingma et al., arXiv:1606.04934): up to 6.8 nats of KL cost nothing. They trade
likelihood for an informative z: on a small corpus the same model reached a
negative ELBO of 105.3 nats a sentence with a KL of 7.0, against 102.9 with a KL
of 0.5 without free bits. For the lowest ELBO set objective.free_bits=0; then z
is nearly unused, and interpolations show nothing.

The default corpus and the default sizes are small, for a first run that takes
minutes on two slow CPU cores. For a larger corpus raise corpus.vocab_size,
model.embedding_size, both dropouts and train.num_steps.
"""

from rnnvae_jax.config import argument, build
from rnnvae_jax.ops import products


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('sentence_vae')

  config.corpus.vocab_size = 10_000

  config.model.cell = 'gru'
  config.model.embedding_size = 200
  config.model.hidden_size = 256
  config.model.latent_size = 16
  config.model.latent_every_step = True
  config.model.tied_embeddings = True

  config.dropout.embedding = 0.3
  config.dropout.output = 0.3
  config.dropout.locked = True

  config.objective.kl_schedule = 'linear'
  config.objective.kl_anneal_steps = 600
  config.objective.free_bits = 6.8
  config.objective.free_bits_per = 'batch'

  config.optimizer.learning_rate = 1.5e-3
  config.optimizer.schedule = 'cosine'

  config.train.num_steps = 1_800
  config.train.eval_every = 300
  config.evaluate.iw_samples = 20

  if arg.corpus == 'ptb':
    config.corpus.vocab_size = 0  # The protocol's own 9,877.
    config.model.embedding_size = 400
    config.model.hidden_size = 400
    config.model.encoder_hidden_size = 256
    config.model.latent_size = 32
    config.dropout.output = 0.4
    config.objective.kl_anneal_steps = 2_640
    config.train.num_steps = 10_560  # Eight epochs.
    config.train.eval_every = 1_320
    config.evaluate.iw_samples = 500
  elif not arg.tiny:
    # The output layer takes most of the time, so vocabulary and embeddings are
    # small; a narrow encoder is enough for 16 latents. Fewer than two epochs do
    # not overfit, so dropout is low and the learning rate high.
    config.corpus.vocab_size = 8_000
    config.model.embedding_size = 128
    config.model.encoder_hidden_size = 128
    # Saved with the run: on a CPU of another kind, resume it with this key set.
    config.model.precision = products.fast_precision()
    config.dropout.embedding = 0.0
    config.dropout.output = 0.1
    config.objective.kl_anneal_steps = 200
    config.optimizer.learning_rate = 5e-3
    config.train.num_steps = 550
    config.train.eval_every = 110
    config.evaluate.iw_samples = 4
    config.generate.temperature = 0.7  # Samples at 1 are poor so early.

  argument.apply(config, arg)
  return config
