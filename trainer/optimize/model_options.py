"""What `[run]` has done to a task's model before the first step, in the order that it has to be done.

>>> ema, compilation = set_up(options, model)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.optimize.activation_checkpointing import blocks, checkpoint_blocks
from motley.trainer.optimize.weight_average import WeightAverage

if TYPE_CHECKING:
    from motley.trainer.optimize.compilation import Compilation


class SetUp(NamedTuple):
    ema: WeightAverage | None
    compilation: Compilation | None


def set_up(options: RunOptions, model: nn.Module) -> SetUp:
    """The average is of the model as the task made it; what is computed again in the backward pass is compiled code.

    Raises TaskError for a model that does not go with an option.
    """
    ema = WeightAverage(model, options.ema) if options.ema is not None else None
    compilation = None
    if options.compile:
        from motley.trainer.optimize.compilation import Compilation  # it imports more than torch itself

        compilation = Compilation(blocks(model) if options.activation_checkpointing else [model])
    if options.activation_checkpointing:
        checkpoint_blocks(model)
    return SetUp(ema, compilation)
