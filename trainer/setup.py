"""From a spec to a `Job` ready to train: device, data, model, optimizer, process group, state to go on from.

`prepare` is done by every rank for itself, while others still import torch; `join` needs the group.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from profiles.cgroup import CpuQuota
from trainer import checkpoint, group, tasks
from trainer.balance import Balancer
from trainer.batches import Batches
from trainer.batchnorm import has_batchnorm
from trainer.budget import CpuBudget
from trainer.compress import check, wire_dtype
from trainer.errors import CheckpointError, TrainerError
from trainer.gradient import stopwatch, wrap
from trainer.journal import Journal
from trainer.local_sgd import LocalSgd
from trainer.loop import Job, StopFlag
from trainer.membership import Group, Membership
from trainer.metrics import DeviceMeter, MetricsFile
from trainer.recorder import Recorder
from trainer.spec import Member, RunOptions, Spec
from trainer.start import first_shares
from trainer.trace import Tracer
from trainer.transfer import share_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One rank before it joins. `listener` and `store` are rank 0's TCPStore, None on the others."""

    spec: Spec
    member: Member
    folder: Path
    journal: Journal
    device: torch.device
    backend: str
    task: tasks.Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    apart: LocalSgd | None
    step: int
    listener: socket.socket | None
    store: tuple[str, int] | None

    def describe(self) -> str:
        """What this rank trains with, for its log."""
        threads = torch.get_num_threads()
        on = f"{self.device}, {threads} thread{'s' * (threads != 1)}" if self.device.type == "cpu" else str(self.device)
        return f"{self.task.name} on {on}, {self.backend}, torch {torch.__version__}, pid {os.getpid()}"


def prepare(spec: Spec, member: Member, folder: Path, journal: Journal) -> Prepared:
    """Raises TrainerError, or ValueError for options that do not go together, with what to change."""
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
    first = member.member == 0
    apart = LocalSgd(options, model) if options.local_steps > 1 else None
    step = go_on(spec.resume, options, model, optimizer, journal, apart) if first and spec.resume else 0
    address = group.source_address(spec.leader_address)
    group.use_interface(address)
    listener = group.listen(address) if first else None
    return Prepared(
        spec=spec,
        member=member,
        folder=folder,
        journal=journal,
        device=device,
        backend=group.choose_backend(options.backend, [m.device for m in spec.members]),
        task=task,
        model=model,
        optimizer=optimizer,
        apart=apart,
        step=step,
        listener=listener,
        store=(address, int(listener.getsockname()[1])) if listener is not None else None,
    )


def join(prepared: Prepared, with_group: Group, line: Membership, stop: StopFlag) -> Job:
    """Form the process group, agree on the state to start from, wrap the model."""
    spec, options = prepared.spec, prepared.spec.options
    joined = time.monotonic()
    group.join(with_group, prepared.listener, backend=prepared.backend, timeout_s=options.step_timeout_s)
    step = share_state(prepared.model, prepared.optimizer, prepared.step)
    if prepared.apart is not None:
        prepared.apart.begin()
    dtype = wire_dtype(options.compress)
    check(dtype, prepared.device)
    watch = stopwatch(prepared.device)
    batches = Batches(count=prepared.task.train_size, global_batch=options.global_batch, seed=options.seed)
    shares = first_shares(spec)
    recorder = Recorder(prepared.folder, prepared.journal, line, joined=joined)
    job = Job(
        options=options,
        host=spec.host,
        member=prepared.member.member,
        rank=with_group.rank,
        world_size=with_group.world_size,
        generation=with_group.generation,
        device=prepared.device,
        task=prepared.task,
        model=wrap(prepared.model, prepared.device, watch, dtype=dtype),
        optimizer=prepared.optimizer,
        watch=watch,
        batches=batches,
        steps_total=options.steps or options.epochs * batches.steps_per_epoch,
        shares=shares,
        balancer=Balancer(spec.balance, spec.members, shares, prepared.journal),
        metrics=MetricsFile(prepared.folder, member=prepared.member.member),
        meter=DeviceMeter(prepared.device),
        budget=CpuBudget(CpuQuota(), len(spec.local_members)),
        recorder=recorder,
        stop=stop,
        apart=prepared.apart,
        tracer=make_tracer(prepared),
        step=step,
    )
    job.passes.limit = prepared.member.pass_limit
    if step >= job.steps_total:
        raise TrainerError(
            f"the checkpoint is at step {step}, and the run ends at step {job.steps_total}",
            "Raise run.epochs or run.steps to go on",
        )
    if with_group.rank == 0:
        recorder.began(job)
        if has_batchnorm(prepared.model) and with_group.world_size > 1:
            text = "BatchNorm sees each rank's samples alone, so the split matters a little; norm = 'group' is exact"
            prepared.journal.write("note", text, "warning")
        if prepared.apart is not None:
            text = (
                f"local_steps = {options.local_steps}: ranks train apart for so many steps at a time, so the loss is "
                "not that of one machine, and it depends on the hosts and their shares"
            )
            prepared.journal.write("note", text, "warning")
    return job


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


def go_on(
    folder: str,
    options: RunOptions,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    journal: Journal,
    apart: LocalSgd | None = None,
) -> int:
    """Load the newest whole checkpoint under `folder`; damaged ones are said and passed over. Returns its step."""

    def skipped(error: CheckpointError) -> None:
        journal.write("note", f"checkpoint left out: {error}", "warning")

    for path in checkpoint.newest(Path(folder).expanduser(), skipped):
        state = checkpoint.load(path)
        _check(state, options, path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if apart is not None and "outer" in state:
            apart.load(state["outer"])
        journal.write("note", f"going on from {path.name} at step {state['step']}")
        return int(state["step"])
    raise TrainerError(f"no checkpoint to go on from in {folder}", "Start anew, without --resume")


def _check(state: dict[str, Any], options: RunOptions, path: Path) -> None:
    """A resumed run sees the samples that the old one would have seen only if these are the same."""
    for key in ("task", "global_batch", "seed", "norm"):
        if key in state and state[key] != getattr(options, key):
            raise TrainerError(
                f"{path.name} was made with run.{key} = {state[key]!r}, now it is {getattr(options, key)!r}",
                "Set it back, or start anew",
            )
