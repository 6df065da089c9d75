"""DDP for ranks with unequal batches: the mean over all samples, and the time to the last local gradient.

DDP averages over W ranks, which is right only when every rank has as many samples as the next. Here each rank's loss
is `sum of local losses * W / global count`: so the average is the mean over the step's samples however they are split.

The time from the start of a step to its last local gradient is the one figure that tells a slow rank from one that
waits: all ranks end their steps together.
"""

# No `from __future__ import annotations`: DDP looks at the hook's annotations and wants the types themselves.

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from motley.trainer.devices import accelerator
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_module import TaskModule


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


class EventStopwatch:
    """Events in a GPU's queue, so that timing does not stall its kernels."""

    def __init__(self, device: torch.device) -> None:
        self._events = accelerator.timing_events(device, 3)

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
    return EventStopwatch(device) if accelerator.is_gpu(device) else CpuStopwatch()


class Arrivals:
    """Which gradients of a backward pass are ready; the last one to be sent ends this rank's computation.

    A hook of every parameter. Parameters outlive the group, so nothing here may hold on to the DDP wrapper.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        watch: Stopwatch,
        computed: Callable[[], object],
        handed_over: Callable[[], object],
    ) -> None:
        """`computed` is called when the last gradient of a step is there, `handed_over` when that was noted: DDP sends
        it after both."""
        self.ready: set[torch.Tensor] = set()
        self.sending = False  # DDP waits for gradients, to send them
        self._count = len(parameters)
        self._watch = watch
        self._computed = computed
        self._handed_over = handed_over
        self._handles = [p.register_post_accumulate_grad_hook(self) for p in parameters]

    def begin(self, *, sending: bool) -> None:
        """A backward pass is about to begin."""
        self.ready.clear()
        self.sending = sending

    def __call__(self, parameter: torch.Tensor) -> None:
        self.ready.add(parameter)
        if self.sending and len(self.ready) == self._count:
            self._computed()
            self._watch.last_gradient()
            self._handed_over()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


@dataclass(frozen=True, slots=True)
class Compression:
    """Gradients go as `dtype`. The short copies of the buckets are kept, so that no step allocates."""

    dtype: torch.dtype
    short: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)  # by index and length of the bucket


def compressed_mean(state: Compression, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """DDP communication hook: the mean over the ranks, as DDP's own, on the way in fewer bytes."""
    gradient = bucket.buffer()
    key = (bucket.index(), gradient.numel())
    if key not in state.short:
        state.short[key] = torch.empty_like(gradient, dtype=state.dtype)
    short = state.short[key].copy_(gradient.div_(dist.get_world_size()))
    work = dist.all_reduce(short, async_op=True)
    assert work is not None
    future: torch.futures.Future[list[torch.Tensor]] = work.get_future()
    return future.then(lambda done: gradient.copy_(done.value()[0]))


def wrap(
    task: Task, model: nn.Module, device: torch.device, *, dtype: torch.dtype | None = None
) -> DistributedDataParallel:
    """The task's model under DDP on this rank's device; gradients are sent as `dtype`, by default as they are.

    Buffers are not broadcast in forward: that would hide waiting for other ranks inside the measured computation. Nor
    is anything broadcast here: `trainer.rank.share_state` has done that, and each rank's BatchNorm keeps its own
    statistics.
    """
    module = TaskModule(task, model)
    away = [name for name, weight in module.named_parameters() if weight.device != device and not weight.requires_grad]
    if away:  # frozen, on further cards of this rank: DDP wants one device, and has nothing to do with these
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, away)
    ids = accelerator.ddp_ids(device)
    try:
        wrapped = DistributedDataParallel(module, device_ids=ids, forward_sync_buffers=False, init_sync=False)
    except TypeError:  # torch before 2.13 knows only the older name
        wrapped = DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False, init_sync=False)
    if dtype is not None:
        wrapped.register_comm_hook(Compression(dtype), compressed_mean)
    return wrapped
