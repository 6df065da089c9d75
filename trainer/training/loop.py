"""The training loop of one rank, from the first step to the last. Called by `trainer.rank` inside a process group.

while steps are left:
    at the end of an epoch: evaluate, write a checkpoint
    take this rank's slice of the step's samples
    forward and backward (the gradients are averaged over all ranks as they get ready), clip, update
        or, with `local_steps`: forward, backward and update apart, and now and then the average of all ranks
    write one line of metrics
    every window: send figures to rank 0, which decides on the shares, and whether to let go of the group; all follow

A collective that breaks, because a rank or host was lost, raises. The step under way is not completed then: `abort`
drops its gradients, and the next group goes on from the newest completed step (`trainer.setup.join`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.balance import Balancer
from trainer.batches import Batches, Place
from trainer.budget import CpuBudget
from trainer.counting import GlobalCount
from trainer.epochs import end_epoch
from trainer.exchange import Row, Window
from trainer.gradient import Stopwatch
from trainer.local_sgd import LocalSgd
from trainer.metrics import DeviceMeter, MetricsFile
from trainer.passes import Passes
from trainer.recorder import Recorder
from trainer.spec import RunOptions
from trainer.splitmix import key
from trainer.tasks import Task, count
from trainer.trace import Tracer
from trainer.wire import RunState, Sample

RANDOM = 5  # the purpose of a key: what a model draws in a step (dropout)


@dataclass(slots=True)
class StopFlag:
    """Set by the TERM signal; looked at between steps."""

    asked: bool = False


class Progress(Protocol):
    """What the coordinator hears of this rank, and wants of rank 0: `trainer.membership.Membership`."""

    step: int  # completed
    boundary: bool  # somebody wants to join: let go of the group at the end of a step

    def arrive(self) -> None:
        """This rank's gradients of the step under way are handed over."""


@dataclass(slots=True)
class Unheard:
    """Progress that nobody hears of."""

    step: int = 0
    boundary: bool = False

    def arrive(self) -> None:
        """To nobody."""


@dataclass(slots=True, kw_only=True)
class Job:
    """Everything one rank trains with. `step` counts completed optimizer steps."""

    options: RunOptions
    host: str
    member: int
    rank: int
    members: tuple[int, ...]  # the group's, in rank order
    device: torch.device
    task: Task
    model: DistributedDataParallel
    optimizer: torch.optim.Optimizer
    watch: Stopwatch
    batches: Batches
    steps_total: int
    shares: tuple[int, ...]
    balancer: Balancer
    metrics: MetricsFile
    meter: DeviceMeter
    budget: CpuBudget
    recorder: Recorder
    stop: StopFlag
    apart: LocalSgd | None = None  # with run.local_steps above 1
    tracer: Tracer | None = None  # with run.trace_steps
    generation: int = 0
    step: int = 0
    epoch_ends: int = 0  # evaluations and checkpoints that are done, or were not due
    best: float = 0.0  # the highest accuracy of the evaluations so far, 0 to 1
    in_step: bool = False
    ending_epoch: bool = False
    progress: Progress = field(default_factory=Unheard)
    window: Window = field(default_factory=Window)
    step_end: float = 0.0  # perf_counter at the end of the last step, moved on over evaluations and checkpoints
    last_end: float | None = None  # perf_counter at the true end of the last step; None before the first
    resuming: bool = False  # no step of this generation, which is not the first, has ended yet
    passes: Passes = field(init=False)
    counted: GlobalCount = field(init=False)

    def __post_init__(self) -> None:
        self.counted = GlobalCount(self.task)
        self.passes = Passes(
            self.task,
            self.model,
            self.device,
            self.watch,
            accumulate=self.options.accumulate,
            handed_over=self.progress.arrive,
            ran_out=lambda before, after: self.recorder.ran_out_of_memory(self, before, after),
        )

    @property
    def world_size(self) -> int:
        return len(self.members)

    def epoch_ends_due(self) -> int:
        """Ends of epochs that lie behind this step; the run's last step is one too."""
        whole, rest = divmod(self.step, self.batches.steps_per_epoch)
        return whole + bool(rest and self.step == self.steps_total)

    def ends_epoch(self, place: Place) -> bool:
        """Whether the step at `place` is the last of its epoch, or of the run."""
        return place.index == self.batches.steps_per_epoch - 1 or self.step + 1 == self.steps_total


def train(job: Job) -> RunState | None:
    """Train until the last step is done or rank 0 is asked to stop. None: let go of the group, and form another.

    Raises what a collective raises when a peer goes.
    """
    job.step_end = time.perf_counter()
    job.progress.step = job.step
    while True:
        if job.epoch_ends < job.epoch_ends_due():
            end_epoch(job, job.epoch_ends + 1, last=job.step == job.steps_total)
        if job.step >= job.steps_total:
            return "finished"
        if job.stop.asked and job.rank == 0:
            stop(job)
            return "stopped"
        train_step(job, job.batches.place(job.step))
        last = job.step == job.steps_total
        together = not (job.apart and job.apart.steps)
        if (last or together) and exchange(job, last=last):
            return None
        if job.tracer is not None:
            trace(job, job.tracer, last=last)


def abort(job: Job) -> None:
    """After a collective broke. Parameters were not touched yet; `Kept.settle` sees to buffers and random numbers."""
    job.optimizer.zero_grad(set_to_none=True)
    if job.apart is not None:  # what was learned since the last average is this rank's own
        job.step -= job.apart.rewind()
        job.in_step = False


def train_step(job: Job, place: Place) -> None:
    """One optimizer step on this rank's slice of the step's samples, and its line of metrics."""
    began = time.perf_counter()
    job.budget.begin()
    seed_step(job)
    ids = job.batches.ids(job.step, job.shares, job.rank)
    samples = len(ids)
    # A rank with share 0 takes part with a borrowed sample that weighs nothing.
    inputs, targets = job.task.train_batch(ids if samples else job.batches.ids(job.step, (1,), 0)[:1], place.epoch)
    data_ms = (time.perf_counter() - began) * 1000

    for group in job.optimizer.param_groups:
        group["lr"] = learning_rate(job.options, job.step, job.steps_total)
    job.optimizer.zero_grad(set_to_none=True)
    limit = job.passes.limit
    job.watch.start()
    if job.apart is None:
        loss_sum = step_together(job, inputs, targets, samples, place)
    else:
        loss_sum = step_apart(job, job.apart, inputs, targets, samples, place)
    job.step += 1
    job.in_step, job.progress.step = False, job.step

    compute_ms, wait_ms = job.watch.read()
    loss = float(loss_sum)
    # A step that was done again for lack of memory says nothing about the next one.
    busy_ms = max((time.perf_counter() - began) * 1000 - wait_ms, job.budget.needs_ms())
    busy_ms = busy_ms if job.passes.limit == limit else math.nan
    times = Times(busy_ms=busy_ms, compute_ms=compute_ms, wait_ms=wait_ms, data_ms=data_ms)
    record(job, place, samples, loss, times)


def seed_step(job: Job) -> None:
    """What the model draws in a step depends on the seed, the step and the member alone.

    Only the generators of this rank's device: `torch.manual_seed` leaves a note with a traceback for every kind of
    accelerator that is not in use, at each call.
    """
    seed = key(job.options.seed, job.step, job.member, RANDOM)
    torch.default_generator.manual_seed(seed)
    if job.device.type == "cuda":
        with torch.cuda.device(job.device):
            torch.cuda.manual_seed(seed)


def step_together(job: Job, inputs: Tensor, targets: Tensor, samples: int, place: Place) -> Tensor:
    """One update with the mean gradient of the whole step, the same on all ranks.

    Returns this rank's part of the loss: the parts of all ranks add up to the global mean times the step's samples.
    """
    job.counted.begin(targets if samples else targets[:0])
    job.in_step = True
    loss_sum = job.passes.run(inputs, targets, scale=job.world_size / place.size if samples else 0.0)
    job.watch.all_reduced()
    correction = job.counted.samples_over_count(place.size)
    if correction != 1:
        for parameter in job.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(correction)
    update(job)
    return loss_sum * correction if samples else torch.zeros(())


def step_apart(job: Job, apart: LocalSgd, inputs: Tensor, targets: Tensor, samples: int, place: Place) -> Tensor:
    """One update with the mean gradient of this rank's samples; the average of all ranks when it is due."""
    loss_sum, weight = torch.zeros(()), max(1, count(job.task, targets))
    if samples:
        loss_sum = job.passes.run(inputs, targets, scale=1 / weight, sync=False)
    job.watch.last_gradient()
    if samples:
        update(job)
    apart.note(samples)
    if apart.steps == job.options.local_steps or job.ends_epoch(place):
        apart.average()
    job.watch.all_reduced()
    return loss_sum * (samples / weight)


def update(job: Job) -> None:
    """Clip, then step."""
    if job.options.clip_norm is not None:
        nn.utils.clip_grad_norm_(job.model.parameters(), job.options.clip_norm)
    job.optimizer.step()


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of one step, in milliseconds."""

    busy_ms: float  # all but waiting: what the shares are balanced on
    compute_ms: float  # start of the forward pass to the last local gradient
    wait_ms: float  # from there to the end of the all-reduce
    data_ms: float


def record(job: Job, place: Place, samples: int, loss: float, times: Times) -> None:
    """Note the step that has ended for the others, and write its line."""
    now = time.perf_counter()
    step_ms, job.step_end = (now - job.step_end) * 1000, now
    if job.resuming and job.last_end is not None:
        job.recorder.resumed(job, now - job.last_end)
    job.last_end, job.resuming = now, False
    job.window.note(Row(batch=samples, loss_sum=loss, busy_ms=times.busy_ms, step_ms=step_ms))
    job.metrics.write(
        Sample(
            seq=job.metrics.next_seq,
            step=job.step,
            epoch=place.epoch,
            time=time.time(),
            host=job.host,
            member=job.member,
            rank=job.rank,
            generation=job.generation,
            batch=samples,
            loss=loss / samples if samples else None,
            compute_ms=times.compute_ms,
            wait_ms=times.wait_ms,
            data_ms=times.data_ms,
            step_ms=step_ms,
            samples_per_s=samples / times.compute_ms * 1000 if times.compute_ms > 0 else 0.0,
            mem_mib=job.meter.mib(),
            gpu_util=job.meter.gpu_util(),
        )
    )


def learning_rate(options: RunOptions, step: int, steps_total: int) -> float:
    """Of the step counted from 0. Cosine: from the full rate to 0 over the run (Loshchilov and Hutter 2017)."""
    if options.schedule == "constant":
        return options.learning_rate
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps_total))


def exchange(job: Job, *, last: bool = False) -> bool:
    """Rank 0 learns what all measured, decides on the shares; all follow. Returns whether to let go of the group.

    Each step takes this one stage further (`trainer.exchange`); the run's last step takes it to its end.
    """
    leave, window = next_stage(job, last=last), job.window
    # Between two averages of local SGD nobody may wait for the others, so there all of it is done at once.
    while (last and len(window)) or ((last or job.apart is not None) and window.on_its_way):
        leave = next_stage(job, last=last)
    return leave and not last


def next_stage(job: Job, *, last: bool) -> bool:
    window = job.window
    if window.answering:
        job.shares, leave = window.answered()
        if leave:
            job.progress.boundary = False
        return leave
    if window.gathering:
        window.answer(consult(job, last=last), job.rank == 0 and job.progress.boundary)
    elif len(window) >= job.balancer.window or last:
        job.budget.look()
        window.gather()
    return False


def consult(job: Job, *, last: bool) -> tuple[int, ...]:
    """On rank 0: what all measured, told to the world; the shares that hold once all have heard of them."""
    rows = job.window.gathered()
    if job.rank != 0:
        return job.shares
    job.recorder.report(job, rows, step=job.step - len(job.window))
    return job.balancer.decide(job.step + 1, rows, job.shares, last=last)


def stop(job: Job) -> None:
    """Rank 0's last words when it is asked to leave: the others are not waited for."""
    job.recorder.report_alone(job, job.window.rows)
    if job.apart is not None:  # what this rank learned since the last average is its own alone
        job.step -= job.apart.rewind()
    job.recorder.checkpoint(job, "stop")


def trace(job: Job, tracer: Tracer, *, last: bool) -> None:
    """Starting and writing a trace are no part of a step's time."""
    began = time.perf_counter()
    tracer.step_ended(job.step, last=last)
    job.step_end += time.perf_counter() - began
