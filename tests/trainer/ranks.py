"""Real ranks for tests: processes with a gloo group on loopback, and a job of the training loop in each.

>>> run_ranks(2, work, {"shares": (96, 32)})     # work(rank, world_size, {...}) in every rank; their results
"""

from __future__ import annotations

import copy
import functools
import multiprocessing
import os
import socket
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from motley.profiles.cgroup import CpuQuota
from motley.trainer import tasks
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.cpu_budget import CpuBudget
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import BalanceOptions, DataOptions, Member, RunOptions
from motley.trainer.data.loading import Loading
from motley.trainer.data.task_data import TaskData
from motley.trainer.host.journal import Journal
from motley.trainer.optimize.gradient_compression import wire_dtype
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.optimize.loss_scaler import LossScaler
from motley.trainer.optimize.model_options import set_up
from motley.trainer.optimize.optimizer import make_optimizer
from motley.trainer.optimize.precision import abilities, agreed
from motley.trainer.rank import network_interface, process_group
from motley.trainer.rank.job_setup import PreparedJob
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.rank.share_state import share_state
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_module import placed
from motley.trainer.training.job import Job, StopFlag
from motley.trainer.training.metrics import DeviceMeter, MetricsFile
from motley.trainer.training.sampler import BatchSampler
from motley.trainer.training.weighted_ddp import stopwatch, wrap

BOUND_S = 120.0


@functools.cache
def with_torch() -> ForkServerContext:
    """Where processes come from that have imported what a rank needs. All have the environment of the first of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trainer.imported"])
    return context


class Work(Protocol):
    def __call__(self, rank: int, world_size: int, given: dict[str, Any], /) -> Any: ...


def run_ranks(world_size: int, work: Work, given: dict[str, Any], bound_s: float = BOUND_S) -> list[Any]:
    """Call `work` in so many new processes that form one group; their results in the order of the ranks.

    `bound_s`: for the answer of each; half of it, for a rank that another waits for.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        context = with_torch()
        ends = [context.Pipe() for _ in range(world_size)]
        processes = []
        for rank, (_, theirs) in enumerate(ends):
            store = listener if rank == 0 else None
            environ, address = dict(os.environ), listener.getsockname()
            arguments = (rank, world_size, store, address, theirs, work, given, environ, bound_s / 2)
            processes.append(context.Process(target=_rank, args=arguments, daemon=True))
        for process in processes:
            process.start()
        try:
            return [_result(ours, rank, bound_s) for rank, (ours, _) in enumerate(ends)]
        finally:
            for process in processes:
                process.join(10)
                process.kill()


def _result(ours: Connection, rank: int, bound_s: float) -> Any:
    assert ours.poll(bound_s), f"rank {rank} did not answer in {bound_s:.0f} s"
    good, value = ours.recv()
    assert good, f"rank {rank}:\n{value}"
    return value


def _rank(
    rank: int,
    world_size: int,
    store: socket.socket | None,
    address: tuple[str, int],
    answer: Connection,
    work: Work,
    given: dict[str, Any],
    environ: dict[str, str],
    timeout_s: float,
) -> None:
    os.environ.update(environ)
    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # it may have workers
    try:
        torch.set_num_threads(1)
        network_interface.use_interface("127.0.0.1")
        generation = Group(generation=0, rank=rank, members=tuple(range(world_size)), store=address)
        process_group.join(generation, store, backend="gloo", timeout_s=timeout_s)
        answer.send((True, work(rank, world_size, given)))
        dist.barrier()
    except BaseException:
        answer.send((False, traceback.format_exc()))
        raise
    finally:
        dist.destroy_process_group()


def doubled(task: Task) -> Task:
    """The same in float64, so that rounding does not hide or excuse a difference."""

    class Doubled(type(task)):  # type: ignore[misc]
        def model(self) -> nn.Module:
            model: nn.Module = super().model()
            return model.double()

        def prepare(self, batch: Any) -> Any:
            inputs, targets = super().prepare(batch)
            return inputs.double(), targets

    other = copy.copy(task)
    other.__class__ = Doubled
    return other


class SilentRecorder:
    """Takes the place of rank 0's recorder where there is no coordinator: what it is told is kept."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def hear(*arguments: object, **_: object) -> bool:
            self.told.append((name, *arguments[1:]))
            return name == "checkpoint"  # it is written

        return hear


def make_job(
    rank: int,
    world_size: int,
    options: RunOptions,
    shares: tuple[int, ...],
    *,
    double: bool,
    task: Any = None,
    devices: tuple[str, ...] | None = None,
    beside: tuple[torch.device, ...] = (),
    workers: int = 0,
) -> Job:
    """A job as `trainer.rank.job_setup` makes it, without a coordinator, in a folder of its own.

    `task`: of the test's own.

    `devices`: of each rank, by default all on the CPU. `beside`: further ones of this rank.
    """
    folder = Path(tempfile.mkdtemp())
    task = task or tasks.load(options, DataOptions(), lambda *_: None)
    devices = devices or ("cpu",) * world_size
    device = torch.device(devices[rank])
    task = doubled(task) if double else task
    data = TaskData.of(task, seed=options.seed, loading=Loading(workers=workers))
    model = placed(task, task.model(), (device, *beside))
    optimizer = task.optimizer(model) or make_optimizer(options, model)
    local = LocalWeights.of(task, model)
    share_state(model, optimizer, 0, local=local).put()
    precision = agreed(options.precision, abilities(device))
    ema, _compilation = set_up(options, model)
    apart = LocalSgd(options, model, ema) if options.local_steps > 1 else None
    if apart is not None:
        apart.begin()
    watch = stopwatch(device)
    journal = Journal(folder, host=f"host{rank}", source=f"rank {rank}")
    batches = BatchSampler(
        count=data.train_size, global_batch=options.global_batch, seed=options.seed, work=data.work,
        lengths=data.lengths,
    )  # fmt: skip
    members = [Member(member=i, host=f"host{i}", local_rank=0, device=d) for i, d in enumerate(devices)]
    recorder: Any = SilentRecorder()
    return Job(
        options=options,
        host=f"host{rank}",
        member=rank,
        rank=rank,
        members=tuple(range(world_size)),
        device=device,
        task=task,
        data=data,
        model=wrap(task, model, device, dtype=wire_dtype(options.compress)),
        optimizer=optimizer,
        rates=tuple(group["lr"] for group in optimizer.param_groups),
        watch=watch,
        batches=batches,
        steps_total=options.steps or options.epochs * batches.steps_per_epoch,
        shares=shares,
        balancer=Balancer(BalanceOptions(policy="static"), members, shares, journal),
        metrics=MetricsFile(folder, member=rank),
        meter=DeviceMeter(device),
        budget=CpuBudget(CpuQuota(), 1),
        recorder=recorder,
        stop=StopFlag(),
        apart=apart,
        ema=ema,
        local=local,
        precision=precision,
        scaler=LossScaler() if options.precision != "fp32" else None,
    )


def prepared_of(job: Job, folder: Path) -> PreparedJob:
    """What a rank has besides the job, as far as it takes to leave its state behind in `folder`."""
    spec: Any = SimpleNamespace(options=job.options)
    member: Any = SimpleNamespace(member=job.member)
    kept = KeptState(step=0, changing=job.changing)
    rest: Any = dict.fromkeys(("journal", "metrics", "meter", "recorder", "address", "ema", "scaler"))
    return PreparedJob(
        spec=spec, member=member, folder=folder, device=job.device, task=job.task, model=job.task_model,
        optimizer=job.optimizer, data=job.data, rates=job.rates, apart=job.apart, batches=job.batches, kept=kept,
        threads=job.threads, local=job.local, **rest,
    )  # fmt: skip
