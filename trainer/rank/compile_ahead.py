"""The model's forward and backward pass are compiled before a rank joins its first group: it takes up to minutes, for
which the others would wait in a step.

>>> compile_ahead(compilation, options, task, data, model, print)
the model is compiled, in 12 s
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.data.task_data import TaskData
from motley.trainer.devices.memory_shortage import shortage
from motley.trainer.errors import TaskError
from motley.trainer.optimize.precision import FULL, Precision, abilities, may_agree
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
    *,
    ranks: int = 1,
) -> None:
    """Passes over a few samples, of which nothing stays but the code. Says how long it took, or why there is none.

    `compilation`: None where nothing is to be compiled. `ranks`: how many the run has; what they may agree to compute
    in (`trainer.optimize.precision`) is compiled. Raises TaskError for what is wrong with the task itself.
    """
    if compilation is None:
        return
    device = next(model.parameters()).device
    formats = may_agree(options.precision, abilities(device) if options.precision != "fp32" else (), ranks)
    began = time.monotonic()
    undo = StepUndo(model, device)
    undo.note()

    def go_through(precision: Precision, samples: int) -> None:
        batch = data.train_batch(torch.arange(min(samples, data.train_size)), 0).to(device)
        batchnorm.train(model, samples=batch.size)
        with precision.autocast(device):
            loss = summed_loss(task, TaskModule(task, model), batch.content, batch.size)
        torch.autograd.backward(loss)

    failed = ""  # a pass, though not by its compilation
    for precision, samples in itertools.product(formats, SAMPLES):
        try:
            go_through(precision, samples)
        except TaskError:
            raise
        except Exception as error:  # noqa: BLE001 - a compiler may fail in any way
            if shortage(error, (device,)) is not None or not works_without(compilation, go_through, samples):
                failed = f"a pass over {samples} samples failed with {type(error).__name__}: {first_line(error)}"
            else:
                compilation.give_up(error)
                break
    for parameter in model.parameters():
        parameter.grad = None
    undo.restore()
    if compilation.why_not:
        say(f"run.compile does not work here, so it computes without: {compilation.why_not}")
    elif failed:
        say(f"run.compile: not all was compiled ahead, and is in the first steps: {failed}")
    elif not compilation.calls:
        say("run.compile does nothing: the task's forward never calls the model itself")
    else:
        which = f" for {' and '.join(one.name for one in formats)}" if len(formats) > 1 else ""
        say(f"the model is compiled{which}, in {time.monotonic() - began:.0f} s")


def works_without(compilation: Compilation, go_through: Callable[[Precision, int], None], samples: int) -> bool:
    """Whether a pass fails by its compilation: what fails without, too, a step will tell of."""
    with compilation.left_out():
        try:
            go_through(FULL, samples)
        except Exception:  # noqa: BLE001 - as above
            return False
    return True


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
