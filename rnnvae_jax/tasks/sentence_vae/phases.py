"""Phases of training: an autoencoder first, or an encoder that runs ahead."""

from collections.abc import Callable, Mapping
from typing import Any

from absl import logging
import jax.numpy as jnp
import numpy as np


def check(train: Any) -> None:
  """Checks the steps of pretraining.

  Args:
    train: the section of the config.

  Raises:
    ValueError: pretraining leaves no steps, or ends between two validations.
  """
  if train.pretrain_steps >= train.num_steps:
    raise ValueError(
      f'config.train.pretrain_steps={train.pretrain_steps} leaves nothing '
      f'of config.train.num_steps={train.num_steps}, which counts them.'
    )
  rest = train.pretrain_steps % train.eval_every
  if rest:
    raise ValueError(
      f'config.train.pretrain_steps={train.pretrain_steps} is not a '
      f'multiple of config.train.eval_every={train.eval_every}: the '
      'autoencoder ends with a validation. Nearest legal value: '
      f'{train.pretrain_steps - rest}.'
    )


def after_validation(
  state: Any,
  figures: Mapping[str, Any],
  pretrain_steps: int,
  fresh: Callable[[], Any],
) -> tuple[Any, bool]:
  """Ends pretraining and the encoder's inner updates.

  Validations of pretraining do not count. After pretraining the decoder and
  the optimiser are initialised again (Li et al., arXiv:1909.00868). Inner
  updates end when mutual information falls.

  Args:
    state: the state of the run.
    figures: of the validation.
    pretrain_steps: number of updates that train an autoencoder.
    fresh: returns the state that the run began with.

  Returns:
    The new state, and whether the validation may choose the checkpoint.
  """
  step = int(state.step)
  if step < pretrain_steps:
    return state, False
  if step == pretrain_steps and step:
    logging.info(
      'Step %d: pretraining ends; the decoder is initialised again.', step
    )
    new = fresh()
    # The rate control has adapted to a loss without KL, so it starts again.
    rate_control_state = {'rate_control': new.extras['rate_control']}
    state = state.replace(
      params=_with_decoder(state.params, new.params),
      opt_state=new.opt_state,
      extras=state.extras | rate_control_state,
    )
    return state, False
  # The encoder has caught up once its mutual information falls (He et al.).
  information = np.float32(figures.get('mutual_information_batch', 0.0))
  selection = state.selection
  caught_up = information < np.float32(selection.information)
  selection = selection.replace(
    explores=jnp.bool_(bool(selection.explores) and not caught_up),
    information=jnp.float32(information),
  )
  return state.replace(selection=selection), True


def _with_decoder(params, other):
  """Replaces the decoder of `params` by that of `other`, except embeddings.

  Embeddings are kept because the encoder uses them, too. If they are tied, the
  output layer is kept as well.
  """
  ours, theirs = params['params'], other['params']['decoder']
  decoder = theirs | {'embedding': ours['decoder']['embedding']}
  return {'params': ours | {'decoder': decoder}}
