"""What `[run]` has done to a task's model before the first step, in the order that it has to be done.

>>> ema = set_up(options, model)
"""

from __future__ import annotations

from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.optimize.activation_checkpointing import checkpoint_blocks
from motley.trainer.optimize.weight_average import WeightAverage


def set_up(options: RunOptions, model: nn.Module) -> WeightAverage | None:
    """Returns the average of its weights, where there is one: a copy of the model as the task made it.

    Raises TaskError for a model that does not go with an option.
    """
    ema = WeightAverage(model, options.ema) if options.ema is not None else None
    if options.activation_checkpointing:
        checkpoint_blocks(model)
    return ema
