"""From a spec to a `Job` ready to train: device, data, model, optimizer, process group, state to go on from.

`prepare` is done by every rank for itself, while others still import torch; `join` needs the group, and is done again
for every generation: the state comes from a rank that has the newest, tensor by tensor, and nobody reads a checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from motley.profiles.cgroup import CpuQuota
from motley.trainer import tasks
from motley.trainer.balance.cpu_budget import CpuBudget
from motley.trainer.balance.own_policy import Policy, load_policy
from motley.trainer.balance.thread_trial import ThreadTrial
from motley.trainer.contract.backend import choose_backend
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.data.loading import Loading
from motley.trainer.data.task_data import TaskData
from motley.trainer.devices import accelerator
from motley.trainer.host.journal import Journal
from motley.trainer.optimize import early_stop
from motley.trainer.optimize.device import use_devices
from motley.trainer.optimize.gradient_compression import check, wire_dtype
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.optimize.loss_scaler import LossScaler
from motley.trainer.optimize.model_options import set_up
from motley.trainer.optimize.optimizer import make_optimizer
from motley.trainer.optimize.train_state import TrainState
from motley.trainer.optimize.weight_average import WeightAverage
from motley.trainer.rank import network_interface, process_group
from motley.trainer.rank.announce_run import agree_on_precision, began
from motley.trainer.rank.compile_ahead import compile_ahead
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.cpu_threads import threads_of
from motley.trainer.rank.group_shares import share_out
from motley.trainer.rank.kept_state import BEFORE, UNBEGUN, KeptState
from motley.trainer.rank.restore_state import go_on, leave, take_up
from motley.trainer.rank.share_state import share_state
from motley.trainer.tasks.task import Task, class_names
from motley.trainer.tasks.task_module import new_model, own_optimizer, placed
from motley.trainer.training.emulated_speed import Slowdown, slowdown_of
from motley.trainer.training.job import Job, StopFlag, state_of
from motley.trainer.training.metrics import DeviceMeter, MetricsFile
from motley.trainer.training.profiler_trace import Tracer
from motley.trainer.training.recorder import Recorder
from motley.trainer.training.sampler import BatchSampler
from motley.trainer.training.weighted_ddp import stopwatch, wrap
from motley.trainer.training.window_exchange import Window, agree_on_epochs

CHANGING_S = 30.0  # for a step's update, or another rank's state, to be put in place


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedJob:
    """One rank before it joins its first group: what stays as long as its process."""

    spec: Spec
    member: Member
    folder: Path
    journal: Journal
    device: torch.device
    task: Task
    data: TaskData
    rates: tuple[float, ...]  # learning rates of the optimizer's groups, before the schedule
    model: nn.Module
    optimizer: torch.optim.Optimizer
    apart: LocalSgd | None
    ema: WeightAverage | None
    scaler: LossScaler | None
    local: LocalWeights
    metrics: MetricsFile
    meter: DeviceMeter
    recorder: Recorder
    batches: BatchSampler
    address: str  # of this host in the cluster
    kept: KeptState
    threads: ThreadTrial
    policy: Policy | None = None  # of the user's own

    @property
    def state(self) -> TrainState:
        return TrainState(
            model=self.model, optimizer=self.optimizer, apart=self.apart, ema=self.ema, scaler=self.scaler,
            local=self.local,
        )  # fmt: skip

    def save(self) -> None:
        """Put the state on this host's disk, between two groups: nobody may come to go on with it."""
        kept = self.kept
        if kept.step <= 0:
            return
        with kept.undo.undone() if kept.undo is not None else contextlib.nullcontext():
            state = state_of(self.spec.options, self.batches, kept.step, self.state)
            self.recorder.save("held", kept.step, state, keep=self.spec.options.keep_checkpoints)

    def leave_behind(self, job: Job | None) -> None:
        """From another thread, while the main one hangs in the step after `job.step`, or between two groups: keep the
        state for a new process.

        Raises OSError or RuntimeError when it can't be written. While the state is being changed nothing is kept:
        others have it. The process must end then: the state can't be changed any more.
        """
        kept = self.kept
        if not kept.changing.acquire(timeout=CHANGING_S):
            return
        if job is not None:
            kept.keep(job)
            if self.apart is not None:
                kept.step -= self.apart.rewind()
        if kept.step >= 0:
            if kept.undo is not None:
                kept.undo.redo()
            state = state_of(self.spec.options, self.batches, kept.step, self.state)
            leave(self.folder, self.member.member, kept, state)

    def describe(self) -> str:
        """What this rank trains with, for its log."""
        threads = torch.get_num_threads()
        on = self.member.device + (f", {threads} thread{'s' * (threads != 1)}" if self.device.type == "cpu" else "")
        return f"{self.task.name} on {on}, {self.kept.backend}, torch {torch.__version__}, pid {os.getpid()}"


def prepare(
    spec: Spec, member: Member, folder: Path, journal: Journal, line: CoordinatorClient, *, anew: bool
) -> PreparedJob:
    """`anew`: the run goes on already, and its state comes from another rank.

    Raises TrainerError, or ValueError for options that do not go together, with what to change.
    """
    options = spec.options
    device, *beside = use_devices(member.device)
    threads = threads_of(spec, member, device, folder, journal)

    def note(text: str, fraction: float | None) -> None:
        journal.write("note", f"rank {member.member}: {text}", member=member.member, fraction=fraction)
        line.phase("loading data")  # whoever waits for this rank hears that it gets on

    task = tasks.load(options, spec.data, note, spec.own_task, device=device, beside=beside)
    policy = load_policy(spec.own_policy, spec.balance.policy) if spec.own_policy is not None else None
    data = TaskData.of(task, seed=options.seed, loading=Loading.of(spec, device, note))
    early_stop.check(options, data.test_size)
    torch.manual_seed(options.seed)  # all begin alike: whoever is lost before the first step takes nothing along
    model = placed(task, new_model(task), (device, *beside))
    torch.manual_seed(options.seed + member.member)
    local = LocalWeights.of(task, model)
    optimizer = own_optimizer(task, model) or make_optimizer(options, model)
    rates = tuple(float(group["lr"]) for group in optimizer.param_groups)
    ema, compilation = set_up(options, model)
    apart = LocalSgd(options, model, ema) if options.local_steps > 1 else None
    scaler = LossScaler() if options.precision != "fp32" else None
    state = TrainState(model=model, optimizer=optimizer, apart=apart, ema=ema, scaler=scaler, local=local)
    ranks = len(spec.members)
    compile_ahead(compilation, options, task, data, model, lambda text: note(text, None), ranks=ranks)
    metrics = MetricsFile(folder, member=member.member)
    limit = member.pass_limit  # samples; where they differ in length, of the longest
    limit = limit * data.longest if limit is not None and data.longest is not None else limit
    left = take_up(folder, member.member, state, device) if anew else None
    kept = left or KeptState(step=-1 if anew or spec.resume else 0)
    kept.pass_limit = limit
    begins = metrics.next_seq == 0 or (spec.term > FIRST and not anew)  # not a step was made yet, or it would be lost
    if member.member == 0 and spec.resume and begins:
        kept.step, kept.best, kept.best_epoch = go_on(spec, state, journal, class_names(task))
    network_interface.use_interface(line.address)
    kept.backend = choose_backend(options.backend, spec.members, built_with=accelerator.libraries())
    return PreparedJob(
        spec=spec,
        member=member,
        folder=folder,
        journal=journal,
        device=device,
        task=task,
        data=data,
        model=model,
        optimizer=optimizer,
        rates=rates,
        apart=apart,
        ema=ema,
        scaler=scaler,
        local=local,
        metrics=metrics,
        meter=DeviceMeter(device, *beside),
        recorder=Recorder(folder, journal, line, spec),
        batches=BatchSampler(
            count=data.train_size,
            global_batch=options.global_batch,
            seed=options.seed,
            work=data.work,
            lengths=data.lengths,
        ),
        address=line.address,
        kept=kept,
        threads=threads,
        policy=policy,
    )


def join(
    prepared: PreparedJob, with_group: Group, listener: socket.socket, line: CoordinatorClient, stop: StopFlag
) -> Job:
    """Form the process group, take the newest state, agree on the shares, wrap the model."""
    spec, options, kept = prepared.spec, prepared.spec.options, prepared.kept
    kept.term, kept.leader, kept.generation = with_group.term, with_group.leader, with_group.generation
    if with_group.stale:
        kept.discard()
    rank = with_group.rank
    known = {m.member: m for m in with_group.roll.members(spec.members)}
    kept.backend = choose_backend(options.backend, tuple(known.values()), built_with=accelerator.libraries())
    prepared.recorder.joining(with_group.term.named)
    process_group.join(with_group, listener, backend=kept.backend, timeout_s=options.step_timeout_s)
    kept.precision = agree_on_precision(
        options.precision, prepared.device, kept.precision, prepared.journal if rank == 0 else None,
        step=with_group.step,
    )  # fmt: skip
    batches = prepared.batches
    if kept.step < with_group.step - 1:  # the others went on without it: its own pause is not the run's
        kept.last_end = None
    epoch_ends, best, best_epoch = agree_on_epochs(kept.epoch_ends, kept.best, kept.best_epoch)
    begins = epoch_ends == UNBEGUN  # as the first group, or after one that broke while it was formed
    if begins:
        prepared.data.check_for(with_group.world_size)
        check(wire_dtype(options.compress), prepared.device)
    own_buffers = not begins and kept.settle(with_group.step, epoch_ends)
    incoming = share_state(
        prepared.model,
        prepared.optimizer,
        kept.step,
        source=with_group.source,
        own_buffers=own_buffers,
        more=prepared.state.tensors(),
        in_place=kept.step < 0,
        local=prepared.local,
    )
    kept.take(incoming, epoch_ends=epoch_ends, best=best, best_epoch=best_epoch)
    if prepared.apart is not None:
        prepared.apart.begin()
    balancer, shares = share_out(
        spec, with_group, known, kept, prepared.journal, own=prepared.policy, apart=prepared.apart is not None
    )
    member = prepared.member
    job = Job(
        options=options,
        host=spec.host,
        member=member.member,
        rank=rank,
        members=with_group.members,
        generation=with_group.generation,
        device=prepared.device,
        task=prepared.task,
        data=prepared.data,
        model=wrap(prepared.task, prepared.model, prepared.device, dtype=wire_dtype(options.compress)),
        optimizer=prepared.optimizer,
        rates=prepared.rates,
        watch=stopwatch(prepared.device),
        slowdown=slowed(member, known.values(), prepared.device),
        batches=batches,
        steps_total=options.steps or options.epochs * batches.steps_per_epoch,
        shares=shares,
        balancer=balancer,
        metrics=prepared.metrics,
        meter=prepared.meter,
        budget=CpuBudget(CpuQuota(), len(spec.local_members)),
        recorder=prepared.recorder,
        schedule=prepared.recorder.schedule,
        stop=stop,
        threads=prepared.threads,
        apart=prepared.apart,
        precision=kept.precision,
        ema=prepared.ema,
        local=prepared.local,
        scaler=prepared.scaler,
        tracer=make_tracer(prepared) if begins else None,
        step=kept.step,
        epoch_ends=kept.epoch_ends,
        best=kept.best,
        best_epoch=kept.best_epoch,
        progress=line,
        last_end=kept.last_end,
        resuming=with_group.generation > 0,
        changing=kept.changing,
        window=Window(() if rank == 0 else kept.rows),
    )
    job.passes.limit = kept.pass_limit
    if member.max_batch is not None and balancer.caps[rank] != member.max_batch:  # it may be given more
        at_once = member.max_batch * (prepared.data.longest or 1)
        job.passes.limit = min(kept.pass_limit or at_once, at_once)
    if begins:
        job.epoch_ends = job.epoch_ends_due() if job.step else BEFORE
        began(job, prepared.journal, prepared.spec.members)
    elif rank == 0:
        prepared.recorder.report_alone(job, kept.rows)
    return job


def slowed(member: Member, members: Iterable[Member], device: torch.device) -> Slowdown:
    """As slow as the member is to be. `members`: all of the run, those of demo hosts on one machine."""
    return slowdown_of(member.speed, sum(m.speed or 0.0 for m in members if m.device == member.device), device)


def make_tracer(prepared: PreparedJob) -> Tracer | None:
    steps = prepared.spec.options.trace_steps
    if not steps:
        return None
    member, device = prepared.member.member, prepared.device
    return Tracer(prepared.folder, prepared.journal, member=member, steps=steps, device=device)
