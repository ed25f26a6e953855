"""How much sentences share with others: BLEU, diversity, novelty.

Sentences are sequences of tokens; no text is tokenised here.
"""

from collections.abc import Iterable, Sequence

Sentence = Sequence[str]


def bleu(hypotheses: Sequence[Sentence], references: Sequence[Sentence]):
  """Corpus BLEU-4 of each hypothesis against its reference, 0 to 100.

  sacrebleu's (Post, arXiv:1804.08771), its own tokeniser switched off; 0 where
  no hypothesis has four tokens.

  Raises:
    ValueError: their numbers differ, or there are none.
  """
  if len(hypotheses) != len(references) or not hypotheses:
    raise ValueError(
      'BLEU wants as many references as hypotheses, at least one, got '
      f'{len(references)} and {len(hypotheses)}.'
    )
  return _corpus_bleu(hypotheses, [references])


def self_bleu(sentences: Sequence[Sentence]) -> float:
  """Corpus BLEU-4 of each sentence against all others, 0 to 100.

  Zhu et al., arXiv:1802.01886: high where a model writes the same again and
  again, in four tokens or more. It grows with the number of sentences, which
  belongs beside it.

  Raises:
    ValueError: fewer than two sentences.
  """
  count = len(sentences)
  if count < 2:
    raise ValueError(f'Self-BLEU wants at least 2 sentences, got {count}.')
  others = [
    [sentences[(i + shift) % count] for i in range(count)]
    for shift in range(1, count)
  ]
  return _corpus_bleu(sentences, others)


def _corpus_bleu(hypotheses, references) -> float:
  import sacrebleu

  # It splits texts at spaces; no number has one, but a token may be one.
  numbers: dict[str, int] = {}
  number = lambda token: str(numbers.setdefault(token, len(numbers)))
  join = lambda sentences: [' '.join(map(number, x)) for x in sentences]
  score = sacrebleu.corpus_bleu(
    join(hypotheses), list(map(join, references)), tokenize='none', force=True
  )
  return score.score


def distinct(sentences: Iterable[Sentence], order: int) -> float:
  """Different n-grams over all tokens (Li et al., arXiv:1510.03055), 0 to 1.

  0 where no sentence is as long as `order`. Much code divides by the number of
  n-grams, which is smaller by up to `order` - 1 a sentence.
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
  """The share of sentences that are not, token for token, training ones.

  Raises:
    ValueError: there are no sentences.
  """
  if not sentences:
    raise ValueError('Novelty wants at least one sentence.')
  known = set(map(tuple, training))
  new = sum(tuple(sentence) not in known for sentence in sentences)
  return new / len(sentences)
