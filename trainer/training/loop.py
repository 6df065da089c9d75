"""The training loop of one rank, from the first step to the last. `rank.task_rank` calls it inside a process group.

while steps are left:
    at the end of an epoch: evaluate, write a checkpoint
    take this rank's slice of the step's samples
    forward and backward (the gradients are averaged over all ranks as they get ready), clip, update
        or, with `local_steps`: forward, backward and update apart, and now and then the average of all ranks
    write one line of metrics
    write a checkpoint, where one is due within the epoch or was asked for
    every window: send figures to rank 0, which decides on the shares, and whether to let go of the group; all follow

A collective that breaks, because a rank or host was lost, raises. The step under way is not completed then: `abort`
drops its gradients, and the next group goes on from the newest completed step (`trainer.rank.job_setup.join`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motley.trainer.balance.measured_step import MeasuredStep, StepWork
from motley.trainer.contract.wire import RunState, Sample
from motley.trainer.data.batch import Batch
from motley.trainer.devices import accelerator
from motley.trainer.optimize import early_stop
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.optimize.optimizer import rate_factor
from motley.trainer.tasks.splitmix import key
from motley.trainer.tasks.task_loss import weight
from motley.trainer.training.epoch_end import end_epoch
from motley.trainer.training.job import Job, LoopState
from motley.trainer.training.profiler_trace import Tracer
from motley.trainer.training.rebalance_window import exchange
from motley.trainer.training.sampler import Place
from motley.trainer.training.step_checkpoint import checkpoint_if_due

RANDOM = 5  # the purpose of a key: what a model draws in a step (dropout)


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
        if early_stop.is_over(job.options, job.epoch_ends, job.best_epoch):
            if len(job.window) or job.window.on_its_way:
                exchange(job, last=True)
            return "finished"
        if job.stop.asked and job.rank == 0:
            stop(job)
            return "stopped"
        train_step(job, job.batches.place(job.step))
        checkpoint_if_due(job)
        last = job.step == job.steps_total
        together = not (job.apart and job.apart.steps)
        if (last or together) and exchange(job, last=last):
            return None
        if job.tracer is not None:
            trace(job, job.tracer, last=last)


def abort(job: Job) -> None:
    """After a collective broke. Parameters were not touched yet; `Kept.settle` sees to buffers and random numbers."""
    job.optimizer.zero_grad(set_to_none=True)
    go_back(job)


def go_back(job: Job) -> None:
    """To the last average: what a rank that trains apart has learned since is its own, and no completed step."""
    if job.apart is None:
        return
    with job.changing:
        job.step -= job.apart.rewind()
    job.window.forget(job.recorded - job.step)
    job.in_step, job.recorded = False, job.step


def train_step(job: Job, place: Place) -> None:
    """One optimizer step on this rank's slice of the step's samples, and its line of metrics."""
    began = time.perf_counter()
    job.budget.begin()
    job.slowdown.begin()
    ids = job.batches.ids(job.step, job.shares, job.rank)
    samples, part = len(ids), job.step_work(ids)
    # A rank with share 0 takes part with a borrowed sample that weighs nothing.
    ids = ids if samples else job.batches.borrowed(job.step)
    batch = job.data.train_batch(ids, place.epoch, then=job.samples_ahead())
    seed_step(job)  # after the samples, which draw random numbers of their own
    data_ms = (time.perf_counter() - began) * 1000

    factor = job.task.schedule(job.step, job.steps_total)
    factor = rate_factor(job.options, job.step, job.steps_total) if factor is None else factor
    for group, rate in zip(job.optimizer.param_groups, job.rates):
        group["lr"] = rate * factor
    job.optimizer.zero_grad(set_to_none=True)
    limit = job.passes.limit
    job.watch.start()
    if job.apart is None:
        loss_sum = step_together(job, batch, ids, samples, place)
    else:
        loss_sum = step_apart(job, job.apart, batch, ids, samples, place)

    compute_ms, wait_ms = job.watch.read()
    loss = float(loss_sum)
    # A step that was done again for lack of memory says nothing about the next one.
    busy_ms = max((time.perf_counter() - began - job.aside_s) * 1000 - wait_ms, job.budget.needs_ms())
    busy_ms = busy_ms if job.passes.limit == limit else math.nan
    threads = job.threads.count
    busy_ms = job.threads.measured(samples if part is None else part.share, busy_ms, part.work if part else None)
    times = Times(busy_ms=busy_ms, compute_ms=compute_ms, wait_ms=wait_ms, data_ms=data_ms, threads=threads)
    units = job.data.units.of(ids[:samples]) if job.data.units is not None else None
    record(job, place, samples, loss, times, part=part, units=units)
    if job.rank == 0 and samples:
        job.recorder.step_ended(job, loss / samples)


def seed_step(job: Job) -> None:
    """What the model draws in a step depends on the seed, the step and the member alone.

    Only the generators of this rank's devices: `torch.manual_seed` leaves a note with a traceback for every kind of
    accelerator that is not in use, at each call.
    """
    seed = key(job.options.seed, job.step, job.member, RANDOM)
    torch.default_generator.manual_seed(seed)
    for gpu in job.passes.gpus:
        accelerator.seed(gpu, seed)


def step_together(job: Job, batch: Batch, ids: Tensor, samples: int, place: Place) -> Tensor:
    """One update with the mean gradient of the whole step, the same on all ranks. `ids`: what the batch holds.

    Returns this rank's part of the loss: the parts of all ranks add up to the global mean times the step's samples.
    """
    job.counted.begin(batch if samples else None)
    job.in_step = True
    scale = job.loss_scale * job.world_size / place.size if samples else 0.0
    loss_sum = job.passes.run(batch, scale=scale, lengths=job.data.lengths_of(ids))
    job.watch.all_reduced()
    job.slowdown.begin()
    correction = job.counted.samples_over_count(place.size)
    if correction != 1:
        for parameter in job.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(correction)
    with job.changing:
        update(job)
    job.slowdown.pause()
    return loss_sum * correction if samples else torch.zeros(())


def step_apart(job: Job, apart: LocalSgd, batch: Batch, ids: Tensor, samples: int, place: Place) -> Tensor:
    """One update with the mean gradient of this rank's samples; the average of all ranks when it is due."""
    loss_sum, counted = torch.zeros(()), max(1, weight(job.task, batch.content, batch.size))
    if samples:
        scale, lengths = job.loss_scale / counted, job.data.lengths_of(ids)
        loss_sum = job.passes.run(batch, scale=scale, sync=False, lengths=lengths)
    due = apart.steps + 1 == job.options.local_steps or job.ends_epoch(place)
    with job.changing:
        apart.note(samples)
        update(job, samples)
    job.slowdown.pause()
    job.watch.last_gradient()
    if due:
        apart.average(job.changing)
    job.watch.all_reduced()
    return loss_sum * (samples / counted)


def update(job: Job, samples: int = 1) -> None:
    """Clip, then step, which completes it. The weights stay as they are when the loss scale was too large, and on a
    rank without samples of its own that trains apart."""
    job.aside_s = 0.0
    if samples and not unscaled(job):
        if job.scaler is not None and job.scaler.skipped:  # at the least scale there is, it is the training's fault
            job.skipped_steps.add(job.step + 1)
    elif samples:
        if job.rank == 0 and job.apart is None:
            job.aside_s = job.recorder.gradient(job) or 0.0
        if job.options.clip_norm is not None:
            nn.utils.clip_grad_norm_(job.model.parameters(), job.options.clip_norm)
        job.optimizer.step()
        if job.ema is not None and job.apart is None:
            job.ema.update()
    job.step += 1
    job.in_step, job.progress.step = False, job.step


def unscaled(job: Job) -> bool:
    """Take the loss scale off the gradients, where there is one. False: they are not finite."""
    if job.scaler is None or not job.precision.scales:
        return True
    return job.scaler.unscale(job.model.parameters())


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of one step, in milliseconds."""

    busy_ms: float  # all but waiting: what the shares are balanced on; NaN when that says nothing of the next steps
    compute_ms: float  # start of the forward pass to the last local gradient
    wait_ms: float  # from there to the end of the all-reduce
    data_ms: float
    threads: int  # that it was computed with; 0 on a GPU


def record(
    job: LoopState,
    place: Place,
    samples: int,
    loss: float,
    times: Times,
    *,
    part: StepWork | None = None,
    units: int | None = None,
) -> None:
    """Note the step that has ended for the others, and write its line. `part`: where shares are those of work; `units`:
    what the task counts besides samples, as far as these have it."""
    now = time.perf_counter()
    step_ms, job.step_end = (now - job.step_end) * 1000, now
    if job.resuming and job.last_end is not None:
        job.recorder.resumed(job, now - job.last_end)
    job.last_end, job.resuming, job.recorded = now, False, job.step
    device = job.meter.read()
    job.window.note(
        MeasuredStep(
            batch=samples, loss_sum=loss, busy_ms=times.busy_ms, step_ms=step_ms, threads=times.threads,
            gpu_util=math.nan if device.gpu_util is None else device.gpu_util, memory_full=device.full,
            part=part,
            units=math.nan if units is None else units,
        )
    )  # fmt: skip
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
            mem_mib=device.mib,
            gpu_util=device.gpu_util,
            cards=device.cards,
            step_batch=place.size,
            share=part.share if part is not None else None,
            gain=job.balancer.gain,
            saved_s=job.balancer.saved_s if job.balancer.gain is not None else None,
            unit=job.unit,
            units=units,
        )
    )


def stop(job: Job) -> None:
    """Rank 0's last words when it is asked to leave: the others are not waited for."""
    go_back(job)
    job.recorder.report_alone(job, job.window.rows)
    job.recorder.checkpoint(job, "stop")


def trace(job: Job, tracer: Tracer, *, last: bool) -> None:
    """Starting and writing a trace are no part of a step's time."""
    began = time.perf_counter()
    tracer.step_ended(job.step, last=last)
    job.step_end += time.perf_counter() - began
