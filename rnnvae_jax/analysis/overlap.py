"""Overlap between sentences: BLEU, diversity and novelty.

Sentences are sequences of tokens; this module does not tokenise.
"""

from collections.abc import Iterable, Sequence

Sentence = Sequence[str]


def bleu(hypotheses: Sequence[Sentence], references: Sequence[Sentence]):
  """Corpus BLEU-4 of hypotheses against their references, 0 to 100.

  Computed by sacrebleu (Post, arXiv:1804.08771) without its tokeniser; 0 if no
  hypothesis has four tokens.

  Raises:
    ValueError: the numbers of hypotheses and references differ or are 0.
  """
  _check_numbers(hypotheses, references)
  return _corpus_bleu(hypotheses, [references])


def _check_numbers(hypotheses, references) -> None:
  if len(hypotheses) != len(references) or not hypotheses:
    raise ValueError(
      'BLEU needs as many references as hypotheses, at least one, got '
      f'{len(references)} and {len(hypotheses)}.'
    )


def text_bleu(
  hypotheses: Sequence[str],
  references: Sequence[str],
  lowercase: bool = False,
  by_character: bool = False,
) -> tuple[float, str]:
  """Corpus BLEU-4 of texts, 0 to 100, and sacrebleu's signature of it.

  What `sacrebleu REFERENCES -i HYPOTHESES` gives for files of these lines.

  Args:
    hypotheses: texts, a sentence each.
    references: as many.
    lowercase: whether case is ignored.
    by_character: whether characters are compared; else words and punctuation
      marks, split as in WMT's `mteval-v13a`.

  Raises:
    ValueError: the numbers of hypotheses and references differ or are 0.
  """
  _check_numbers(hypotheses, references)
  from sacrebleu import metrics

  # `force` silences the warning about lines that end in a full stop.
  metric = metrics.BLEU(
    lowercase=lowercase, tokenize='char' if by_character else '13a', force=True
  )
  score = metric.corpus_score(list(hypotheses), [list(references)])
  return float(score.score), str(metric.get_signature())


def self_bleu(sentences: Sequence[Sentence]) -> float:
  """Corpus BLEU-4 of each sentence against all others, 0 to 100.

  Zhu et al., arXiv:1802.01886: high if a model repeats sequences of four or
  more tokens. The value grows with the number of sentences, so report that
  number with it.

  Raises:
    ValueError: there are fewer than two sentences.
  """
  count = len(sentences)
  if count < 2:
    raise ValueError(f'Self-BLEU needs at least 2 sentences, got {count}.')
  others = [
    [sentences[(i + shift) % count] for i in range(count)]
    for shift in range(1, count)
  ]
  return _corpus_bleu(sentences, others)


def _corpus_bleu(hypotheses, references) -> float:
  import sacrebleu

  # sacrebleu splits texts at spaces, and a token may contain a space. So tokens
  # are replaced by numbers.
  numbers: dict[str, int] = {}
  number = lambda token: str(numbers.setdefault(token, len(numbers)))
  join = lambda sentences: [' '.join(map(number, x)) for x in sentences]
  score = sacrebleu.corpus_bleu(
    join(hypotheses), list(map(join, references)), tokenize='none', force=True
  )
  return score.score


def distinct(sentences: Iterable[Sentence], order: int) -> float:
  """Distinct n-grams divided by tokens (Li et al., arXiv:1510.03055), 0 to 1.

  0 if no sentence is as long as `order`. Other implementations divide by the
  number of n-grams, which is smaller by up to `order` - 1 a sentence.
  """
  grams: set[tuple[str, ...]] = set()
  tokens = 0
  for sentence in sentences:
    tokens += len(sentence)
    starts = range(len(sentence) - order + 1)
    grams.update(tuple(sentence[i : i + order]) for i in starts)
  return len(grams) / tokens if tokens else 0.0


def novelty(
  sentences: Sequence[Sentence], training: Iterable[Sentence]
) -> float:
  """The share of sentences that do not occur in the training text.

  Raises:
    ValueError: there are no sentences.
  """
  if not sentences:
    raise ValueError('Novelty needs at least one sentence.')
  known = set(map(tuple, training))
  new = sum(tuple(sentence) not in known for sentence in sentences)
  return new / len(sentences)
