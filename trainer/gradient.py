"""DDP for ranks with unequal batches: gradients are summed, and the time to the last local gradient is known.

DDP's own average is right only when every rank has as many samples as the next. Here each rank scales its summed
loss by one over the step's samples, and the gradients are added up, so the result is the mean over the step's samples
however they are split. (Averaging `sum of local losses * W / global count` over W ranks is the same thing.)

The time from the start of a step to its last local gradient is the one figure that tells a slow rank from one that
waits: all ranks end their steps together.
"""

# No `from __future__ import annotations`: DDP looks at the hook's annotations and wants the types themselves.

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Stopwatch(Protocol):
    """Marks of one step on the device's own clock."""

    def start(self) -> None: ...
    def last_gradient(self) -> None: ...
    def all_reduced(self) -> None: ...
    def read(self) -> tuple[float, float]:
        """(compute, wait) in milliseconds; waits for the device."""
        ...


class CpuStopwatch:
    def __init__(self) -> None:
        self._start = self._last = self._end = 0.0

    def start(self) -> None:
        self._start = self._last = time.perf_counter()

    def last_gradient(self) -> None:
        self._last = time.perf_counter()

    def all_reduced(self) -> None:
        self._end = time.perf_counter()

    def read(self) -> tuple[float, float]:
        return (self._last - self._start) * 1000, (self._end - self._last) * 1000


class CudaStopwatch:
    """CUDA events, so that timing does not stall the queue of kernels."""

    def __init__(self, device: torch.device) -> None:
        with torch.cuda.device(device):
            self._events = [torch.cuda.Event(enable_timing=True) for _ in range(3)]

    def start(self) -> None:
        self._events[0].record()

    def last_gradient(self) -> None:
        self._events[1].record()

    def all_reduced(self) -> None:
        self._events[2].record()

    def read(self) -> tuple[float, float]:
        start, last, end = self._events
        end.synchronize()
        return start.elapsed_time(last), last.elapsed_time(end)


def stopwatch(device: torch.device) -> Stopwatch:
    return CudaStopwatch(device) if device.type == "cuda" else CpuStopwatch()


@dataclass(frozen=True, slots=True)
class Sending:
    """How gradients go to the other ranks. The short copies of the buckets are kept, so that no step allocates."""

    watch: Stopwatch
    dtype: torch.dtype | None
    arrived: Callable[[], object]
    short: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)  # by index and length of the bucket


def sum_gradients(sending: Sending, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """DDP communication hook: the sum over the ranks, not the mean; the last bucket ends the local computation."""
    if bucket.is_last():
        sending.watch.last_gradient()
        sending.arrived()
    gradient = bucket.buffer()
    if sending.dtype is None:
        return _summed(gradient).then(lambda future: future.value()[0])
    key = (bucket.index(), gradient.numel())
    if key not in sending.short:
        sending.short[key] = torch.empty_like(gradient, dtype=sending.dtype)
    short = sending.short[key].copy_(gradient)
    return _summed(short).then(lambda future: gradient.copy_(future.value()[0]))


def _summed(tensor: torch.Tensor) -> torch.futures.Future[list[torch.Tensor]]:
    work = dist.all_reduce(tensor, async_op=True)
    assert work is not None
    future: torch.futures.Future[list[torch.Tensor]] = work.get_future()
    return future


def _nobody() -> None:
    """Nobody wants to know."""


def wrap(
    model: nn.Module,
    device: torch.device,
    watch: Stopwatch,
    *,
    dtype: torch.dtype | None = None,
    arrived: Callable[[], object] = _nobody,
) -> DistributedDataParallel:
    """The model under DDP on this rank's device; gradients are sent as `dtype`, by default as they are.

    `arrived` is called when the last of this rank's gradients of a step is ready.

    Buffers are not broadcast in forward: that would hide waiting for other ranks inside the measured computation. Nor
    is anything broadcast here: `trainer.transfer` has done that, and each rank's BatchNorm keeps its own statistics.
    """
    ids = [device.index] if device.type == "cuda" else None
    try:
        wrapped = DistributedDataParallel(model, device_ids=ids, forward_sync_buffers=False, init_sync=False)
    except TypeError:  # torch before 2.13 knows only the older name
        wrapped = DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False, init_sync=False)
    wrapped.register_comm_hook(Sending(watch, dtype, arrived), sum_gradients)
    return wrapped
