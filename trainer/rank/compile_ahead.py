"""The model's forward and backward pass are compiled before a rank joins its first group: it takes up to minutes, for
which the others would wait in a step.

>>> compile_ahead(compilation, options, task, data, model, print)
the model is compiled, in 12 s
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.data.task_data import TaskData
from motley.trainer.errors import TaskError
from motley.trainer.optimize.precision import abilities, choose
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import summed_loss
from motley.trainer.tasks.task_module import TaskModule
from motley.trainer.training import batchnorm
from motley.trainer.training.step_undo import StepUndo

if TYPE_CHECKING:
    from motley.trainer.optimize.compilation import Compilation

SAMPLES = (24, 3)  # of each pass: torch's convolutions take another way on a CPU for 16 samples or more


def compile_ahead(
    compilation: Compilation | None,
    options: RunOptions,
    task: Task,
    data: TaskData,
    model: nn.Module,
    say: Callable[[str], object],
) -> None:
    """Passes over a few samples, of which nothing stays but the code. Says how long it took, or why there is none.

    `compilation`: None where nothing is to be compiled. Raises TaskError for what is wrong with the task itself.
    """
    if compilation is None:
        return
    device = next(model.parameters()).device
    precision = choose(options.precision, [abilities(device)] if options.precision != "fp32" else [])
    began = time.monotonic()
    undo = StepUndo(model, device)
    undo.note()
    try:
        for samples in SAMPLES:
            batch = data.train_batch(torch.arange(min(samples, data.train_size)), 0).to(device)
            batchnorm.train(model, samples=batch.size)
            with precision.autocast(device):
                loss = summed_loss(task, TaskModule(task, model), batch.content, batch.size)
            torch.autograd.backward(loss)
    except TaskError:
        raise
    except Exception as error:  # noqa: BLE001 - a compiler may fail in any way; of an error of the task the step tells
        compilation.give_up(error)
    for parameter in model.parameters():
        parameter.grad = None
    undo.restore()
    if compilation.why_not:
        say(f"run.compile does not work here, so it computes without: {compilation.why_not}")
    elif not compilation.calls:
        say("run.compile does nothing: the task's forward never calls the model itself")
    else:
        say(f"the model is compiled, in {time.monotonic() - began:.0f} s")
