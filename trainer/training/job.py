"""Everything that one rank trains with, and what it tells the world through. No decision is made here."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.cpu_budget import CpuBudget
from motley.trainer.balance.measured_step import MeasuredStep, StepWork
from motley.trainer.balance.thread_trial import ThreadTrial
from motley.trainer.contract.spec import RunOptions
from motley.trainer.data.task_data import TaskData
from motley.trainer.health.checkpoint_schedule import CheckpointSchedule
from motley.trainer.host.rank_progress import Progress, Unheard
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.optimize.local_weights import NONE, LocalWeights
from motley.trainer.optimize.loss_scaler import LossScaler
from motley.trainer.optimize.precision import FULL, Precision
from motley.trainer.optimize.train_state import TrainState
from motley.trainer.optimize.weight_average import WeightAverage
from motley.trainer.tasks.evaluation import Evaluation
from motley.trainer.tasks.task import Task, kept_metadata
from motley.trainer.tasks.task_module import TaskModule
from motley.trainer.training.emulated_speed import Slowdown
from motley.trainer.training.loss_denominator import LossDenominator
from motley.trainer.training.metrics import DeviceMeter, MetricsFile
from motley.trainer.training.micro_batches import MicroBatches
from motley.trainer.training.profiler_trace import Tracer
from motley.trainer.training.sampler import BatchSampler, Place
from motley.trainer.training.weighted_ddp import Stopwatch
from motley.trainer.training.window_exchange import Window


class Reports(Protocol):
    """What a rank tells the world: `trainer.training.recorder` writes it into files and to the coordinator."""

    def began(self, job: LoopState) -> None: ...

    def report(self, job: LoopState, rows: list[list[MeasuredStep]], *, step: int) -> None: ...

    def report_alone(self, job: LoopState, rows: Sequence[MeasuredStep]) -> None: ...

    def resumed(self, job: LoopState, pause_s: float) -> None: ...

    def evaluated(self, job: Job, epoch: int, found: Evaluation, seconds: float) -> None: ...

    def answered(self, job: Job, epoch: int, answers: Sequence[tuple[str, str]], seconds: float) -> None: ...

    def note_once(self, job: Job, what: str) -> None: ...

    def stopped_early(self, job: Job, epoch: int) -> None: ...

    def checkpoint(self, job: LoopState, name: str, *, why: str = "", asked: Sequence[str] = ()) -> bool: ...

    def step_ended(self, job: LoopState, loss: float) -> None: ...

    def gradient(self, job: LoopState, scale: Callable[[], float] = ...) -> float | None: ...

    def ran_out_of_memory(self, job: LoopState, before: int, after: int) -> None: ...


@dataclass(slots=True)
class StopFlag:
    """Set by the TERM signal; looked at between steps."""

    asked: bool = False


@dataclass(slots=True, kw_only=True)
class LoopState(ABC):
    """What one rank trains with in one group, whoever wrote the loop: the one of a task, or the user's own
    (`trainer.api`). `step` counts completed optimizer steps."""

    options: RunOptions
    host: str
    member: int
    rank: int
    members: tuple[int, ...]  # the group's, in rank order
    device: torch.device
    watch: Stopwatch
    batches: BatchSampler
    steps_total: int
    shares: tuple[int, ...]
    balancer: Balancer
    metrics: MetricsFile
    meter: DeviceMeter
    budget: CpuBudget
    recorder: Reports
    stop: StopFlag
    threads: ThreadTrial = field(default_factory=lambda: ThreadTrial.without(0))
    apart: LocalSgd | None = None  # with run.local_steps above 1
    generation: int = 0
    step: int = 0
    in_step: bool = False
    progress: Progress = field(default_factory=Unheard)
    schedule: CheckpointSchedule = field(default_factory=CheckpointSchedule)
    skipped_steps: set[int] = field(default_factory=set)  # in which the loss scale was too large: no weight has changed
    aside_s: float = 0.0  # of the step under way, spent on its fingerprint
    window: Window = field(default_factory=Window)
    step_end: float = 0.0  # perf_counter at the end of the last step, moved on over evaluations and checkpoints
    last_end: float | None = None  # perf_counter at the true end of the last step; None before the first
    changing: threading.Lock = field(default_factory=threading.Lock)  # while weights and `step` do not belong together
    resuming: bool = False  # no step of this generation, which is not the first, has ended yet
    slowdown: Slowdown = field(default_factory=lambda: Slowdown(1.0, time.monotonic))  # of an emulated host
    recorded: int = field(init=False)  # the step of the newest row of `window`

    def __post_init__(self) -> None:
        self.recorded = self.step
        self.schedule.begin(self.step)

    @abstractmethod
    def weights(self) -> Iterable[Tensor]:
        """What is trained."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Of a checkpoint."""

    @property
    @abstractmethod
    def our_rate(self) -> float | None:
        """The learning rate, where it is the one of cluster.toml; None where an optimizer has others."""

    @property
    def title(self) -> str:
        """What is trained."""
        return self.options.task

    @property
    def unit(self) -> str:
        """What throughput is told in besides samples; empty: nothing."""
        return ""

    @property
    def world_size(self) -> int:
        return len(self.members)

    def ends_epoch(self, place: Place) -> bool:
        """Whether the step at `place` is the last of its epoch, or of the run."""
        return place.index == self.batches.steps_per_epoch - 1 or self.step + 1 == self.steps_total


@dataclass(slots=True, kw_only=True)
class Job(LoopState):
    """Everything that one rank trains a task with."""

    task: Task
    data: TaskData
    model: DistributedDataParallel
    optimizer: torch.optim.Optimizer
    rates: tuple[float, ...]  # learning rates of its groups, before the schedule
    ema: WeightAverage | None = None  # with run.ema
    local: LocalWeights = NONE  # what every host has by itself
    precision: Precision = FULL  # of forward passes, as the group has agreed
    scaler: LossScaler | None = None  # unless run.precision is fp32; used while `precision` is fp16
    tracer: Tracer | None = None  # with run.trace_steps
    epoch_ends: int = 0  # done, or not due: evaluations and checkpoints; -1: nor that before the first step
    best: float = 0.0  # the highest score of the evaluations so far, 0 to 1: see `tasks.evaluation`
    best_epoch: int = 0  # after how many epochs that was; 0 before the first
    ending_epoch: bool = False
    passes: MicroBatches = field(init=False)
    counted: LossDenominator = field(init=False)

    def __post_init__(self) -> None:
        LoopState.__post_init__(self)
        self.counted = LossDenominator(self.task)
        self.passes = MicroBatches(
            self.task,
            self.model,
            self.device,
            self.watch,
            accumulate=self.options.accumulate,
            computed=self.slowdown.pause,
            handed_over=self.progress.arrive,
            autocast=lambda: self.precision.autocast(self.device),
            ran_out=lambda before, after: self.recorder.ran_out_of_memory(self, before, after),
        )

    def weights(self) -> Iterable[Tensor]:
        return (p for p in self.task_model.parameters() if p.requires_grad)

    def content(self) -> dict[str, Any]:
        """What is needed to go on from here on any hosts with any split."""
        about = {
            "generation": self.generation,
            "shares": list(self.shares),
            "best": self.best,
            "best_epoch": self.best_epoch,
            **kept_metadata(self.task),
        }
        return {**about, **state_of(self.options, self.batches, self.step, self.state)}

    @property
    def our_rate(self) -> float | None:
        ours = self.options.learning_rate
        return ours if all(rate == ours for rate in self.rates) else None

    @property
    def title(self) -> str:
        return self.task.name

    @property
    def unit(self) -> str:
        return self.data.units.name if self.data.units is not None else ""

    @property
    def task_model(self) -> nn.Module:
        """The model as the task made it."""
        module = self.model.module
        assert isinstance(module, TaskModule)
        return module.model

    @property
    def state(self) -> TrainState:
        return TrainState(
            model=self.task_model, optimizer=self.optimizer, apart=self.apart, ema=self.ema, scaler=self.scaler,
            local=self.local,
        )  # fmt: skip

    @property
    def loss_scale(self) -> float:
        return self.scaler.scale if self.scaler is not None and self.precision.scales else 1.0

    def epoch_ends_due(self) -> int:
        """Ends of epochs that lie behind this step; the run's last step is one too."""
        whole, rest = divmod(self.step, self.batches.steps_per_epoch)
        return whole + bool(rest and self.step == self.steps_total)

    def step_work(self, ids: Tensor) -> StepWork | None:
        """What this rank's samples of the step that comes cost it; None where the task does not say."""
        if not self.batches.by_work:
            return None
        share = self.batches.planned(self.step, self.shares, self.rank)
        return StepWork(share=share, work=self.batches.work_of(ids))

    def samples_ahead(self) -> list[tuple[Tensor, int]]:
        """What this rank takes of the next steps if the shares stay as they are; empty where nobody fetches ahead."""
        first = self.step + 1
        steps = range(first, min(first + self.data.steps_ahead, self.steps_total))
        return self.batches.ahead(steps, self.shares, self.rank)


def state_of(options: RunOptions, batches: BatchSampler, step: int, state: TrainState) -> dict[str, Any]:
    """The part of a checkpoint that training goes on from. Random numbers of a step depend on its number alone."""
    return {
        "task": options.task,
        "step": step,
        "epoch": step // batches.steps_per_epoch,
        "global_batch": options.global_batch,
        "seed": options.seed,
        "norm": options.norm,
        "weight_decay_groups": options.weight_decay_groups,
        **state.to_dict(),
    }
