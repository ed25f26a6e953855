"""The report: every part from its file, texts as texts, whatever is damaged."""

import html.parser
import itertools
import pathlib
import re
import sys
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np

from rnnvae_jax.commands import report as command
from rnnvae_jax.config import build, space
from rnnvae_jax.data import protocols
from rnnvae_jax.inference import generate, records
from rnnvae_jax.search import plots, study
from rnnvae_jax.web import explanations, files, report
from rnnvae_jax.web.parts import curves, latent_map, run, search, texts
from tests.web import workdirs

KINDS = ('vae', 'classifier', 'tagger', 'search')
# By file, the parts that are not shown without it.
PARTS_OF = {
  'results.json': {'figures', 'classes'},
  'metrics.jsonl': {'curves'},
  'config.json': {'config', 'curves', 'latents', 'figures', 'texts', 'classes'},
  'trials.json': {'search'},
  'sweep.json': {'search'},
}
# Elements without an end.
_VOID = ('br', 'meta', 'img', 'input', 'path', 'use', 'rect')


class Reader(html.parser.HTMLParser):
  """What a browser makes of a page: elements, texts, sections."""

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.attributes = [], [], []
    self.texts, self.sections, self.ids = [], [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self.attributes += attrs
    self.ids += [value for name, value in attrs if name == 'id']
    if tag == 'section':
      self.sections.append(dict(attrs)['id'])
    if tag not in _VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in _VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    if tag not in _VOID:
      assert self.open and self.open.pop() == tag, tag

  def handle_data(self, data):
    if self.open and self.open[-1] not in ('script', 'style'):
      self.texts.append(data)


def read(text):
  reader = Reader()
  reader.feed(text)
  assert not reader.open, reader.open
  return reader


class ReportTest(parameterized.TestCase):
  def folder(self, kind):
    path = pathlib.Path(self.create_tempdir().full_path, kind)
    path.mkdir()
    return getattr(workdirs, kind)(path)

  @parameterized.parameters(
    ('vae', ['figures', 'curves', 'latents', 'texts', 'config']),
    ('classifier', ['figures', 'curves', 'classes', 'config']),
    ('tagger', ['figures', 'classes', 'config']),
    ('search', ['search']),
  )
  def test_has_a_part_for_what_is_in_the_folder(self, kind, want):
    reader = read(report.render(str(self.folder(kind))))
    found = [name for name in reader.sections if name != 'notes']
    self.assertEqual(found, want)
    self.assertLen(set(reader.ids), len(reader.ids))
    links = [a['href'] for tag, a in reader.tags if tag == 'a']
    self.assertContainsSubset([f'#{name}' for name in want], links)

  @parameterized.parameters(*KINDS)
  def test_nothing_of_a_complete_folder_is_called_damaged(self, kind):
    reader = read(report.render(str(self.folder(kind))))
    self.assertNotIn('cannot be shown', ' '.join(reader.texts))
    self.assertNotIn('damaged', ' '.join(reader.texts))

  @parameterized.parameters(*KINDS)
  def test_texts_of_runs_are_texts(self, kind):
    reader = read(report.render(str(self.folder(kind))))
    shown = ' '.join(' '.join(reader.texts).split())
    self.assertIn('document.title="owned"', shown)
    scripts = [a for tag, a in reader.tags if tag == 'script']
    runs = [a for a in scripts if a.get('type') != 'application/json']
    self.assertEqual(runs, [{}])
    images = [a['src'] for tag, a in reader.tags if tag == 'img']
    self.assertTrue(all(src.startswith('data:image/png') for src in images))
    names = {name for name, _ in reader.attributes}
    self.assertEmpty(
      {n for n in names if n.startswith('on')} | {'style'} & names
    )

  @parameterized.parameters(*KINDS)
  def test_is_a_function_of_the_files_and_needs_no_other(self, kind):
    folder = self.folder(kind)
    path = report.write(str(folder))
    first = pathlib.Path(path).read_bytes()
    self.assertEqual(
      pathlib.Path(report.write(str(folder))).read_bytes(), first
    )
    self.assertNotIn(
      b'http', re.sub(rb'http(-equiv|://www.w3.org)', b'', first)
    )

  @parameterized.parameters(*KINDS)
  def test_of_damaged_and_absent_files_the_rest_is_shown(self, kind):
    folder = self.folder(kind)
    whole = read(report.render(str(folder))).sections
    damages = itertools.cycle((b'', b'{', b'{"a": [1, {}]}', None))
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
      kept, content = path.read_bytes(), next(damages)
      if content is None:
        path.unlink()
      else:
        path.write_bytes(content)
      if any((folder / name).exists() for name in report._BASES):
        lost = {*whole} - {*read(report.render(str(folder))).sections}
        self.assertLessEqual(lost, PARTS_OF.get(path.name, set()), path)
      path.write_bytes(kept)

  def test_a_damaged_file_is_named_in_a_line(self):
    folder = self.folder('vae')
    (folder / 'results.json').write_text('{"test": ')
    (folder / 'latents/map.parquet').write_text('no table')
    with (folder / 'metrics.jsonl').open('a') as file:
      file.write('{"step": 2')
    reader = read(report.render(str(folder)))
    shown = ' '.join(reader.texts)
    self.assertIn('results.json is damaged: ', shown)
    self.assertIn('latents/map.parquet cannot be read: ', shown)
    self.assertContainsSubset(['curves', 'latents', 'notes'], reader.sections)

  def test_shows_what_was_trained_and_how(self):
    shown = ' '.join(read(report.render(str(self.folder('vae')))).texts)
    for text in (
      '--config=gru_vae',
      'cpu: Some & Chip, 2 cores',
      f'{workdirs.PARAMETERS:,}',
      '1,200 sentences, 9,876 tokens',
      '98.25',
      'IW perplexity',
      'Here k = 50 samples.',
      'Here it is exact, in closed form.',
    ):
      self.assertIn(text, shown)

  def test_lists_the_keys_that_differ_from_their_defaults_alone(self):
    text = report.render(str(self.folder('classifier')))
    shown = text.partition('Differences from the defaults')[2]
    differing = shown.partition('The whole config')[0]
    names = re.findall(r'<tr><th scope="row"><span[^>]*>([\w.]+)<', differing)
    self.assertEqual(names, ['corpus.name', 'seed'])

  def test_explanations_are_reached_by_keyboard(self):
    reader = read(report.render(str(self.folder('vae'))))
    terms = [a for tag, a in reader.tags if a.get('class') == 'term']
    self.assertGreater(len(terms), 20)
    self.assertTrue(all(a['tabindex'] == '0' for a in terms))
    plots = [a for _, a in reader.tags if a.get('class') == 'plot']
    self.assertTrue(
      all(a['tabindex'] == '0' and a['aria-label'] for a in plots)
    )

  def test_seeds_are_means_with_links_to_their_reports(self):
    reader = read(report.render(str(self.folder('seeds'))))
    shown = ' '.join(reader.texts)
    self.assertIn('3.250 ± 0.5 (2)', shown)
    self.assertIn('inf', shown)
    links = [a['href'] for tag, a in reader.tags if tag == 'a']
    self.assertEqual(links, ['#seeds', 'seed_0/report.html'])

  def test_what_modes_have_measured_is_in_tables(self):
    folder = self.folder('tagger')
    workdirs.write(folder, 'judged.json', {'self_bleu': 12.5, 'samples': 1_000})
    accuracy = {'test_accuracy': 0.75, 'low': 0.7, 'high': 0.8}
    of_model = dict.fromkeys(('all_units', 'one_unit', 'random_unit'), accuracy)
    both = {'trained': of_model, 'untrained': of_model}
    workdirs.write(folder, 'units.json', {workdirs.HOSTILE: both})
    best = [{'unit': 'layer 0 c[3]', 'correlation': -0.5}]
    workdirs.write(folder, 'trace.json', {'line_position': best})
    reader = read(report.render(str(folder)))
    self.assertIn('analyses', reader.sections)
    shown = ' '.join(reader.texts)
    for text in '12.50', '1,000', '75.0%', '70.0 to 80.0', 'c[3]', '-0.500':
      self.assertIn(text, shown)

  def test_what_word_vectors_know_is_in_tables(self):
    folder = self.folder('tagger')
    workdirs.write(
      folder,
      'vectors.json',
      {
        'source': 'GloVe',
        'neighbours': [
          {
            'of': 'king - man',
            'neighbours': [{'word': '<queen>', 'distance': 0.125}],
          }
        ],
        'tests': {
          'men': {'pairs': 3_000, 'with_vectors': 2_000, 'spearman': 0.6523},
          'google': {
            'groups': {
              'total': {'questions': 9, 'with_vectors': 8, 'accuracy': 0.375}
            }
          },
        },
        'associations': {
          'math_arts': {
            'targets': ['math', 'arts'],
            'attributes': ['male', 'female'],
            'effect_size': 1.5,
            'p_value': 0.000155,
          }
        },
      },
    )
    reader = read(report.render(str(folder)))
    self.assertIn('vectors', reader.sections)
    shown = ' '.join(reader.texts)
    for text in (
      *('<queen>', '0.1250', '0.6523', '2,000 of 3,000', 'google total'),
      *('0.3750', 'math / arts', '1.500', '0.00015'),
    ):
      self.assertIn(text, shown)

  def test_pages_beside_the_report_are_linked_and_pictures_are_in_it(self):
    folder = self.folder('tagger')
    (folder / 'javascript:x.html').write_text('')
    (folder / 'units-a.png').write_bytes(workdirs.PICTURE)
    (folder / 'agreement.png').write_text('<svg onload=alert(1)>')
    reader = read(report.render(str(folder)))
    links = [a['href'] for tag, a in reader.tags if tag == 'a']
    self.assertIn('javascript%3Ax.html', links)
    self.assertLen([tag for tag, _ in reader.tags if tag == 'img'], 1)
    self.assertIn('agreement.png is no picture', ' '.join(reader.texts))

  def test_a_folder_without_a_run_is_refused(self):
    with self.assertRaisesRegex(FileNotFoundError, 'nothing to report'):
      report.write(self.create_tempdir().full_path)

  def test_a_command_is_kept_if_it_is_of_our_command_line(self):
    folder = self.folder('vae')
    package = pathlib.Path(report.__file__).parents[1]
    with mock.patch.object(sys, 'argv', ['notebook.py', '--config=a']):
      report.note_command(str(folder))
    self.assertIn('--config=gru_vae', (folder / 'command.txt').read_text())
    argv = [str(package / 'main.py'), '--config=b c']
    with mock.patch.object(sys, 'argv', argv):
      report.note_command(str(folder))
    self.assertEqual(
      (folder / 'command.txt').read_text(),
      "python -m rnnvae_jax.main '--config=b c'\n",
    )


class AfterTrainingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    workdirs.tagger(self.folder)

  def test_the_first_process_writes_it(self):
    with mock.patch.object(jax, 'process_index', lambda: 1):
      command.after(str(self.folder))
    self.assertFalse((self.folder / 'report.html').exists())
    command.after(str(self.folder))
    self.assertTrue((self.folder / 'report.html').exists())

  def test_a_page_that_cannot_be_written_is_a_warning_of_one_line(self):
    (self.folder / 'report.html').mkdir()
    with self.assertLogs(level='WARNING') as logged:
      command.after(str(self.folder))
    (line,) = logged.output
    self.assertIn('No report is written: ', line)
    self.assertNotIn('\n', line)


class ExplanationsTest(parameterized.TestCase):
  def test_every_figure_of_every_task_is_explained(self):
    known = {*explanations.FIGURES}
    shown = {
      figure.name for kind in build.TASKS for figure in build.task(kind).FIGURES
    }
    self.assertEmpty(shown - known)

  def test_every_protocol_is_explained(self):
    self.assertEqual({*protocols.PROTOCOLS}, {*explanations.PROTOCOLS})


class CurvesTest(absltest.TestCase):
  def test_training_and_validation_of_a_figure_are_together(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    workdirs.vae(folder)
    found = curves.read(files.Files(str(folder)))
    self.assertEqual({*found['kl']}, {'train', 'valid'})
    self.assertEqual(found['kl']['valid'][0], [5, 10, 15, 20])
    self.assertLen(found['kl']['train'][0], 20)

  def test_infinite_values_are_read(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    line = '{"step": 1, "train/a": "nan", "train/b": "-inf", "train/c": null}\n'
    (folder / 'metrics.jsonl').write_text(line)
    found = curves.read(files.Files(str(folder)))
    self.assertEqual(found['b']['train'], ([1], [float('-inf')]))
    self.assertNotIn('c', found)

  def test_thinned_points_are_means_of_neighbours(self):
    steps, values = curves.thinned(range(1, 8), [1.0, 3, 5, 7, 9, 11, 13], 3)
    self.assertEqual(steps, [3, 6, 7])
    self.assertEqual(values, [3.0, 9.0, 13.0])
    same = curves.thinned([1, 2], [5.0, 6.0], 3)
    self.assertEqual(same, ([1, 2], [5.0, 6.0]))

  def test_pauses_are_no_training_time(self):
    self.assertEqual(run.duration(4.24), '4.200 s')
    self.assertEqual(run.duration(200), '3 min 20 s')
    self.assertEqual(run.duration(2 * 3600 + 300), '2 h 5 min')


class TextsTest(parameterized.TestCase):
  def test_samples_and_interpolations_are_those_that_were_written(self):
    samples = ['a b', 'Samples at once', 'c']
    ways = [['a', 'a b', 'b'], ['c', '', 'd']]
    lines = ['Samples at temperature 1.0', '', *records.separated(samples)]
    lines += [
      '',
      'Interpolations between x',
      '',
      *generate._ways_as_lines(ways),
    ]
    found = texts.read(lines)
    self.assertEqual(found.samples, samples)
    self.assertEqual(found.ways, [ways[0], ['c', '(empty)', 'd']])

  def test_samples_with_line_ends_are_kept_together(self):
    samples = ['a\nb', 'c']
    lines = ['Samples at temperature 1.0', '', *records.separated(samples)]
    self.assertEqual(texts.read(lines).samples, samples)

  @parameterized.parameters(
    ('a b c', 'a b c', 'a b c'),
    ('a b c', 'a x c', 'a <del>b</del> <ins>x</ins> c'),
    ('a', '', '<del>a</del>'),
    ('<i>', '<i> &', '&lt;i&gt; <ins>&amp;</ins>'),
  )
  def test_differences_are_marked(self, before, after, want):
    self.assertEqual(texts.changed(before, after), want)

  def test_cells_of_tables_are_read_as_they_were_written(self):
    for value in ('a\tb', 'a\\tb', '\\', 'c\r\nd', '\\\\n'):
      self.assertEqual(files._unescaped(records.cell(value)), value)


class MapTest(absltest.TestCase):
  def test_the_commonest_values_are_kinds_and_the_rest_is_others(self):
    names, numbers = latent_map.kinds([*'aabbccddeeffgh'])
    self.assertEqual(names, [*'abcdef', 'others'])
    self.assertEqual(numbers, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6])

  def test_many_numbers_are_ranges_of_equal_counts(self):
    for kind in float, str:
      names, numbers = latent_map.kinds([kind(i) for i in range(100)])
      self.assertLen(names, 5)
      self.assertEqual(np.bincount(numbers).tolist(), [20] * 5)

  def test_texts_without_a_label_are_a_kind(self):
    names, numbers = latent_map.kinds(['b', '', 'b'])
    self.assertEqual((names, numbers), (['(none)', 'b'], [1, 0, 1]))

  def test_points_are_in_proportion_and_upwards_is_more(self):
    columns = {'text': [*'abc'], 'pca_x': [0.0, 1.0, 4.0], 'pca_y': [5.0, 0, 1]}
    text = latent_map.draw(columns)
    marks = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', text)[-3:]
    (a, top), (b, bottom), (c, low) = (map(float, mark) for mark in marks)
    self.assertAlmostEqual((b - a) / (c - a), 1 / 4, delta=0.001)
    self.assertAlmostEqual((bottom - low) / (bottom - top), 1 / 5, delta=0.001)

  def test_of_many_sentences_some_are_shown_evenly(self):
    count = 3 * latent_map._MOST_POINTS
    columns = {
      'text': [str(i) for i in range(count)],
      'pca_x': [float(i) for i in range(count)],
      'pca_y': [0.0] * count,
    }
    text = latent_map.draw(columns)
    self.assertIn(f'2,500 of {count:,} sentences', text)
    self.assertEqual(text.count('<use'), latent_map._MOST_POINTS + 1)


class SearchTest(parameterized.TestCase):
  def test_ranks_trials_as_the_search_does(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    found = files.Files(str(workdirs.search(folder)))
    trials = found.json(search.TRIALS)['trials']
    ranked = search.ranking(trials, found.json(search.SWEEP))
    sweep = space.Sweep(None, {}, 'elbo', at_least={'kl': 1})
    complete = [t for t in trials if t['state'] == 'complete']
    want = sorted(complete, key=lambda t: study.rank(search.last(t), sweep))
    self.assertEqual(
      [t['number'] for t in ranked if t['state'] == 'complete'],
      [t['number'] for t in want],
    )
    # One that was stopped follows; one that failed is not ranked.
    self.assertEqual(ranked[-1]['number'], 6)
    self.assertLen(ranked, 7)

  @parameterized.parameters(
    (space.choices('a', 'b', 'c'), 'b'),
    (space.uniform(1.0, 5.0), 2.0),
    (space.log_uniform(0.001, 0.1), 0.02),
  )
  def test_values_are_where_the_plots_have_them(self, domain, value):
    described = (
      [*domain.values]
      if isinstance(domain, space.Choices)
      else domain._asdict()
    )
    self.assertAlmostEqual(
      search.share(described, value), plots.place(domain, value)
    )


if __name__ == '__main__':
  absltest.main()
