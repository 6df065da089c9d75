"""The gradients of one step on one rank: its share in micro-batches, and again in smaller ones when memory runs out.

The loop hands over the rank's samples; afterwards `.grad` of every parameter holds the mean over all ranks (`sync`) or
this rank's own.

    >>> passes = MicroBatches(task, model, device, watch, accumulate=2, ran_out=say)
    >>> loss_sum = passes.run(batch, scale=4 / 256)     # two forward and backward passes, one all-reduce

Where samples are padded to the longest of a pass, micro-batches are bounded by samples times length, and cut from
samples of about one length (`trainer.data.pass_sizes`).

All micro-batches but the last stay on this rank (DDP's `no_sync`); the all-reduce overlaps the backward of the last.

Memory that runs out in that last backward is the hard case: the other ranks already add up buckets that this rank has
sent, and wait for the rest. What was sent was right and complete, so nothing is taken back. The whole share is computed
once more beside DDP (`torch.autograd.grad` calls no hooks), in micro-batches half the size or less. Then one borrowed
sample that weighs nothing goes through backward for just the parameters that DDP still waits for: that sends the rest.

What counts as memory that runs out says `trainer.devices.memory_shortage`: libraries fail in other words than torch.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.distributed import DistError
from torch.nn.parallel import DistributedDataParallel

from motley.trainer.data.batch import Batch
from motley.trainer.data.pass_sizes import padded_parts, parts
from motley.trainer.devices import accelerator
from motley.trainer.devices.memory_shortage import Shortage, shortage, without_frames
from motley.trainer.errors import OutOfMemory
from motley.trainer.optimize.device import gpus_of
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import summed_loss
from motley.trainer.tasks.user_code import user_code
from motley.trainer.training import batchnorm
from motley.trainer.training.step_undo import StepUndo
from motley.trainer.training.weighted_ddp import Arrivals, Stopwatch

RanOut = Callable[[int, int], None]  # micro-batch before and after, in samples, or in samples times length


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
        # The largest micro-batch, once a larger one was too large: samples, or samples times length where that is said.
        self.limit: int | None = None
        self.largest = 0  # that has been computed, of samples whose lengths are said
        self._under_way = (0, 0)  # the samples of a pass, and the longest of them
        self._task = task
        self._model = model
        self._device = device
        self.gpus = gpus_of(model, device)  # that this rank computes on
        self.accumulate = accumulate  # micro-batches of a step, at least, or at most where lengths are said
        self._ran_out = ran_out
        self._autocast = autocast
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.undo = StepUndo(model.module, device)  # of the last `run`
        self._single = False  # the last batch was a single sample
        self._arrivals = Arrivals(self._parameters, watch, computed, handed_over)
        weakref.finalize(self, self._arrivals.remove)  # parameters outlive the group of a generation

    def run(self, batch: Batch, *, scale: float, sync: bool = True, lengths: Sequence[int] | None = None) -> Tensor:
        """Add the gradient of `scale` times the summed loss to `.grad`, which must be None. Returns the summed loss.

        `scale` 0 is for a rank without samples, which takes part with a borrowed one. `lengths`: of each sample, the
        longest first, where the task says them. Raises OutOfMemory when not even a single sample fits, and what was
        raised where a single one fails for a reason that may be another.
        """
        self.undo.note()
        self._arrivals.begin(sending=False)
        self._under_way = (batch.size, 1 if lengths is None else lengths[0])  # until a pass begins
        try:
            return self._passes(batch, lengths, scale, sync)
        except Exception as error:
            short = self._shortage(error)
            if short is None:
                raise
            first = without_frames(error)  # which hold on to the activations
        return self._again(batch, lengths, scale, sync, short, first)

    def most_samples(self, most: int, longest: int | None) -> int:
        """Of a pass whose samples' lengths nobody knows, as in an evaluation: `most`, and no more than memory has room
        for. `longest`: of the training data, where lengths are said."""
        if longest is None:
            return min(most, self.limit or most)
        return max(1, min(most, (self.largest or longest) // longest))

    def _sizes(self, samples: int, lengths: Sequence[int] | None, accumulate: int) -> tuple[int, ...]:
        if lengths is None:
            return parts(samples, accumulate, self.limit)
        return padded_parts(lengths, accumulate, self.limit)

    def _parts(self, batch: Batch, lengths: Sequence[int] | None, sizes: Sequence[int]) -> Iterator[Batch]:
        """The micro-batches, each without the padding that only longer samples need."""
        start = 0
        for some in batch.split(sizes):
            self._under_way = (some.size, 0 if lengths is None else lengths[start])
            yield some if lengths is None else self._cut(some, lengths[start], lengths[0])
            self.largest = max(self.largest, self._under_way[0] * self._under_way[1])
            start += some.size

    def _cut(self, some: Batch, length: int, padded: int) -> Batch:
        if length == padded:
            return some
        with user_code(self._task.project):
            return Batch(self._task.cut(some.content, length), some.size)

    def _passes(self, batch: Batch, lengths: Sequence[int] | None, scale: float, sync: bool) -> Tensor:
        sizes = self._sizes(batch.size, lengths, self.accumulate)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, some in enumerate(self._parts(batch, lengths, sizes), 1):
            last = sync and number == len(sizes)
            with contextlib.nullcontext() if last else self._model.no_sync():
                loss = self._loss(self._model, some)
                self._arrivals.begin(sending=last)
                torch.autograd.backward(loss * scale)
            loss_sum += loss.detach()
        return loss_sum

    def _again(
        self,
        batch: Batch,
        lengths: Sequence[int] | None,
        scale: float,
        sync: bool,
        short: Shortage,
        first: Exception,
    ) -> Tensor:
        """The step once more, from its start, in ever smaller micro-batches until they fit. `first`: what it failed of.

        A single sample has one more try where a library lacked memory: torch may have kept what it needed.
        """
        samples, length = self._under_way
        if lengths is None:  # parts differ by one sample at most
            samples, length = max(self._sizes(batch.size, None, self.accumulate)), 1
        before, limit_before = samples * length, self.limit
        if samples == 1 and not short.outside:
            raise self._does_not_fit(None if lengths is None else length, short.reason)
        while True:
            smaller = max(length, samples * length // 2)
            self.limit = smaller if self.limit is None else min(self.limit, smaller)
            self._under_way = (max(1, samples // 2), length)  # until a pass begins
            try:
                self._start_over()
                loss_sum = self._beside(batch, lengths, scale)
                break
            except Exception as error:
                found = self._shortage(error)
                samples, length = (self.limit, 1) if lengths is None else self._under_way
                if found is None or (samples == 1 and not found.sure):
                    self.limit = limit_before
                    raise
                short = found
            if samples == 1:
                self.limit = limit_before
                raise self._does_not_fit(None if lengths is None else length, short.reason)
        if sync:
            self._release()
            self._send_rest(batch, lengths, first)
        if self.limit < before:
            self._ran_out(before, self.limit)
        else:
            self.limit = limit_before
        return loss_sum

    def _shortage(self, error: Exception) -> Shortage | None:
        """None for what smaller passes can't mend. Nor can they a collective: its failure has broken the group."""
        return None if isinstance(error, DistError) else shortage(error, self.gpus)

    def _start_over(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
        self._release()
        self.undo.restore()

    def _release(self) -> None:
        """All that a pass has left behind, to the driver: libraries get nothing of what torch keeps."""
        gc.collect()
        for gpu in self.gpus:
            accelerator.release_memory(gpu)

    def _does_not_fit(self, length: int | None, reason: str) -> OutOfMemory:
        why = f"does not fit into its memory ({reason})"
        if length is None:
            remedy = "Take a smaller model, or leave this device out"
            return OutOfMemory(f"{self._device}: one sample {why}", remedy)
        remedy = "Cut long samples shorter, take a smaller model, or leave this device out"
        return OutOfMemory(f"{self._device}: one sample of length {length:,} {why}", remedy)

    def _beside(self, batch: Batch, lengths: Sequence[int] | None, scale: float) -> Tensor:
        """Gradients of the share without DDP: no hook is called."""
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for some in self._parts(batch, lengths, self._sizes(batch.size, lengths, 1)):
            loss = self._loss(self._model.module, some)
            for parameter, gradient in zip(self._parameters, torch.autograd.grad(loss * scale, self._parameters)):
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            loss_sum += loss.detach()
        return loss_sum

    def _send_rest(self, batch: Batch, lengths: Sequence[int] | None, first: Exception) -> None:
        """Let DDP send what it has not sent yet: one sample, of weight 0, through backward.

        Raises `first` where that can't be done, since it was DDP itself that failed, in sending.
        """
        one = batch.part(0, 1) if lengths is None else batch.part(batch.size - 1, batch.size)
        one = one if lengths is None else self._cut(one, lengths[-1], lengths[0])
        begun = self._arrivals.sending
        waiting = [p for p in self._parameters if p not in self._arrivals.ready] if begun else self._parameters
        if not waiting:
            raise first
        loss = self._loss(self._model.module if begun else self._model, one) * 0.0
        if not begun:
            self._arrivals.begin(sending=True)
        torch.autograd.backward(loss, inputs=waiting)
        try:
            getattr(self._model, "_check_reducer_finalized", bool)()  # older versions of torch have no such
        except RuntimeError:
            raise first from None

    def _loss(self, model: nn.Module, some: Batch) -> Tensor:
        single = some.size < 2
        if single or self._single or not self._model.training:  # going through all modules takes its time
            batchnorm.train(self._model, samples=some.size)
            self._single = single
        with self._autocast():
            return summed_loss(self._task, model, some.to(self._device).content, some.size)
