"""Figures of classes against counts made sentence by sentence."""

from absl.testing import absltest, parameterized
import numpy as np
from rich import markup

from rnnvae_jax.tasks import _classes

NAMES = ('air', 'fire', 'sea', 'soil')
# By rows: the label, what is predicted. No sentence is labelled 'soil', and of
# the last two cases none is predicted to be; 'fire' is never right in the last.
CASES = {
  'all': ([0, 1, 1, 2, 3, 3, 0, 2, 2, 2], [0, 1, 2, 2, 3, 0, 1, 2, 2, 0]),
  'label_missing': ([0, 1, 1, 2, 2, 0], [3, 1, 1, 2, 0, 0]),
  'class_missing': ([0, 1, 1, 2, 2, 0], [1, 1, 1, 2, 0, 0]),
  'never_right': ([0, 1, 1, 2, 2, 0, 0], [1, 0, 2, 2, 2, 0, 0]),
}


def by_hand(labels, predicted):
  """accuracy, macro F1 and (precision, recall, f1) of each class, by loops."""
  pairs = list(zip(labels, predicted, strict=True))
  per_class, present = [], []
  for number in range(len(NAMES)):
    hit = sum(a == number and b == number for a, b in pairs)
    missed = sum(a == number and b != number for a, b in pairs)
    wrong = sum(a != number and b == number for a, b in pairs)
    precision = hit / (hit + wrong) if hit + wrong else None
    recall = hit / (hit + missed) if hit + missed else None
    f1 = None
    if hit + missed + wrong:
      # The harmonic mean of the two, where both are there and above 0.
      f1 = 2 / (1 / precision + 1 / recall) if hit else 0.0
      present.append(f1)
    per_class.append((precision, recall, f1))
  accuracy = sum(a == b for a, b in pairs) / len(pairs)
  return accuracy, sum(present) / len(present), per_class


class FiguresTest(parameterized.TestCase):
  @parameterized.named_parameters((name, *case) for name, case in CASES.items())
  def test_are_those_of_counting_sentence_by_sentence(self, labels, predicted):
    confusion = _classes.confusion_matrix(
      np.int32(labels), np.float64(predicted), len(NAMES)
    )
    for i in range(len(NAMES)):
      for j in range(len(NAMES)):
        pairs = list(zip(labels, predicted, strict=True))
        self.assertEqual(confusion[i, j], pairs.count((i, j)))
    got = _classes.class_figures(confusion, NAMES)
    accuracy, macro, per_class = by_hand(labels, predicted)
    self.assertAlmostEqual(got['accuracy'], accuracy, places=12)
    self.assertAlmostEqual(got['macro_f1'], macro, places=12)
    for number, (name, wanted) in enumerate(zip(NAMES, per_class, strict=True)):
      of_class = got['classes'][name]
      self.assertEqual(of_class['count'], labels.count(number))
      self.assertEqual(of_class['predicted'], predicted.count(number))
      for key, value in zip(('precision', 'recall', 'f1'), wanted, strict=True):
        if value is None:
          self.assertIsNone(of_class[key])
        else:
          self.assertAlmostEqual(of_class[key], value, places=12)
    largest = max(labels.count(number) for number in range(len(NAMES)))
    self.assertEqual(got['majority_share'], largest / len(labels))

  def test_other_names_of_the_classes_change_no_share(self):
    labels, predicted = map(np.int32, CASES['all'])
    order = np.array([2, 0, 3, 1])  # The new id of each old one.
    confusions = (
      _classes.confusion_matrix(labels, predicted, 4),
      _classes.confusion_matrix(order[labels], order[predicted], 4),
    )
    ours, theirs = (_classes.class_figures(c, NAMES) for c in confusions)
    for name in ('accuracy', 'macro_f1', 'majority_share'):
      self.assertAlmostEqual(ours[name], theirs[name], places=12)
    for old, new in enumerate(order):
      self.assertEqual(
        ours['classes'][NAMES[old]], theirs['classes'][NAMES[new]]
      )

  def test_one_label_for_all_sentences_is_warned_of(self):
    confusion = _classes.confusion_matrix(np.arange(4), np.full(4, 2), 4)
    found = {'sentences': 4, **_classes.class_figures(confusion, NAMES)}
    self.assertEqual(
      _classes.warnings(found), ["All 4 sentences are labelled 'sea'."]
    )
    confusion[0, 0] += 1
    found = {'sentences': 5, **_classes.class_figures(confusion, NAMES)}
    self.assertEmpty(_classes.warnings(found))

  def test_the_confusion_is_shown_by_class(self):
    confusion = _classes.confusion_matrix(np.arange(4), np.full(4, 2), 4)
    # An evaluation adds figures by label, as of another column of the text.
    found = _classes.class_figures(confusion, NAMES) | {'labels': {'other': {}}}
    names = _classes._confusion_label(found).splitlines()[1:]
    rows = _classes._confusion_text(found['confusion']).splitlines()[1:]
    self.assertEqual([name.strip() for name in names], list(NAMES))
    self.assertEqual([row.split() for row in rows], [['0', '0', '1', '0']] * 4)

  def test_telling_features_are_shown_as_they_are(self):
    text = _classes.telling_text({'sea': [['[/b]', 2.0], ['[ok]', 1.0]]})
    self.assertEqual(markup.render(text).plain, 'sea: [/b], [ok]')


if __name__ == '__main__':
  absltest.main()
