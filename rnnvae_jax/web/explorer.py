"""The explorer: a page on which readers ask a trained run.

Texts are shown by components that show text alone; none becomes HTML or
Markdown. What a question does to the page depends on its own fields, so that
readers do not see each other's.
"""

from collections.abc import Callable, Sequence
import os
import time
from typing import Any

from rnnvae_jax.tasks import base
from rnnvae_jax.web import answers as answers_lib
from rnnvae_jax.web import plane, typed

_QUEUE = 64  # Questions that wait, at most.


def build(answers: answers_lib.Answers, workdir: str) -> Any:
  """The page of a run, a `gradio.Blocks`.

  Args:
    answers: of the run, warmed up.
    workdir: its folder, which the page names.

  Raises:
    ValueError: the run answers no question.
  """
  import gradio

  name = os.path.basename(os.path.realpath(workdir))
  with gradio.Blocks(
    title=f'Explorer: {name}', analytics_enabled=False
  ) as page:
    _about(answers, workdir)
    tabs = [
      (title, fill)
      for title, capability, fill in (
        ('Sentence', base.HasLatents, _sentence),
        ('Blend', base.HasLatents, _blend),
        ('Move', base.HasLatents, _move),
        ('Write', base.Generates, _write),
        ('Likelihood', base.Generates, _likelihood),
        ('Label', base.Predicts, _label),
        ('Tag', base.Tags, _tag),
        ('Translate', base.Translates, _translate),
      )
      if answers.can(capability)
    ]
    if not tabs:
      raise ValueError('This run answers no question that the explorer asks.')
    with gradio.Tabs():
      for title, fill in tabs:
        with gradio.Tab(title):
          fill(answers)
  page.queue(max_size=_QUEUE, default_concurrency_limit=1)
  return page


def _about(answers: answers_lib.Answers, workdir: str) -> None:
  import gradio

  lines = [f'{name}: {value}' for name, value in answers.about(workdir)]
  gradio.Textbox(
    '\n'.join(lines),
    label='The run that is shown',
    lines=len(lines),
    interactive=False,
    elem_id='run',
  )


# -- tabs ----------------------------------------------------------------------


def _sentence(answers: answers_lib.Answers) -> None:
  import gradio

  text = _text_field(answers, 'Sentence', 'sentence')
  button = gradio.Button(
    'Reconstruct', variant='primary', elem_id='sentence-ask'
  )
  outputs = [
    _output('The sentence as the model reads it'),
    _output('Its reconstruction', elem_id='reconstruction'),
  ]
  drawn = None
  if answers.landmarks is not None:
    drawn = plane.Plane(answers.landmarks)
    outputs += [
      gradio.Dataframe(
        headers=['distance', 'sentence', 'labels'],
        datatype='str',
        column_count=3,
        type='array',
        interactive=False,
        wrap=True,
        column_widths=['12%', '40%', '48%'],
        label='The nearest sentences of the corpus',
        elem_id='nearest',
      ),
      gradio.HTML(
        drawn.draw(),
        label='Where it is: the first two principal components',
        show_label=True,
        container=True,
        elem_id='map',
      ),
    ]

  def answer(text):
    found = answers.sentence(text)
    shown: list[Any] = [found.text, found.reconstruction]
    if drawn is not None:
      shown.append([[f'{d:.3f}', t, labels] for d, t, labels in found.nearest])
      shown.append(drawn.draw(found.text, found.place))
    return shown

  refused: list[Any] = []
  if drawn is not None:  # The map stays.
    refused = [None, None, None, drawn.draw()]
  _asks(
    answers,
    'sentence',
    answer,
    [text],
    outputs,
    [button.click, text.submit],
    refused=refused,
  )


def _blend(answers: answers_lib.Answers) -> None:
  import gradio

  first = _text_field(answers, 'First sentence', 'first', 0)
  second = _text_field(answers, 'Second sentence', 'second', 1)
  share = gradio.Slider(
    0, 1, 0.5, step=0.05, label='Share of the second', elem_id='share'
  )
  button = gradio.Button('Blend', variant='primary', elem_id='blend-ask')
  _asks(
    answers,
    'blend',
    lambda first, second, share: [answers.blend(first, second, share)],
    [first, second, share],
    [_output('Between them', elem_id='blended')],
    [button.click, share.release, first.submit, second.submit],
    texts=2,
  )


def _move(answers: answers_lib.Answers) -> None:
  import gradio

  text = _text_field(answers, 'Sentence', 'moved')
  far = answers_lib.FARTHEST
  with gradio.Row():
    latent = gradio.Dropdown(
      _latent_choices(answers), label='Latent', elem_id='latent'
    )
    value = gradio.Slider(
      -far,
      far,
      0,
      step=0.1,
      label='Its value, in standard deviations of the prior',
      elem_id='value',
    )
  button = gradio.Button(
    'Set the latent', variant='primary', elem_id='move-ask'
  )
  outputs = [
    _output('Its value so far'),
    _output('With the new value', elem_id='traversed'),
  ]
  _asks(
    answers,
    'move',
    lambda text, latent, value: [
      f'{answers.latent_of(text, latent):.3f}',
      answers.with_latent(text, latent, value),
    ],
    [text, latent, value],
    outputs,
    [button.click, value.release, latent.input],
  )
  if answers.landmarks is None or not answers.landmarks.directions:
    return
  with gradio.Row():
    direction = gradio.Dropdown(
      [*answers.landmarks.directions], label='Attribute', elem_id='attribute'
    )
    amount = gradio.Slider(
      -far,
      far,
      1,
      step=0.1,
      label='How far: 1 moves the mean of the one value to that of the other',
      elem_id='amount',
    )
  button = gradio.Button(
    'Move along the attribute', variant='primary', elem_id='shift-ask'
  )
  _asks(
    answers,
    'shift',
    lambda text, direction, amount: [answers.shifted(text, direction, amount)],
    [text, direction, amount],
    [_output('Moved', elem_id='shifted')],
    [button.click, amount.release, direction.input],
  )


def _write(answers: answers_lib.Answers) -> None:
  import gradio

  prime = gradio.Textbox(
    label='How it begins (may be empty)',
    max_length=typed.CHARACTERS,
    elem_id='prime',
  )
  with gradio.Row():
    settings = [
      gradio.Slider(
        0, 2, 1, step=0.05, label='Temperature', elem_id='temperature'
      ),
      gradio.Slider(
        0, 1, 1, step=0.01, label='Nucleus: probability that is drawn from'
      ),
      gradio.Number(
        0,
        label='Seed',
        precision=0,
        minimum=0,
        maximum=answers_lib.LARGEST_SEED,
      ),
    ]
  if answers.labels_written:
    choices = [('all', ''), *((x, x) for x in answers.labels_written)]
    settings.append(gradio.Dropdown(choices, value='', label='Label'))
  button = gradio.Button('Write', variant='primary', elem_id='write-ask')
  outputs = [
    _output('What the model writes', lines=3, elem_id='written'),
    _shares('The next words, and their probabilities', 'next'),
  ]

  def answer(prime, *settings):
    return [
      '\n'.join(answers.write(prime, *settings)),
      _percentages(answers.next_words(prime)),
    ]

  _asks(
    answers,
    'write',
    answer,
    [prime, *settings],
    outputs,
    [button.click, prime.submit],
  )


def _likelihood(answers: answers_lib.Answers) -> None:
  import gradio

  text = _text_field(answers, 'Sentence', 'scored')
  button = gradio.Button('Score', variant='primary', elem_id='nats-ask')
  what = 'nats given the tokens before it'
  if answers.can(base.HasLatents):
    what += ', of the reconstruction: the KL is left out'
  outputs = [
    _output('Nats of the whole'),
    gradio.Dataframe(
      headers=['token', 'nats'],
      datatype='str',
      column_count=2,
      type='array',
      interactive=False,
      label=f'Each token, and its {what}',
      elem_id='nats',
    ),
  ]

  def answer(text):
    tokens = answers.nats(text)
    total = sum(nats for _, nats in tokens)
    return [f'{total:.3f}', [[token, f'{nats:.3f}'] for token, nats in tokens]]

  _asks(answers, 'nats', answer, [text], outputs, [button.click, text.submit])


def _label(answers: answers_lib.Answers) -> None:
  import gradio

  text = _text_field(answers, 'Text', 'labelled')
  button = gradio.Button('Label', variant='primary', elem_id='predict-ask')
  _asks(
    answers,
    'predict',
    lambda text: [_percentages(answers.predict(text))],
    [text],
    [_shares('Labels, and their probabilities', 'labels')],
    [button.click, text.submit],
  )


def _tag(answers: answers_lib.Answers) -> None:
  import gradio

  text = _text_field(answers, 'Sentence', 'words')
  button = gradio.Button('Tag', variant='primary', elem_id='tag-ask')
  outputs = [
    gradio.Dataframe(
      headers=['word', 'tag', 'probability'],
      datatype='str',
      column_count=3,
      type='array',
      interactive=False,
      label='Its words',
      elem_id='tags',
    )
  ]
  _asks(
    answers,
    'tag',
    lambda text: [
      [[word, tag, f'{share:.1%}'] for word, tag, share in answers.tag(text)]
    ],
    [text],
    outputs,
    [button.click, text.submit],
  )


def _translate(answers: answers_lib.Answers) -> None:
  import gradio

  text = _text_field(answers, 'Source', 'source')
  button = gradio.Button(
    'Translate', variant='primary', elem_id='translate-ask'
  )

  def answer(text):
    written, nats = answers.translate(text)
    return [written, f'{nats:.3f}']

  _asks(
    answers,
    'translate',
    answer,
    [text],
    [_output('What the model writes', elem_id='target'), _output('Its nats')],
    [button.click, text.submit],
  )


# -- parts of tabs -------------------------------------------------------------


def _text_field(
  answers: answers_lib.Answers, label: str, name: str, example: int = 0
) -> Any:
  """A field to type a text into, and one to pick a text from."""
  import gradio

  text = gradio.Textbox(label=label, max_length=typed.CHARACTERS, elem_id=name)
  if answers.examples:
    text.value = answers.examples[example % len(answers.examples)]
    picked = gradio.Dropdown(
      [*answers.examples],
      value=None,
      label='... or pick one',
      elem_id=f'{name}-picked',
    )
    # The browser copies it itself.
    picked.input(None, picked, text, js='(picked) => picked', queue=False)
  return text


def _output(label: str, lines: int = 1, elem_id: str | None = None) -> Any:
  import gradio

  return gradio.Textbox(
    label=label, lines=lines, interactive=False, elem_id=elem_id
  )


def _shares(label: str, elem_id: str) -> Any:
  import gradio

  return gradio.Dataframe(
    headers=['', 'probability'],
    datatype='str',
    column_count=2,
    type='array',
    interactive=False,
    label=label,
    elem_id=elem_id,
  )


def _percentages(shares: Sequence[tuple[str, float]]) -> list[list[str]]:
  return [[name, f'{share:.2%}'] for name, share in shares]


def _latent_choices(answers: answers_lib.Answers) -> list[tuple[str, int]]:
  """Names and numbers of the latents, those of the largest KL first."""
  size = answers.run.task.latents.size
  kl = answers.landmarks.kl if answers.landmarks is not None else ()
  if not kl:
    return [(f'{i}', i) for i in range(size)]
  order = sorted(range(size), key=lambda i: -kl[i])
  return [(f'{i} (KL {kl[i]:.2f})', i) for i in order]


def _asks(
  answers: answers_lib.Answers,
  name: str,
  answer: Callable[..., Sequence[Any]],
  inputs: Sequence[Any],
  outputs: Sequence[Any],
  events: Sequence[Any],
  texts: int = 1,
  refused: Sequence[Any] = (),
) -> None:
  """Shows the answer to fields once one of the events happens.

  Args:
    answers: of the run.
    name: of the question, for programs that ask it.
    answer: from the inputs' values to those of the outputs.
    inputs: components.
    outputs: components.
    events: that ask.
    texts: how many of the inputs, the first ones, are read by the model.
    refused: values of the outputs where there is no answer; (): empty ones.
  """
  import gradio

  note = gradio.Textbox(
    label='Note', interactive=False, elem_id=f'{name}-note', lines=1
  )

  def ask(*values):
    begun = time.perf_counter()
    try:
      shown = list(answer(*values))
      strange = [w for text in values[:texts] for w in answers.unknown(text)]
    except ValueError as error:
      return [f'{error}', *(refused or [None] * len(outputs))]
    took = f'{1e3 * (time.perf_counter() - begun):.0f} ms'
    if strange:
      took += f'; not in the vocabulary: {", ".join(strange)}'
    return [took, *shown]

  gradio.on(
    [*events],
    ask,
    [*inputs],
    [note, *outputs],
    api_name=name,
    show_progress='hidden',
    concurrency_limit=1,
    concurrency_id='run',  # One program at a time has both cores.
    trigger_mode='always_last',
  )
