"""The gradients of one step on one rank: its share in micro-batches, and again in smaller ones when memory runs out.

The loop hands over the rank's samples; afterwards `.grad` of every parameter holds the mean over all ranks (`sync`) or
this rank's own.

    >>> passes = MicroBatches(task, model, device, watch, accumulate=2, ran_out=say)
    >>> loss_sum = passes.run(batch, scale=4 / 256)     # two forward and backward passes, one all-reduce

All micro-batches but the last stay on this rank (DDP's `no_sync`); the all-reduce overlaps the backward of the last.

Memory that runs out in that last backward is the hard case: the other ranks already add up buckets that this rank has
sent, and wait for the rest. What was sent was right and complete, so nothing is taken back. The whole share is computed
once more beside DDP (`torch.autograd.grad` calls no hooks), in micro-batches half the size or less. Then one borrowed
sample that weighs nothing goes through backward for just the parameters that DDP still waits for: that sends the rest.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from motley.profiles.split_solver import equal_split
from motley.trainer.data.batch import Batch
from motley.trainer.devices import accelerator
from motley.trainer.errors import OutOfMemory
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import summed_loss
from motley.trainer.training import batchnorm
from motley.trainer.training.step_undo import StepUndo
from motley.trainer.training.weighted_ddp import Arrivals, Stopwatch

RanOut = Callable[[int, int], None]  # micro-batch before and after, in samples


def parts(samples: int, accumulate: int, limit: int | None) -> tuple[int, ...]:
    """The sizes of the micro-batches of a share: `accumulate` of them, more where `limit` asks for it.

    They differ by one sample at most; none is empty.

    >>> parts(10, 4, None)
    (3, 3, 2, 2)
    """
    least = 1 if limit is None else -(-samples // limit)
    return equal_split(samples, max(least, min(accumulate, samples)))


class MicroBatches:
    """Forward and backward of one rank. Remembers the largest micro-batch that the device can take."""

    def __init__(
        self,
        task: Task,
        model: DistributedDataParallel,
        device: torch.device,
        watch: Stopwatch,
        *,
        accumulate: int,
        ran_out: RanOut,
        autocast: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
        computed: Callable[[], object] = lambda: None,
        handed_over: Callable[[], object] = lambda: None,
    ) -> None:
        """`computed` and `handed_over` are called when the last gradient of a step is there, before and after the time
        is taken; they must not hold on to the group."""
        self.limit: int | None = None  # largest micro-batch, once a larger one was too large
        self._task = task
        self._model = model
        self._device = device
        self._accumulate = accumulate
        self._ran_out = ran_out
        self._autocast = autocast
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.undo = StepUndo(model.module, device)  # of the last `run`
        self._single = False  # the last batch was a single sample
        self._arrivals = Arrivals(self._parameters, watch, computed, handed_over)
        weakref.finalize(self, self._arrivals.remove)  # parameters outlive the group of a generation

    def run(self, batch: Batch, *, scale: float, sync: bool = True) -> Tensor:
        """Add the gradient of `scale` times the summed loss to `.grad`, which must be None. Returns the summed loss.

        `scale` 0 is for a rank without samples, which takes part with a borrowed one. Raises OutOfMemory when not
        even a single sample fits.
        """
        self.undo.note()
        self._arrivals.begin(sending=False)
        try:
            return self._passes(batch, scale, sync)
        except torch.OutOfMemoryError as error:
            reason = str(error)
        # Outside of the except clause: the traceback holds on to the activations.
        return self._again(batch, scale, sync, reason)

    def _passes(self, batch: Batch, scale: float, sync: bool) -> Tensor:
        sizes = parts(batch.size, self._accumulate, self.limit)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, some in enumerate(batch.split(sizes), 1):
            last = sync and number == len(sizes)
            with contextlib.nullcontext() if last else self._model.no_sync():
                loss = self._loss(self._model, some)
                self._arrivals.begin(sending=last)
                torch.autograd.backward(loss * scale)
            loss_sum += loss.detach()
        return loss_sum

    def _again(self, batch: Batch, scale: float, sync: bool, reason: str) -> Tensor:
        """The step once more, from its start, in ever smaller micro-batches until they fit."""
        before = size = max(parts(batch.size, self._accumulate, self.limit))
        while True:
            size //= 2
            if size == 0:
                raise OutOfMemory(
                    f"{self._device}: one sample does not fit into its memory ({reason.splitlines()[0]})",
                    "Take a smaller model, or leave this device out",
                )
            for parameter in self._parameters:
                parameter.grad = None
            gc.collect()
            accelerator.release_memory(self._device)
            self.undo.restore()
            try:
                loss_sum = self._beside(batch, scale, size)
                break
            except torch.OutOfMemoryError as error:
                reason = str(error)
        if sync:
            self._send_rest(batch.part(0, 1))
        self.limit = size
        self._ran_out(before, size)
        return loss_sum

    def _beside(self, batch: Batch, scale: float, size: int) -> Tensor:
        """Gradients of the share without DDP: no hook is called."""
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for some in batch.split(parts(batch.size, 1, size)):
            loss = self._loss(self._model.module, some)
            for parameter, gradient in zip(self._parameters, torch.autograd.grad(loss * scale, self._parameters)):
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            loss_sum += loss.detach()
        return loss_sum

    def _send_rest(self, sample: Batch) -> None:
        """Let DDP send what it has not sent yet: one sample, of weight 0, through backward."""
        begun = self._arrivals.sending
        waiting = [p for p in self._parameters if p not in self._arrivals.ready] if begun else self._parameters
        loss = self._loss(self._model.module if begun else self._model, sample) * 0.0
        if not begun:
            self._arrivals.begin(sending=True)
        torch.autograd.backward(loss, inputs=waiting)

    def _loss(self, model: nn.Module, some: Batch) -> Tensor:
        single = some.size < 2
        if single or self._single or not self._model.training:  # going through all modules takes its time
            batchnorm.train(self._model, samples=some.size)
            self._single = single
        with self._autocast():
            return summed_loss(self._task, model, some.to(self._device).content, some.size)
