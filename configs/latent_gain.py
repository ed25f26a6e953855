r"""What a latent vector is worth to a small decoder on Penn Treebank.

  python -m rnnvae_jax.main --config=configs/latent_gain.py:row=vae_64 ...
  python -m rnnvae_jax.main --mode=reproduce --table=latent_gain --workdir=...

A row `vae_H` is a VAE whose decoder has H units, and `lm_H` is this decoder as
a language model: same data, updates, learning rate and dropout. The updates of
a VAE count those that pretrain an autoencoder. Free bits of each latent keep
all latents in use, but draws of the posterior are then not spread as the
standard prior is. So the prior is a mixture that is fitted to them.
"""

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Penn Treebank, protocol `mikolov` (10,000 types; 82,430 test events, eos '
  'counted; no sentence cut), sentence by sentence. Six epochs each, the first '
  "of a VAE's as an autoencoder. The best validation figure (ELBO or NLL) "
  'chooses the checkpoint. Products in float32.'
)
_OURS = {'published': {}, 'source': 'none'}
ROWS = {
  'lm_64': _OURS,
  'vae_64': _OURS | {'gain_over': 'lm_64'},
}
COLUMNS = (
  'test_nll_per_sentence',
  'test_iwae_nll',
  'test_kl',
  'test_mutual_information',
  'test_active_units',
  'test_perplexity',
  'test_iwae_perplexity',
)
_EPOCH = 1_320  # Steps of 32 sentences: 42,068 sentences make 1,315.


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='vae_64', tiny=False)
  argument.check_row(arg.row, ROWS)
  kind, _, size = arg.row.partition('_')
  is_vae = kind == 'vae'
  config = build.default('sentence_vae' if is_vae else 'language_model')

  config.corpus.name = 'ptb'
  config.corpus.protocol = 'mikolov'
  config.corpus.max_length = 100  # The longest sentence has 83, eos counted.

  config.model.cell = 'lstm'
  config.model.embedding_size = int(size)
  config.model.hidden_size = int(size)
  config.model.tied_embeddings = True
  # Six epochs do not overfit, so dropout is low and the learning rate high.
  config.dropout.locked = True
  config.dropout.embedding = 0.1
  config.dropout.output = 0.1
  config.optimizer.learning_rate = 4e-3
  config.optimizer.schedule = 'cosine'
  config.train.num_steps = 6 * _EPOCH
  config.train.eval_every = _EPOCH

  if is_vae:
    config.model.encoder_hidden_size = 128
    config.model.bidirectional_encoder = True
    config.model.latent_size = 32
    config.model.latent_every_step = True
    config.model.latent_to_output = True
    config.model.prior = 'mixture'
    config.objective.fit_prior = True
    config.objective.free_bits = 7.5 / 32
    config.objective.free_bits_per = 'sentence_latent'
    config.objective.kl_schedule = 'linear'
    config.objective.kl_anneal_steps = _EPOCH
    config.train.pretrain_steps = _EPOCH
    config.evaluate.iw_samples = 100
    config.evaluate.chunk = 10
  argument.apply(config, arg)
  if arg.tiny and is_vae:
    config.train.pretrain_steps = config.train.eval_every
  return config
