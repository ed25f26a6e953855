"""Every config file runs, and every key of the schema is read by some run."""

import contextlib
import functools
import io
import json
import os
import pathlib
import runpy
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import ml_collections
import pytest

from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import build
from rnnvae_jax.training import hyperparameters, preparation

CONFIGS = pathlib.Path(__file__).parent.parent / 'configs'
TABLES = tuple(
  sorted(
    path.stem for path in CONFIGS.glob('*.py') if 'ROWS =' in path.read_text()
  )
)
NAMES = tuple(
  sorted({path.stem for path in CONFIGS.glob('*.py')} - set(TABLES))
)
# Their models have no sizes.
SIZELESS = (
  *('feature_tagger', 'hidden_markov_tagger', 'linear_classifier'),
  'glove',  # Its keys are its own.
)
ROWS = tuple(
  (table, row)
  for table in TABLES
  for row in runpy.run_path(str(CONFIGS / f'{table}.py'))['ROWS']
)


# The corpora of tables, or of their rows, that are not of Penn Treebank.
OWN = {
  'char_lm': 'tiny_shakespeare',
  'conll2003': 'conll2003',
  'imdb': 'imdb',
  'imdb lm': 'imdb_unlabelled',
  'imdb sequence_autoencoder': 'imdb_unlabelled',
  'imdb_adversarial': 'imdb',
  'imdb_labels': 'imdb',
  'imdb_large': 'imdb',
  'imdb_large lm': 'imdb_unlabelled',
  'polarity': 'sentence_polarity',
  'sentiment140': 'sentiment140',
  'ud_pos': 'ud_english_ewt',
  'wsj_sample_pos': 'nltk_treebank_pos',
}
# Named after a recurrent cell and what it is the cell of.
RECURRENT = tuple(name for name in NAMES if name.endswith(('_lm', '_vae')))

pytestmark = pytest.mark.usefixtures('compile_once')


def get_config(name, tail=''):
  return runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config'](tail)


class Spy:
  """A view of a ConfigDict, and of its copies, that crosses off what is read.

  `items` and `keys` are blind: whoever flattens a config reads no key.
  """

  def __init__(self, node, unread=None, path=''):
    unread = set(build.flatten(node)) if unread is None else unread
    vars(self).update(_node=node, unread=unread, _path=path)

  def __getattr__(self, name):
    if name in self._node:
      return self[name]
    if name == 'copy_and_resolve_references':
      return lambda: Spy(getattr(self._node, name)(), self.unread, self._path)
    return getattr(self._node, name)

  def __getitem__(self, name):
    value = self._node[name]
    if isinstance(value, ml_collections.ConfigDict):
      return Spy(value, self.unread, f'{self._path}{name}.')
    self.unread.discard(f'{self._path}{name}')
    return value

  def get(self, name, default=None):
    return self[name] if name in self._node else default

  def __contains__(self, name):
    return name in self._node

  def __setattr__(self, name, value):
    setattr(self._node, name, value)


@contextlib.contextmanager
def spying_on_scalars(config, unread):
  """Crosses off the scalars that compiled programs read as arguments."""
  own = hyperparameters.Hyperparameters.__getattr__
  sections = {}  # By its names, the prefix of a section.
  for key in build.flatten(config):
    prefix = key.rpartition('.')[0]
    sections.setdefault(prefix, set()).add(key)
  traced = {
    name for name, key in build.keys_of(config).keys.items() if key.traced
  }
  prefixes = {
    frozenset(key.rpartition('.')[2] for key in keys & traced): f'{prefix}.'
    for prefix, keys in sections.items()
  }

  def reading(self, name):
    value = own(self, name)
    prefix = prefixes.get(frozenset(self))
    if prefix and not isinstance(value, hyperparameters.Hyperparameters):
      unread.discard(f'{prefix}{name}')
    return value

  with mock.patch.object(
    hyperparameters.Hyperparameters, '__getattr__', reading
  ):
    yield


# Modes that read a run and write more than what they are asked for.
WRITTEN = {
  'evaluate': 'results.json',
  'judge': 'judged.json',
  'latents': 'latents/latents.json',
  'trace': 'trace.html',
  'units': 'units.json',
  'vectors': 'vectors.json',
}


@functools.cache
def run_tiny(name, row='', reads=True):
  """Runs a config, or a table's row, at `tiny` in all modes that its task has.

  Args:
    name: of the config.
    row: of the table, as 'row=NAME'.
    reads: whether modes that read the run follow its training.

  Returns:
    The keys that no one has read, and what each mode wrote, or why it did not.
  """
  with tempfile.TemporaryDirectory() as root:
    folder, workdir = os.path.join(root, 'text'), os.path.join(root, 'run')
    os.makedirs(folder)
    config = get_config(name, f'{row},tiny,{folder}')
    text, more = 'A b c.\nB c a d.\n' * 3, ''
    if config.corpus.labelled:  # Probes want different texts of a class.
      text = 'one\tA b c.\ntwo\tB c a d.\none\tA b b c.\n'
      text += 'two\tB d d.\none\tC a b c.\ntwo\tD c a d.\n'
      # Judges of shifted texts learn from others than these.
      more = 'one\tC b a.\ntwo\tD a c b.\none\tA c b.\ntwo\tC d a b.\n'
    if config.corpus.columns:
      text = 'A X\nb Y\nc. X\n\nB X\nc Y\na Y\nd. X\n\n' * 3
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write(text + (more if split == 'train' else ''))
    _shrink_more(config)
    if name == 'sentiment_unit':
      config.units.update(corpus='grammar', label_column='number')
      config.units.classifier = classifier_of('number', root)
    if name == 'glove':
      config.vectors.update(words='b', analogies='a:b::c:?', pairs='a:b')
      config.vectors.update(tests='simlex999', associations='young_old')
      config.vectors.source = os.path.join(root, 'vectors.txt')
      with open(config.vectors.source, 'w') as file:
        file.write('a 1 0\nb 0 1\nc 1 1\nd 2 1\n')
    output = os.path.join(root, 'written')
    if 'generate' in config:
      config.generate.input = os.path.join(folder, 'test.txt')
      config.generate.output = output
    build.validate(config, ())
    spy = Spy(config)
    written = {}
    with (
      contextlib.redirect_stdout(io.StringIO()),
      spying_on_scalars(config, spy.unread),
    ):
      for mode in ('train', *(modes_of(config) if reads else ())):
        path = output
        if mode in WRITTEN:
          path = os.path.join(workdir, WRITTEN[mode])
        try:
          commands.REGISTRY[mode].run(commands.Context(workdir, spy))
          if os.path.exists(path):
            written[mode] = pathlib.Path(path).read_text()
        except ValueError as error:
          written[mode] = str(error)
    return spy.unread, written


def classifier_of(column, root):
  """A folder in `root` with a tiny run that predicts a label of `grammar`."""
  config = get_config('averaging_classifier', 'tiny')
  config.corpus.label_column = column
  workdir = os.path.join(root, 'classifier')
  with contextlib.redirect_stdout(io.StringIO()):
    commands.REGISTRY['train'].run(commands.Context(workdir, config))
  return workdir


def _shrink_more(config):
  """One shape, so that all splits and modes share their programs.

  Six sentences are evaluated, scored, sampled, reconstructed, or in three
  pairs.
  """
  small = {
    'evaluate.num_buckets': 1,
    'evaluate.iw_samples': 1,
    'evaluate.chunk': 1,
    'generate.num_samples': 6,
    'generate.interpolation_steps': 2,
    'judge.num_samples': 6,
    'train.num_steps': 3,
    'train.pretrain_steps': 0,
    'train.steps_per_call': 3,
    'train.eval_every': 3,
    **({} if config.corpus.stream else {'train.num_buckets': 1}),
  }
  known = build.keys_of(config).keys
  config.update_from_flattened_dict(
    {key: value for key, value in small.items() if key in known}
  )


def modes_of(config):
  """Modes that read a run of this task, but those of other configs' words."""
  task = build.task(config.model.kind)
  for mode, command in commands.REGISTRY.items():
    capability = getattr(command, 'CAPABILITY', object)
    # `agreement` writes sentences in words that these runs do not know; a
    # stream of characters has no sentences to judge. `explore` waits for
    # readers.
    is_apart = mode in ('agreement', 'explore') or (
      mode == 'judge' and config.corpus.stream
    )
    if command.NEEDS == 'run' and issubclass(task, capability) and not is_apart:
      yield mode


class ConfigsTest(parameterized.TestCase):
  def test_there_are_six_of_recurrent_models_and_ten_tables(self):
    self.assertLen(RECURRENT, 6)
    self.assertGreaterEqual(len(TABLES), 10)

  @parameterized.product(
    name=NAMES,
    tail=('', 'tiny', 'ptb', 'politicians', 'tiny,ptb', 'tiny=true'),
  )
  def test_is_valid_with_every_argument(self, name, tail):
    config = get_config(name, tail)
    build.validate(config)
    self.assertTrue(config.is_locked)
    if 'ptb' in tail or tail == 'politicians':
      self.assertEqual(config.corpus.name, tail.removeprefix('tiny,'))

  @parameterized.parameters(*NAMES)
  def test_is_valid_with_a_folder(self, name):
    folder = self.create_tempdir().full_path
    config = get_config(name, folder)
    build.validate(config)
    self.assertEqual(config.corpus.name, folder)

  @parameterized.parameters(*RECURRENT)
  def test_is_the_cell_and_kind_of_its_name(self, name):
    cell, kind = name.split('_')
    model = get_config(name).model
    self.assertEqual(model.cell, {'rnn': 'elman'}.get(cell, cell))
    self.assertEqual(
      model.kind, {'lm': 'language_model', 'vae': 'sentence_vae'}[kind]
    )

  @parameterized.parameters(*(name for name in NAMES if name not in SIZELESS))
  def test_all_sizes_differ_at_tiny(self, name):
    config = get_config(name, 'tiny')
    flat = build.flatten(config)
    sizes = {
      key: flat[key]
      for key in (
        'corpus.max_length',
        'model.embedding_size',
        'model.hidden_size',
        'model.encoder_hidden_size',
        'model.latent_size',
        'train.batch_size',
        'train.steps_per_call',
        'evaluate.batch_size',
        'evaluate.iw_samples',
        'generate.max_length',
        'generate.num_samples',
      )
      if key in flat
    }
    self.assertGreaterEqual(len(sizes), 6)
    self.assertLen(set(sizes.values()), len(sizes), sizes)


class TablesTest(parameterized.TestCase):
  @parameterized.product(table_row=ROWS, tail=('', 'tiny', 'grammar'))
  def test_every_row_is_valid_with_every_argument(self, table_row, tail):
    table, row = table_row
    own = OWN.get(f'{table} {row}', OWN.get(table, 'ptb'))
    if table == 'documents_vae':  # Of folders in that of the data.
      data = self.create_tempdir().full_path
      self.enter_context(mock.patch.dict(os.environ, RNNVAE_DATA_DIR=data))
      own = os.path.join(data, row.partition('_')[0])
      os.makedirs(own)
    config = get_config(table, f'row={row},{tail}')
    build.validate(config)
    self.assertTrue(config.is_locked)
    tiny = build.task(config.model.kind).TINY_CORPUS
    names = {'': own, 'tiny': tiny, 'grammar': 'grammar'}
    self.assertEqual(config.corpus.name, names[tail])

  def test_every_row_of_ptb_vae_is_valid_for_documents(self):
    folder = self.create_tempdir().full_path
    for table, row in ROWS:
      if table == 'ptb_vae':
        config = get_config('documents_vae', f'row={row},labelled,{folder}')
        build.validate(config)
        self.assertTrue(config.corpus.labelled)
        self.assertEqual(config.corpus.name, folder)

  def test_documents_are_those_of_a_folder_that_is_there(self):
    with self.assertRaisesRegex(ValueError, 'No corpus is named'):
      preparation.build_corpus(get_config('documents_vae', 'row=skip'))
    data = self.create_tempdir().full_path
    self.enter_context(mock.patch.dict(os.environ, RNNVAE_DATA_DIR=data))
    with self.assertRaisesRegex(ValueError, f'no folder or file .{data}/yelp'):
      preparation.build_corpus(get_config('documents_vae', 'row=yelp_skip'))

  def test_documents_have_the_published_size_and_longer_epochs(self):
    config = get_config('documents_vae', 'row=yahoo_ae_free_bits')
    self.assertTrue(config.corpus.labelled)
    model = config.model
    self.assertEqual(
      (model.hidden_size, model.embedding_size, model.latent_size),
      (1_024, 512, 32),
    )
    self.assertEqual(config.corpus.vocab_size, 20_000)
    self.assertEqual(32 * config.objective.free_bits, 4.0)
    # Counted in epochs of 100,000 documents, in batches of 32.
    self.assertEqual(config.train.eval_every, 3_120)
    self.assertEqual(config.train.pretrain_steps, 5 * 3_120)
    self.assertEqual(config.train.num_steps, (5 + 36) * 3_120)
    self.assertEqual(config.objective.kl_anneal_steps, 5 * 3_120)
    own = get_config('ptb_vae', 'row=ae_free_bits')
    self.assertEqual(32 * own.objective.free_bits, 5.0)

  @parameterized.parameters(*TABLES)
  def test_rows_are_different_runs(self, table):
    begins = runpy.run_path(str(CONFIGS / f'{table}.py'))['ROWS']
    flat = [
      (
        begins[row].get('begins_with'),
        *build.flatten(get_config(name, f'row={row}')).items(),
      )
      for name, row in ROWS
      if name == table
    ]
    self.assertLen(set(flat), len(flat))

  def test_rows_begin_with_weights_of_their_own_shape(self):
    # What names and shapes of a recurrent encoder's weights follow from.
    shape = 'cell', 'embedding_size', 'hidden_size', 'num_layers'
    borrowers = 0
    for table, row in ROWS:
      rows = runpy.run_path(str(CONFIGS / f'{table}.py'))['ROWS']
      source = rows[row].get('begins_with', '')
      if source:
        name, _, lender = source.rpartition('/')
        self.assertIn((name or table, lender), ROWS)
        own = get_config(table, f'row={row}')
        theirs = get_config(name or table, f'row={lender}')
        for key in shape:
          self.assertEqual(own.model[key], theirs.model[key], (row, key))
        for key in ('protocol', 'vocab_size', 'min_count'):
          self.assertEqual(own.corpus[key], theirs.corpus[key], (row, key))
        borrowers += 1
    self.assertGreaterEqual(borrowers, 4)

  @parameterized.parameters(*TABLES)
  def test_an_unknown_row_is_named(self, table):
    with self.assertRaisesRegex(ValueError, "row = 'nothing' is unknown"):
      get_config(table, 'row=nothing')

  def test_a_strength_may_be_nothing_and_is_refused_where_there_is_none(self):
    weight = lambda tail: get_config('ptb_vae', tail).objective.kl_weight
    self.assertEqual(weight('row=beta'), 0.4)
    self.assertEqual(weight('row=beta,strength=0'), 0.0)
    with self.assertRaisesRegex(
      ValueError, 'row skip has none.*: ae_free_bits'
    ):
      get_config('ptb_vae', 'row=skip,strength=3')

  @parameterized.parameters('beta', 'cyclical', 'lstm_lm')
  def test_an_epoch_is_enough(self, row):
    config = get_config('ptb_vae', f'row={row},epochs=1')
    build.validate(config)
    self.assertEqual(config.train.num_steps, config.train.eval_every)


class DeadKeysTest(parameterized.TestCase):
  def test_the_spy_sees_reads_and_is_blind_to_copies(self):
    config = build.default('sentence_vae')
    spy = Spy(config)
    build.flatten(spy)
    self.assertEqual(spy.unread, set(build.flatten(config)))
    model = spy.model
    self.assertEqual(model.lstm.forget_bias, 1.0)
    self.assertEqual(spy.seed, 0)
    self.assertEqual(
      set(build.flatten(config)) - spy.unread,
      {'model.lstm.forget_bias', 'seed'},
    )

  def test_the_spy_sees_scalars_copies_and_items(self):
    config = build.default('sentence_vae')
    config.objective.free_bits = 3.0
    spy = Spy(config)
    with spying_on_scalars(config, spy.unread):
      scalars = hyperparameters.build(build.keys_of(config), spy)
      self.assertEqual(spy.unread, set(build.flatten(config)))
      self.assertEqual(scalars.objective.free_bits, 3.0)
      self.assertIsNone(scalars.dropout.word)
      self.assertNotIn('train', spy['optimizer'])
      self.assertEqual(spy.copy_and_resolve_references().model.num_layers, 1)
      self.assertEqual(spy.get('data', {}).get('dir', None), '')
      self.assertEqual(spy.train.get('nothing', 7), 7)
    self.assertEqual(
      set(build.flatten(config)) - spy.unread,
      {'objective.free_bits', 'dropout.word', 'model.num_layers', 'data.dir'},
    )

  @parameterized.parameters(*RECURRENT)
  @pytest.mark.slow
  def test_runs_at_tiny_in_every_mode(self, name):
    _, written = run_tiny(name)
    evaluated = json.loads(written['evaluate'])
    self.assertEqual(evaluated['test']['sentences'], 6)
    self.assertLen(written['sample'].splitlines(), 6)
    self.assertLen(written['score'].splitlines(), 1 + 6)  # A header.
    judged = json.loads(written['judge'])
    self.assertBetween(judged['self_bleu'], 0.0, 100.0)
    self.assertEqual('reconstruction_bleu' in judged, name.endswith('_vae'))
    if name.endswith('_vae'):
      self.assertLen(written['reconstruct'].splitlines(), 6)
      self.assertLen(written['interpolate'].split('\n\n'), 3)
      self.assertEqual(json.loads(written['latents'])['sentences'], 6)
    else:
      self.assertNotIn('reconstruct', written)
      self.assertNotIn('interpolate', written)

  @pytest.mark.slow
  def test_no_key_is_read_by_no_run(self):
    # Rows whose model or text no other config has.
    others = (
      ('char_lm', ''),
      ('ptb_ngram', ''),
      ('ptb_lm', 'row=feed_forward'),
      ('imdb', 'row=likelihood_ratio_3'),
      ('polarity', 'row=concatenation'),
      ('polarity', 'row=mean_virtual'),
      ('documents_vae', 'labelled'),  # Latents are asked about labels.
    )
    # Rows that have a posterior or a loss of their own.
    trained = (
      ('ptb_vae', 'row=batch_norm'),
      ('ptb_vae', 'row=committed'),
      ('ptb_vae', 'row=planar'),
      ('ptb_vae', 'row=von_mises_fisher'),
      ('tying', 'row=small_real'),
    )
    unread, read = set(), set()
    for name, row, reads in (
      *((name, '', True) for name in NAMES),
      *((name, row, True) for name, row in others),
      *((name, row, False) for name, row in trained),
    ):
      own, _ = run_tiny(name, *([row, reads] if row else []))
      known = set(build.flatten(get_config(name, f'{row},tiny')))
      unread |= own
      read |= known - own
    # Its only legal value is its default, so there is nothing to read.
    refused = {'model.bidirectional_decoder': True}
    self.assertEqual(unread - read, set(refused))
    config = build.default('sentence_vae')
    config.update_from_flattened_dict(refused)
    with self.assertRaisesRegex(ValueError, 'bidirectional_decoder'):
      build.validate(config)

  @pytest.mark.slow
  def test_units_are_measured_and_steered(self):
    _, written = run_tiny('sentiment_unit')
    result = json.loads(written['units'])['grammar']
    self.assertEqual(result['labels'], ['plural', 'singular'])
    self.assertLen(result['steering']['conditions'], 4)

  @parameterized.parameters(*RECURRENT)
  @pytest.mark.slow
  def test_reads_its_own_keys_and_no_others(self, name):
    unread, _ = run_tiny(name)
    kind = get_config(name).model.kind
    defaults = build.flatten(build.default(kind))
    for tail in ('', 'ptb'):  # All that it sets it reads.
      flat = build.flatten(get_config(name, tail))
      changed = {key for key, value in flat.items() if value != defaults[key]}
      self.assertEqual(changed & unread, set(), tail)
    own = get_config(name).model.cell
    for key in defaults:
      for cell in ('elman', 'gru', 'lstm'):
        if key.startswith(f'model.{cell}.'):
          self.assertEqual(key in unread, cell != own, key)
    for key in (  # What is about latents only a VAE has, and it reads them.
      'model.encoder_hidden_size',
      'model.bidirectional_encoder',
      'model.latent_every_step',
      'objective.free_bits_per',
      'evaluate.mutual_information_group',
      'generate.posterior_sample',
    ):
      self.assertEqual(key in defaults, name.endswith('_vae'), key)
      self.assertNotIn(key, unread)


if __name__ == '__main__':
  absltest.main()
