"""A table of a toy grammar."""

from rnnvae_jax.config import argument, build

PROTOCOL = 'A toy grammar.'
ROWS = {
  'lm': {'published': {'test_perplexity': 12.5}, 'source': 'nowhere'},
  'vae_a_1': {
    'published': {'test_kl': 1.5, 'valid_elbo': 9},
    'source': 'nowhere',
  },
  'vae_a_2': {'published': {}, 'source': 'none', 'gain_over': 'lm'},
}
PLOT = 'test_kl', 'test_reconstruction'


def get_config(tail=''):
  arg = argument.parse(tail, row='lm', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = build.default(
    'language_model' if arg.row == 'lm' else 'sentence_vae'
  )
  if arg.row == 'vae_a_2':
    config.train.pretrain_steps = 6
  arg.tiny, arg.corpus = True, 'text'
  argument.apply(config, arg)
  config.train.num_buckets = config.evaluate.num_buckets = 1
  return config
