"""From a spec to a `Job` ready to train: device, data, model, optimizer, process group, state to go on from.

`prepare` is done by every rank for itself, while others still import torch; `join` needs the group, and is done again
for every generation: the state comes from a rank that has the newest, tensor by tensor, and nobody reads a checkpoint.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from profiles.cgroup import CpuQuota
from profiles.cost import CostModel
from profiles.split import equal_split
from trainer import group, interface, tasks
from trainer.balance import Balancer
from trainer.batches import Batches
from trainer.batchnorm import has_batchnorm
from trainer.budget import CpuBudget
from trainer.compress import check, wire_dtype
from trainer.errors import TrainerError
from trainer.exchange import Row, agree, agree_on_epochs
from trainer.gradient import stopwatch, wrap
from trainer.journal import Journal
from trainer.local_sgd import LocalSgd
from trainer.loop import Job, StopFlag
from trainer.membership import Group, Membership
from trainer.metrics import DeviceMeter, MetricsFile
from trainer.recorder import Recorder, state_of
from trainer.restore import Left, go_on, leave, take_up
from trainer.spec import Member, RunOptions, Spec
from trainer.start import first_shares, next_shares, prior
from trainer.trace import Tracer
from trainer.transfer import share_state
from trainer.undo import Undo


@dataclass(slots=True, kw_only=True)
class Kept:
    """What a rank takes from one group to the next."""

    step: int  # completed; -1: no state yet, another rank has it
    term: int = -1  # of the last group
    generation: int = -1
    epoch_ends: int = 0
    best: float = 0.0
    last_end: float | None = None
    backend: str = ""  # of the last group
    pass_limit: int | None = None
    rows: tuple[Row, ...] = ()  # of steps that nobody was told of
    balancer: Balancer | None = None
    undo: Undo | None = None  # of a step, or an epoch's end, that was begun and not completed
    ending_epoch: bool = False  # it is an epoch's end
    receiving: bool = False  # another rank's state takes the place of this one's, and is not all here yet

    def keep(self, job: Job) -> None:
        """After the group of `job` broke, or was let go of. Keeps nothing that holds on to the group."""
        self.undo = job.passes.undo if job.in_step or job.ending_epoch else None
        self.ending_epoch = job.ending_epoch
        self.step, self.epoch_ends, self.best, self.last_end = job.step, job.epoch_ends, job.best, job.last_end
        self.pass_limit, self.rows, self.balancer = job.passes.limit, job.window.rows, job.balancer

    def settle(self, newest: int, epoch_ends: int) -> bool:
        """Before the state of `newest` completed steps is taken: returns whether this rank's buffers stay its own.

        A step, or an epoch's end, that nobody completed is tried again, as if it had not begun. When another rank
        completed it, ours has gone through all of it but the last: what it did to buffers and random numbers holds.
        `epoch_ends` of them are done.
        """
        done = self.ending_epoch and self.epoch_ends < epoch_ends
        if self.undo is not None and self.step == newest and not done:
            self.undo.restore()
        self.undo, self.epoch_ends = None, epoch_ends
        return 0 <= newest - 1 <= self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One rank before it joins its first group: what stays as long as its process."""

    spec: Spec
    member: Member
    folder: Path
    journal: Journal
    device: torch.device
    task: tasks.Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    apart: LocalSgd | None
    metrics: MetricsFile
    meter: DeviceMeter
    recorder: Recorder
    batches: Batches
    address: str  # of this host in the cluster
    kept: Kept

    def save(self) -> None:
        """Put the state on this host's disk, between two groups: nobody may come to go on with it."""
        if self.kept.step > 0:
            if self.kept.undo is not None:
                self.kept.undo.restore()
            state = state_of(self.spec.options, self.batches, self.kept.step, self.model, self.optimizer, self.apart)
            self.recorder.save("held", self.kept.step, state, keep=self.spec.options.keep_checkpoints)

    def leave_behind(self, job: Job | None) -> None:
        """From another thread, while the main one hangs in the step after `job.step`, or between two groups: keep the
        state for a new process.

        Raises OSError or RuntimeError when it can't be written. With local SGD, or while another rank's state was
        coming in, nothing is kept: others have it.
        """
        kept = self.kept
        if job is not None and (job.in_step or job.ending_epoch):
            job.passes.undo.restore()
        elif job is None and kept.undo is not None:
            kept.undo.restore()
        step = kept.step if job is None else job.step
        if self.apart is not None or kept.receiving or step < 0:
            return
        state = state_of(self.spec.options, self.batches, step, self.model, self.optimizer, self.apart)
        of = kept if job is None else job
        left = Left(step=step, term=kept.term, generation=kept.generation, epoch_ends=of.epoch_ends, best=of.best)
        leave(self.folder, self.member.member, left, state)

    def describe(self) -> str:
        """What this rank trains with, for its log."""
        threads = torch.get_num_threads()
        on = f"{self.device}, {threads} thread{'s' * (threads != 1)}" if self.device.type == "cpu" else str(self.device)
        return f"{self.task.name} on {on}, {self.kept.backend}, torch {torch.__version__}, pid {os.getpid()}"


def prepare(spec: Spec, member: Member, folder: Path, journal: Journal, line: Membership, *, anew: bool) -> Prepared:
    """`anew`: the run goes on already, and its state comes from another rank.

    Raises TrainerError, or ValueError for options that do not go together, with what to change.
    """
    options = spec.options
    device = torch.device(member.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(options.threads or int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(options.seed + member.member)

    def note(text: str, fraction: float | None) -> None:
        journal.write("note", f"rank {member.member}: {text}", member=member.member, fraction=fraction)

    task = tasks.load(options, spec.data, note)
    model = task.model().to(device)
    optimizer = make_optimizer(options, model)
    apart = LocalSgd(options, model) if options.local_steps > 1 else None
    step = -1 if anew else 0
    if member.member == 0 and spec.resume and not anew:
        step = go_on(spec.resume, options, model, optimizer, journal, apart)
    kept = Kept(step=step, pass_limit=member.pass_limit)
    if anew and (left := take_up(folder, member.member, model, optimizer)) is not None:
        kept.step, kept.term, kept.generation = left.step, left.term, left.generation
        kept.epoch_ends, kept.best = left.epoch_ends, left.best
    address = line.address
    interface.use_interface(address)
    kept.backend = group.choose_backend(options.backend, [m.device for m in spec.members])
    return Prepared(
        spec=spec,
        member=member,
        folder=folder,
        journal=journal,
        device=device,
        task=task,
        model=model,
        optimizer=optimizer,
        apart=apart,
        metrics=MetricsFile(folder, member=member.member),
        meter=DeviceMeter(device),
        recorder=Recorder(folder, journal, line),
        batches=Batches(count=task.train_size, global_batch=options.global_batch, seed=options.seed),
        address=address,
        kept=kept,
    )


def join(prepared: Prepared, with_group: Group, listener: socket.socket, line: Membership, stop: StopFlag) -> Job:
    """Form the process group, take the newest state, agree on the shares, wrap the model."""
    spec, options, kept = prepared.spec, prepared.spec.options, prepared.kept
    kept.term, kept.generation = with_group.term, with_group.generation
    if with_group.stale:
        kept.step, kept.undo, kept.epoch_ends, kept.best = -1, None, 0, 0.0
    first, rank = with_group.generation == 0, with_group.rank
    known = {m.member: m for m in with_group.roll.members(spec.members)}
    kept.backend = group.choose_backend(options.backend, [m.device for m in known.values()])
    prepared.recorder.joining()
    group.join(with_group, listener, backend=kept.backend, timeout_s=options.step_timeout_s)
    if first:
        check(wire_dtype(options.compress), prepared.device)
    batches = prepared.batches
    own_step = kept.step
    if own_step < with_group.step - 1:  # the others went on without it: its own pause is not the run's
        kept.last_end = None
    epoch_ends, kept.best = agree_on_epochs(kept.epoch_ends, kept.best)
    own_buffers = not first and kept.settle(with_group.step, epoch_ends)
    kept.receiving = True
    kept.step = share_state(
        prepared.model, prepared.optimizer, kept.step, source=with_group.source, own_buffers=own_buffers
    )
    kept.receiving = False
    if prepared.apart is not None:
        prepared.apart.begin(with_group.source)
    members = [known[m] for m in with_group.members]
    as_planned = first and len(members) == len(spec.members)  # nobody was taken out before the first step
    shares = first_shares(spec) if as_planned else equal_split(options.global_batch, len(members))
    models: list[CostModel] = []
    changes = 0
    if rank == 0 and not as_planned:
        fits = kept.balancer.fits() if kept.balancer and kept.balancer.leads else with_group.fits
        models = models_of(fits, members, shares)
        changes = int(fits.get("changes", 0))
        shares = next_shares(spec, members, models)
    shares = agree(shares)
    watch = stopwatch(prepared.device)
    job = Job(
        options=options,
        host=spec.host,
        member=prepared.member.member,
        rank=rank,
        members=with_group.members,
        generation=with_group.generation,
        device=prepared.device,
        task=prepared.task,
        model=wrap(prepared.model, prepared.device, dtype=wire_dtype(options.compress)),
        optimizer=prepared.optimizer,
        watch=watch,
        batches=batches,
        steps_total=options.steps or options.epochs * batches.steps_per_epoch,
        shares=shares,
        balancer=Balancer(
            spec.balance, members, shares, prepared.journal, models=models, changes=changes, leads=rank == 0
        ),
        metrics=prepared.metrics,
        meter=prepared.meter,
        budget=CpuBudget(CpuQuota(), len(spec.local_members)),
        recorder=prepared.recorder,
        stop=stop,
        apart=prepared.apart,
        tracer=make_tracer(prepared) if first else None,
        step=kept.step,
        epoch_ends=kept.epoch_ends,
        best=kept.best,
        progress=line,
        last_end=kept.last_end,
        resuming=not first,
    )
    job.passes.limit = kept.pass_limit
    if first:
        job.epoch_ends = job.epoch_ends_due()
        began(prepared, job)
    elif rank == 0:
        missed = [Row(batch=0, loss_sum=0.0, busy_ms=math.nan, step_ms=0.0)] * (kept.step - max(own_step, 0))
        prepared.recorder.report_alone(job, [*kept.rows, *missed])
    return job


def models_of(fits: Mapping[str, Any], members: Sequence[Member], shares: Sequence[int]) -> list[CostModel]:
    """What the balancer before this one knew of the members, in rank order; of others, what their profiles say."""
    models = fits.get("models", {})
    return [
        CostModel.from_dict(models[str(m.member)]) if str(m.member) in models else prior(m, share)
        for m, share in zip(members, shares)
    ]


def began(prepared: Prepared, job: Job) -> None:
    """What the run's first group is about to do, said by rank 0.

    Raises TrainerError when there is nothing to do.
    """
    options = job.options
    if job.step >= job.steps_total:
        raise TrainerError(
            f"the checkpoint is at step {job.step}, and the run ends at step {job.steps_total}",
            "Raise run.epochs or run.steps to go on",
        )
    if job.rank == 0:
        prepared.recorder.began(job)
        if has_batchnorm(prepared.model) and job.world_size > 1:
            text = "BatchNorm sees each rank's samples alone, so the split matters a little; norm = 'group' is exact"
            prepared.journal.write("note", text, "warning")
        if options.dropout and job.world_size > 1:
            text = "what dropout leaves out of a sample depends on its rank, so the split matters a little"
            prepared.journal.write("note", text, "warning")
        if prepared.apart is not None:
            text = (
                f"local_steps = {options.local_steps}: ranks train apart for so many steps at a time, so the loss is "
                "not that of one machine, and it depends on the hosts and their shares"
            )
            prepared.journal.write("note", text, "warning")


def make_tracer(prepared: Prepared) -> Tracer | None:
    steps = prepared.spec.options.trace_steps
    if not steps:
        return None
    member, device = prepared.member.member, prepared.device
    return Tracer(prepared.folder, prepared.journal, member=member, steps=steps, device=device)


def make_optimizer(options: RunOptions, model: nn.Module) -> torch.optim.Optimizer:
    rate, decay = options.learning_rate, options.weight_decay
    if options.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=options.momentum, weight_decay=decay, fused=True)
