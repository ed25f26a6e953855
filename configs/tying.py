r"""Tied embeddings and the augmented loss (Inan et al., arXiv:1611.01462).

  python -m rnnvae_jax.main --config=configs/tying.py:row=small_real ...
  python -m rnnvae_jax.main --mode=reproduce --table=tying --workdir=...

A row is a size and a loss: `vd` is an LSTM with variational dropout, `al` adds
the augmented loss, `re` ties the embeddings, `real` does both. The paper's tied
models have no bias in the output layer; the additional rows `re_bias` and
`real_bias` have one, like the other rows. The dropout rates in the paper (0.7,
0.5, 0.35) are read as probabilities of keeping. The published runs share one
mask between a layer's state and the next layer's input; here each has its own.
Embeddings have no dropout, as in the paper. The learning rate falls along a
cosine that ends with the budget. In the paper it decays by .9 (`large`: .97) an
epoch until nothing improves; the sum of its rates is that of a cosine of about
30 (`small`), 40 (`medium`) and 67 (`large`, 40 here) epochs.

The paper says little about the teacher. Gradients flow through it, as in the
code that others published for the paper: without these gradients `real` makes
embeddings longer and longer, until the teacher's distribution has a single
word, and it diverged at temperature 10. The teacher's temperature is 20: in
runs of five epochs (`epochs=5`) `small_real` reached a validation perplexity of
125.3, and 126.7 at temperature 10. In such runs `small_vd` reached 122.3,
`small_re` 125.6 and `small_re_bias` 115.4.
"""

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Penn Treebank, protocol `mikolov` (82,430 test events, eos counted) as one '
  'stream whose state is carried, each split read in one row. All rows of a '
  'size have one budget: 30 epochs of `small`, 40 of the others (published: '
  'until convergence). Embedded words are not dropped. Tied output layers have '
  'no bias (published) but for `_bias`. The augmented loss '
  '(`al`, `real`) has gamma .5 and tau 20, and gradients go through the '
  'teacher. The best validation perplexity chooses the checkpoint. Products '
  'in bfloat16.'
)
_PUBLISHED = {
  'small_vd': (92.6, 87.3),
  'small_al': (86.3, 82.9),
  'small_re': (89.9, 85.1),
  'small_real': (86.3, 82.7),
  'medium_vd': (82.0, 77.7),
  'medium_al': (77.4, 74.7),
  'medium_re': (77.1, 73.9),
  'medium_real': (75.7, 73.2),
  'large_vd': (76.8, 72.6),
  'large_al': (74.5, 71.2),
  'large_re': (72.5, 69.0),
  'large_real': (71.1, 68.5),
}
ROWS = {
  row: {
    'published': {'valid_perplexity': valid, 'test_perplexity': test},
    'source': 'Inan et al., table 1',
  }
  for row, (valid, test) in _PUBLISHED.items()
} | {
  row: {'published': {}, 'source': 'none'}
  for row in ('small_re_bias', 'small_real_bias')
}
PLOT = 'minutes', 'valid_perplexity'
# By size: units, dropout, clipping, epochs.
_SIZES = {
  'small': (200, 0.3, 5.0, 30),
  'medium': (650, 0.5, 5.0, 40),
  'large': (1_500, 0.65, 6.0, 40),
}
_EPOCH = 1_330  # Steps of 20 rows by 35 tokens: 929,589 tokens make 1,328.


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='small_real', epochs=0, tiny=False)
  argument.check_row(arg.row, ROWS)
  config = build.default('language_model')

  config.corpus.name = 'ptb'
  config.corpus.protocol = 'mikolov'
  config.corpus.stream = True

  size, _, loss = arg.row.partition('_')
  units, drop, clip, epochs = _SIZES[size]
  epochs = arg.epochs or epochs
  config.model.cell = 'lstm'
  config.model.num_layers = 2
  config.model.embedding_size = config.model.hidden_size = units
  config.model.init_scale = 0.1 if size == 'small' else 0.05
  config.model.lstm.forget_bias = 0.0
  config.model.precision = 'bfloat16'
  config.dropout.locked = True
  config.dropout.recurrent = config.dropout.hidden = drop
  config.dropout.output = drop
  if loss.startswith('re'):
    config.model.tied_embeddings = True
    config.model.output_bias = loss.endswith('_bias')
  if loss.startswith(('al', 'real')):
    config.objective.augmentation = 0.5
    config.objective.teacher_temperature = 20.0
    config.objective.teacher_stop_gradient = False

  config.optimizer.name = 'sgd'
  config.optimizer.learning_rate = 1.0
  config.optimizer.clip_norm = clip
  config.optimizer.schedule = 'cosine'
  config.train.batch_size = 20
  config.train.unroll = 35
  config.train.num_steps = epochs * _EPOCH
  config.train.eval_every = _EPOCH

  argument.apply(config, arg)
  return config
