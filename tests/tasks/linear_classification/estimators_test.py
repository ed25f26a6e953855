"""Estimators by hand and against scikit-learn's."""

from absl.testing import absltest, parameterized
import numpy as np
from scipy import sparse

from rnnvae_jax.tasks.linear_classification import estimators

# Rows: sentences; columns: 'good', 'bad', 'film'.
X = sparse.csr_matrix(
  np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 1, 0]], float)
)
LABELS = np.array([1, 1, 0, 0, 0])


class NaiveBayesTest(parameterized.TestCase):
  def test_two_classes_by_hand(self):
    # With 1 added, class 1 has the counts 3, 1, 2 of 6 and class 0 2, 4, 3 of
    # 9; two of the five sentences are of class 1.
    linear = estimators.naive_bayes(X, LABELS, 2, 1.0)
    want = np.log([(3 / 6) / (2 / 9), (1 / 6) / (4 / 9), (2 / 6) / (3 / 9)])
    np.testing.assert_allclose(linear.weights[:, 0], want, rtol=0, atol=1e-15)
    np.testing.assert_allclose(linear.bias, [np.log(2 / 3)], rtol=1e-14)
    scores = linear.scores(X)
    odds = np.log(2 / 3) + want[0] + want[2]
    np.testing.assert_allclose(scores[0], [0, odds], rtol=1e-14)

  @parameterized.parameters(2, 3)
  def test_is_scikit_learn_s(self, num_classes):
    from sklearn import naive_bayes

    rng = np.random.default_rng(0)
    x = sparse.csr_matrix(rng.poisson(0.7, (40, 11)).astype(float))
    labels = rng.integers(num_classes, size=40)
    ours = estimators.naive_bayes(x, labels, num_classes, 0.5)
    theirs = naive_bayes.MultinomialNB(alpha=0.5).fit(x, labels)
    scores = ours.scores(x)
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
      log_probs, theirs.predict_log_proba(x), atol=1e-12
    )


class NbSvmTest(parameterized.TestCase):
  def test_ratio_by_hand(self):
    ratio = estimators.log_ratio(X, LABELS == 1, 1.0)
    want = np.log([(3 / 6) / (2 / 9), (1 / 6) / (4 / 9), 1.0])
    np.testing.assert_allclose(ratio, want, rtol=0, atol=1e-15)

  def test_without_learnt_weights_it_is_naive_bayes_up_to_scale(self):
    ratio = estimators.log_ratio(X, LABELS == 1, 1.0)
    linear = estimators.nb_svm(X, LABELS, 2, 'logistic', 1.0, 1.0, 0.0)
    scale = linear.weights[0, 0] / ratio[0]
    self.assertGreater(scale, 0)
    np.testing.assert_allclose(linear.weights[:, 0], scale * ratio, atol=1e-14)

  def test_interpolation_is_the_published_one(self):
    fit = lambda share: estimators.nb_svm(
      X, LABELS, 2, 'squared_hinge', 1.0, 1.0, share
    ).weights[:, 0]
    ratio = estimators.log_ratio(X, LABELS == 1, 1.0)
    # The weight of 'film' is 0, as its ratio is.
    learnt = np.array([*(fit(1.0)[:2] / ratio[:2]), 0.0])
    mean = np.mean(np.abs(learnt))
    want = ratio * (0.75 * mean + 0.25 * learnt)
    np.testing.assert_allclose(fit(0.25), want, atol=1e-12)

  @parameterized.parameters(*estimators.LOSSES)
  def test_is_the_optimum_over_scaled_features(self, loss):
    # liblinear regularises the bias, too, as the weight of a constant 1.
    ratio = estimators.log_ratio(X, LABELS == 1, 1.0)
    linear = estimators.nb_svm(X, LABELS, 2, loss, 0.7, 1.0, 1.0)
    scaled = np.concatenate([X.toarray() * ratio, np.ones((5, 1))], axis=1)
    learnt = np.array([*(linear.weights[:2, 0] / ratio[:2]), 0.0])
    sign = np.where(LABELS == 1, 1.0, -1.0)

    def objective(weights):
      margins = sign * (scaled @ weights)
      losses = np.log1p(np.exp(-margins))
      if loss == 'squared_hinge':
        losses = np.maximum(1 - margins, 0) ** 2
      return 0.5 * weights @ weights + 0.7 * losses.sum()

    found = np.append(learnt, linear.bias)
    best = objective(found)
    rng = np.random.default_rng(0)
    for _ in range(20):  # No point nearby is better.
      step = rng.normal(size=4)
      step *= 0.05 / np.linalg.norm(step)
      self.assertLess(best, objective(found + step))


class DiscriminativeTest(parameterized.TestCase):
  @parameterized.product(loss=estimators.LOSSES, num_classes=(2, 3))
  def test_tells_classes_apart_that_have_words_of_their_own(
    self, loss, num_classes
  ):
    labels = np.arange(30) % num_classes
    x = sparse.csr_matrix(np.eye(num_classes)[labels])
    linear = estimators.discriminative(x, labels, num_classes, loss, 10.0)
    scores = linear.scores(x)
    self.assertEqual(scores.shape, (30, num_classes))
    np.testing.assert_array_equal(np.argmax(scores, axis=1), labels)


if __name__ == '__main__':
  absltest.main()
