r"""Table 2 of Bowman et al., arXiv:1511.06349: standard and inputless.

  python -m rnnvae_jax.main --config=configs/bowman.py:row=inputless_vae ...
  python -m rnnvae_jax.main --mode=reproduce --table=bowman --workdir=runs/t

Sizes and word dropout are from the paper's table 11. The KL term's weight
reaches .5 at the same step as in the paper's figure 2, but along a flatter
curve. Optimiser, epochs and other dropout are our choices. An inputless decoder
reads no words, so that z is its only information about the sentence.
"""

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Penn Treebank, protocol `mikolov` (82,430 test events, eos counted; no '
  'sentence cut), sentence by sentence, nats; the published VAE figures are '
  'ELBOs, and so are ours. Perplexities of the paper fit no count of its '
  'tokens, hence are not compared. The best validation ELBO chooses the '
  'checkpoint. Products in bfloat16. Gains are over language models of the '
  "paper's sizes, which are not those of the decoders; without inputs a "
  'language model knows the position alone, whatever its size.'
)

_TABLE_2 = 'Bowman et al., table 2'
ROWS = {
  'standard_lm': {
    'published': {'test_nll_per_sentence': 100},
    'source': _TABLE_2,
  },
  'standard_vae': {
    'published': {'test_nll_per_sentence': 101, 'test_kl': 2},
    'source': _TABLE_2,
    'gain_over': 'standard_lm',
  },
  'inputless_lm': {
    'published': {'test_nll_per_sentence': 135},
    'source': _TABLE_2,
  },
  'inputless_vae': {
    'published': {'test_nll_per_sentence': 125, 'test_kl': 15},
    'source': _TABLE_2,
    'gain_over': 'inputless_lm',
  },
}
# By row: embedding size, hidden units, latents, epochs.
_SIZES = {
  'standard_lm': (464, 337, 0, 15),
  'standard_vae': (353, 191, 13, 20),
  'inputless_lm': (305, 68, 0, 6),
  'inputless_vae': (499, 350, 111, 20),
}
_EPOCH = 1_320  # Steps of 32 sentences: 42,068 sentences make 1,315.


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='inputless_vae', tiny=False)
  argument.check_row(arg.row, ROWS)
  embedding_size, hidden_size, latent_size, epochs = _SIZES[arg.row]
  config = build.default('sentence_vae' if latent_size else 'language_model')

  config.corpus.name = 'ptb'
  config.corpus.protocol = 'mikolov'
  config.corpus.max_length = 100  # The longest sentence has 83, eos counted.

  config.model.cell = 'lstm'
  config.model.embedding_size = embedding_size
  config.model.hidden_size = hidden_size
  if latent_size:
    config.model.latent_size = latent_size
    config.objective.kl_schedule = 'sigmoid'
    config.objective.kl_anneal_steps = 6_300  # Figure 2: .5 at step 3,177.
  config.model.inputless = arg.row.startswith('inputless')
  config.model.precision = 'bfloat16'
  match arg.row:
    case 'standard_lm' | 'standard_vae':
      config.dropout.word = 0.38 if latent_size else 0.34
      config.dropout.output = 0.5
    case 'inputless_vae':  # Without them it learns its training split by heart.
      config.dropout.output = 0.3
      config.dropout.weight = 0.1

  config.optimizer.schedule = 'cosine'
  config.train.num_steps = epochs * _EPOCH
  config.train.eval_every = _EPOCH
  if latent_size:
    config.evaluate.iw_samples = 50
    config.evaluate.chunk = 10

  argument.apply(config, arg)
  return config
