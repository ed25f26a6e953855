"""What figures, estimators and protocols mean, in a sentence or two.

docs/concepts.md says more.
"""

from collections.abc import Mapping
from typing import Any

from rnnvae_jax.web import page

FIGURES = {
  'accuracy': 'The share of predictions that are right.',
  'active_units': (
    'Latents whose posterior mean has a variance above .01 over the sentences.'
  ),
  'backward_nll_per_sentence': (
    'Negative log-likelihood of a sentence, nats, by the model that reads its '
    'words in reverse.'
  ),
  'backward_perplexity': (
    'Perplexity of the model that reads the words in reverse.'
  ),
  'bits_per_character': (
    'Negative log-likelihood in bits, divided by the number of characters.'
  ),
  'bits_per_token': (
    'Negative log-likelihood in bits, divided by the number of tokens.'
  ),
  'beam_size': 'Sentences that the search keeps at each token; 1: greedy.',
  'bleu': 'Overlap of n-grams with the references, of 100, by sacreBLEU.',
  'brier_score': (
    'Mean squared error of the probabilities of all labels, from 0 to 2.'
  ),
  'calibrated_nll_per_sentence': (
    'Negative log-probability of the label, nats, after calibration.'
  ),
  'calibration_error': (
    'Mean distance between the probability of the predicted label and how '
    'often it is right, over 15 bins of equal width.'
  ),
  'calibration_error_before': (
    'The calibration error without the correction that the validation split '
    'has chosen.'
  ),
  'confused': 'The commonest wrong tags: the right one and the predicted one.',
  'confusion': 'How many sentences of each label were given each label.',
  'coverage': 'The share of words that have a vector.',
  'elbo': (
    'Reconstruction plus KL, in nats a sentence: an upper bound of the '
    'negative log-likelihood. Lower is better. It is unweighted, without free '
    'bits and without dropout, whatever was trained.'
  ),
  'error_percent': 'The share of wrong predictions, per cent.',
  'exact_match': 'The share of texts that equal a reference.',
  'f1': 'Harmonic mean of precision and recall of spans, per cent.',
  'informative_units': (
    'Latents that each tell .01 nats or more about the sentence.'
  ),
  'iwae_bias': (
    'How much the importance-weighted figure is too large, estimated by the '
    'jackknife to first order in 1/k. Where the weights are uneven this is too '
    'small.'
  ),
  'iwae_doubling': (
    'The importance-weighted figure with fewer samples. As long as doubling '
    'their number lowers it by more than matters, it is not close to the '
    'negative log-likelihood.'
  ),
  'iwae_nll': (
    'Upper bound of the negative log-likelihood in nats a sentence, from '
    'importance-weighted samples of the posterior. It is tighter than the '
    'ELBO, and tends to the likelihood as their number grows.'
  ),
  'iwae_perplexity': (
    'Perplexity of the importance-weighted bound. End marks are counted.'
  ),
  'iwae_samples': 'Posterior samples of each sentence.',
  'iwae_standard_error': (
    'The deviation of the importance-weighted figure over repeated draws for '
    'the same sentences. It does not include the choice of sentences.'
  ),
  'kl': (
    'What the latents cost, in nats a sentence: the divergence of the '
    'posterior from the prior. It is not what they say; that is the mutual '
    'information.'
  ),
  'kl_standard_error': (
    'The deviation of the KL over repeated draws for the same sentences.'
  ),
  'macro_f1': 'Mean over labels of the harmonic mean of precision and recall.',
  'majority_share': ('The accuracy of always predicting the commonest label.'),
  'mistakes': 'Wrong spans by kind.',
  'mixture_nll_per_sentence': (
    'Negative log-likelihood of a sentence in nats where its label is not '
    'given: a mixture over labels.'
  ),
  'mutual_information': (
    'Nats that the latents tell about the sentence, estimated over the whole '
    'split. The estimate cannot exceed the logarithm of the number of '
    'sentences.'
  ),
  'mutual_information_batch': (
    'Mutual information estimated within groups of sentences, as in older '
    'papers. A value near the ceiling is a lower bound.'
  ),
  'mutual_information_batch_ceiling': (
    'The logarithm of the size of a group, which the estimate cannot exceed.'
  ),
  'mutual_information_ceiling': (
    'The logarithm of the number of sentences, which the estimate cannot '
    'exceed.'
  ),
  'mutual_information_standard_error': (
    'The standard error of the mutual information over sentences.'
  ),
  'nll_per_sentence': (
    'Negative log-likelihood of a sentence, in nats, or of its label where '
    'labels are predicted.'
  ),
  'nll_per_token': 'Negative log-likelihood, nats, divided by the tokens.',
  'perplexity': (
    'The exponential of nats divided by tokens, both summed over the split. '
    'End marks are counted, begin marks and padding are not.'
  ),
  'perplexity_without_eos': (
    'Perplexity of the words alone: nats of end marks and their number are '
    'left out.'
  ),
  'precision': 'The share of predicted spans that are right, per cent.',
  'recall': 'The share of spans that were found, per cent.',
  'reconstruction': (
    'Negative log-likelihood of the sentence given its latents, in nats, as a '
    'mean over samples of the posterior.'
  ),
  'reset_nll_per_sentence': (
    'Negative log-likelihood in nats where the state begins anew at each '
    'sentence, not carried from the text before it.'
  ),
  'reset_perplexity': (
    'Perplexity where the state begins anew at each sentence.'
  ),
  'sentences': 'Sentences of the split.',
  'sequence_accuracy': (
    'The share of sentences all of whose tokens are the likeliest, given the '
    'right ones before them.'
  ),
  'shuffling_loss': (
    'By how many nats the reconstruction rises if a sentence is decoded from '
    'the latents of another one. A decoder that ignores them loses nothing.'
  ),
  'spans': 'Precision, recall and F1 of each type of span.',
  'strength': 'Inverse of the penalty, which the validation split has chosen.',
  'telling': 'The features that speak most for each label.',
  'token_accuracy': (
    'The share of tokens that are the likeliest, given those before them.'
  ),
  'tokens': 'Predicted tokens: words and end marks, or the words of a tagger.',
  'training_loss': 'Mean weighted squared error of a count, in the last epoch.',
  'truncated': 'Sentences that were cut at corpus.max_length tokens.',
  'unknown_accuracy': 'The share of unknown words whose tag is right.',
  'unknown_share': (
    'Tokens that are not in the vocabulary. They are counted, and easy to '
    'predict: a low perplexity of many unknown tokens means nothing.'
  ),
  'unseen_tags': (
    'Tokens whose tag the training text does not have. They count as wrong.'
  ),
}
# Of training alone.
METRICS = {
  'grad_norm': 'Norm of the gradients before they are clipped.',
  'kl_weight': 'The factor of the KL term in the loss.',
  'learning_rate': 'What the schedule gives at each update.',
  'loss': 'What the updates minimise, with dropout and all its penalties.',
}
ESTIMATORS = {
  'exact': 'The model gives the likelihood itself.',
  'elbo': (
    'The evidence lower bound stands for the likelihood: NLL and perplexity '
    'are upper bounds.'
  ),
}
PROTOCOLS = {
  'mikolov': (
    'Tokens are separated by white space; <unk> and N are ordinary text. The '
    'usual form of Penn Treebank.'
  ),
  'tweet': (
    "NLTK's TweetTokenizer, lower case; words seen once in training are "
    'unknown.'
  ),
  'plain': (
    'Raw text, split into sentences; lower-case words, punctuation and clitics '
    'are tokens.'
  ),
  'characters': 'Tokens are Unicode code points.',
  'bytes': 'Tokens are bytes of the UTF-8 text.',
  'reviews': (
    'Tokens are bytes of texts without HTML line breaks, each with a space '
    'before and after it.'
  ),
}


def explain_figure(name: str, figures: Mapping[str, Any]) -> str:
  """What a figure is, with its estimator; '' if nothing is known of it.

  Args:
    name: of the figure.
    figures: those of the split.
  """
  text = FIGURES.get(name, '') or METRICS.get(name, '')
  estimator = figures.get('estimator')
  is_likelihood = name in ('nll_per_sentence', 'nll_per_token', 'perplexity')
  if is_likelihood and estimator == 'exact':
    text += ' Here it is exact.'
  elif is_likelihood and estimator == 'elbo':
    text += ' Here it is a bound: the ELBO stands for the log-likelihood.'
  if name == 'kl' and 'kl_estimator' in figures:
    how = figures['kl_estimator']
    text += ' Here it is ' + (
      'exact, in closed form.' if how == 'exact' else 'a mean over samples.'
    )
  if name.startswith('iwae') and 'iwae_samples' in figures:
    text += f' Here k = {figures["iwae_samples"]} samples.'
  return text


def term(label: str, explanation: str) -> str:
  """A label that explains itself under the pointer and once it is focused."""
  label = page.escape(label)
  if not explanation:
    return label
  return (
    f'<span class="term" tabindex="0">{label}'
    f'<span class="note">{page.escape(explanation)}</span></span>'
  )
