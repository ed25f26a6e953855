r"""Count models of Penn Treebank or of any text, as baselines.

  python -m rnnvae_jax.main --config=configs/ptb_ngram.py --workdir=runs/kn5
  python -m rnnvae_jax.main --config=configs/ptb_ngram.py:row=uniform_0,lee ...
  python -m rnnvae_jax.main --mode=reproduce --table=ptb_ngram --workdir=...

A row's name ends with the order. Rows `..._single` have one discount an order.
"""

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Penn Treebank, protocol `mikolov` (82,430 test events, eos counted; no '
  'sentence cut), each sentence by itself. Kneser-Ney is interpolated, its '
  'continuation counts without cut-offs, three discounts an order unless '
  '`single`. Without smoothing an n-gram that was never seen is impossible.'
)
_OURS = {'published': {}, 'source': 'none'}
ROWS = {
  'uniform_0': {
    'published': {'test_perplexity': 10_000},
    'source': 'by definition',
  },
  'kneser_ney_1': _OURS,
  'maximum_likelihood_3': {
    'published': {'test_perplexity': 'inf'},
    'source': 'by definition',
  },
  'kneser_ney_2': _OURS,
  'kneser_ney_3': _OURS,
  'kneser_ney_3_single': _OURS,
  'kneser_ney_4': _OURS,
  'kneser_ney_5': {
    'published': {'test_perplexity': 141.2},
    'source': 'Mikolov & Zweig 2012',
  },
  'kneser_ney_5_single': _OURS,
}
COLUMNS = 'valid_perplexity', 'test_perplexity'


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='kneser_ney_5', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = build.default('ngrams')

  config.corpus.name = 'ptb'
  config.corpus.protocol = 'mikolov'
  config.corpus.max_length = 100  # The longest sentence has 83, eos counted.

  name = arg.row.removesuffix('_single')
  kind, _, order = name.rpartition('_')
  config.model.ngrams.order = int(order)
  if arg.row != name:
    config.model.ngrams.smoothing = 'kneser_ney'
  elif kind == 'maximum_likelihood':
    config.model.ngrams.smoothing = 'maximum_likelihood'

  argument.apply(config, arg)
  return config
