"""The training loop of one rank, from the first step to the last. Called by `trainer.rank` inside a process group.

while steps are left:
    take this rank's slice of the step's samples
    forward and backward (the gradients are summed over all ranks as they get ready), clip, update
    write one line of metrics
    every window: exchange figures, rank 0 decides on the shares, all follow
    at the end of an epoch: evaluate, write a checkpoint
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer import batchnorm
from trainer.balance import Balancer
from trainer.batches import Batches, Place, rank_slice
from trainer.exchange import Row, Window, agree
from trainer.gradient import Stopwatch
from trainer.metrics import DeviceMeter, MetricsFile
from trainer.recorder import Recorder
from trainer.spec import RunOptions
from trainer.tasks import Task
from trainer.wire import RunState, Sample

EVAL_BATCH = 256


@dataclass(slots=True)
class StopFlag:
    """Set by the TERM signal; looked at between steps."""

    asked: bool = False


@dataclass(slots=True, kw_only=True)
class Job:
    """Everything one rank trains with. `step` counts completed optimizer steps."""

    options: RunOptions
    host: str
    member: int
    rank: int
    world_size: int
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
    recorder: Recorder
    stop: StopFlag
    generation: int = 0
    step: int = 0
    window: Window = field(default_factory=Window)
    step_end: float = 0.0  # perf_counter at the end of the last step, moved on over evaluations and checkpoints


def train(job: Job) -> RunState:
    """Train until the last step is done or rank 0 is asked to stop.

    Raises what a collective raises when a peer goes.
    """
    job.step_end = time.perf_counter()
    while job.step < job.steps_total:
        if job.stop.asked and job.rank == 0:
            job.recorder.checkpoint(job, "stop")
            job.recorder.report_alone(job, job.window.rows)
            return "stopped"
        place = job.batches.place(job.step)
        train_step(job, place)
        last = job.step == job.steps_total
        if last or job.step % job.balancer.window == 0:
            exchange(job)
        if last or place.index == job.batches.steps_per_epoch - 1:
            end_epoch(job, place.epoch + 1, last=last)
    return "finished"


def train_step(job: Job, place: Place) -> None:
    """One optimizer step on this rank's slice of the step's samples, and its line of metrics."""
    ids = job.batches.ids(job.step, job.shares, job.rank)
    count = len(ids)
    fetch = time.perf_counter()
    inputs, targets = job.task.train_batch(ids if count else job.batches.ids(job.step, (1,), 0)[:1], place.epoch)
    inputs, targets = inputs.to(job.device), targets.to(job.device)
    data_ms = (time.perf_counter() - fetch) * 1000

    for group in job.optimizer.param_groups:
        group["lr"] = learning_rate(job.options, job.step, job.steps_total)
    job.optimizer.zero_grad(set_to_none=True)
    job.watch.start()
    loss_sum = forward(job, inputs, targets, count)
    torch.autograd.backward(loss_sum / place.size)
    job.watch.all_reduced()
    if job.options.clip_norm is not None:
        nn.utils.clip_grad_norm_(job.model.parameters(), job.options.clip_norm)
    job.optimizer.step()
    job.step += 1

    compute_ms, wait_ms = job.watch.read()
    loss = float(loss_sum.detach())
    now = time.perf_counter()
    step_ms, job.step_end = (now - job.step_end) * 1000, now
    job.window.note(Row(batch=count, loss_sum=loss, compute_ms=compute_ms, step_ms=step_ms))
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
            batch=count,
            loss=loss / count if count else None,
            compute_ms=compute_ms,
            wait_ms=wait_ms,
            data_ms=data_ms,
            step_ms=step_ms,
            samples_per_s=count / compute_ms * 1000 if compute_ms > 0 else 0.0,
            mem_mib=job.meter.mib(),
            gpu_util=job.meter.gpu_util(),
        )
    )


def forward(job: Job, inputs: Tensor, targets: Tensor, count: int) -> Tensor:
    """The summed loss over this rank's samples.

    A rank with share 0 still takes part in the all-reduce: its one borrowed sample weighs nothing. Statistics of a
    single sample mean nothing to BatchNorm, which then uses its running ones.
    """
    job.model.train(count > 1 or job.options.norm == "group")
    loss: Tensor = job.task.loss_sum(job.model(inputs), targets)
    return loss if count else loss * 0.0


def learning_rate(options: RunOptions, step: int, steps_total: int) -> float:
    """Of the step counted from 0. Cosine: from the full rate to 0 over the run (Loshchilov and Hutter 2017)."""
    if options.schedule == "constant":
        return options.learning_rate
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps_total))


def exchange(job: Job) -> None:
    """Every rank learns what the others measured; rank 0 decides on the shares; all follow."""
    rows = job.window.gather()
    proposed = job.shares
    if job.rank == 0:
        proposed = job.balancer.decide(job.step, rows, job.shares, last=job.step == job.steps_total)
        job.recorder.report(job, rows)
    if job.balancer.dynamic:
        job.shares = agree(proposed)


def end_epoch(job: Job, epochs_done: int, *, last: bool) -> None:
    """Evaluate and write a checkpoint where they are due; neither counts as time of a step."""
    began = time.perf_counter()
    options = job.options
    due_eval = last or (options.eval_every and epochs_done % options.eval_every == 0)
    due_checkpoint = options.checkpoint_every and epochs_done % options.checkpoint_every == 0
    if due_eval or due_checkpoint:
        batchnorm.combine(job.model.module, job.shares[job.rank] / sum(job.shares))
    if due_eval:
        accuracy, loss = evaluate(job)
        if job.rank == 0:
            job.recorder.evaluated(job, epochs_done, accuracy, loss, time.perf_counter() - began)
    if job.rank == 0:
        if due_checkpoint:
            job.recorder.checkpoint(job, f"epoch_{epochs_done}")
        if last:
            job.recorder.checkpoint(job, "final")
    job.step_end += time.perf_counter() - began


@torch.no_grad()
def evaluate(job: Job) -> tuple[float, float]:
    """(accuracy 0 to 1, mean loss) over the test data, of which each rank takes a part the size of its share."""
    job.model.eval()
    part = rank_slice(job.shares, job.rank, job.task.test_size)
    sums = torch.zeros(2, dtype=torch.float64)
    for start in range(part.start, part.stop, EVAL_BATCH):
        inputs, targets = job.task.test_batch(start, min(start + EVAL_BATCH, part.stop))
        targets = targets.to(job.device)
        outputs = job.model.module(inputs.to(job.device))
        sums[0] += float(job.task.correct(outputs, targets))
        sums[1] += float(job.task.loss_sum(outputs, targets))
    dist.all_reduce(sums)
    correct, loss = sums.tolist()
    return correct / job.task.test_size, loss / job.task.test_size
