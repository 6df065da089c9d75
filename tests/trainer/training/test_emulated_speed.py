"""An emulated host computes as slowly as it says, and what it sends is not slowed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.devices import accelerator
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training.emulated_speed import Slowdown, clock_of, factor, slowdown_of
from motley.trainer.training.loop import train_step
from tests.trainer.ranks import make_job, run_ranks

CPU = torch.device("cpu")


class Clock:
    """Time that passes when somebody computes or sleeps; only computing counts as that."""

    def __init__(self) -> None:
        self.now = self.computed = 0.0

    def compute(self, seconds: float) -> None:
        self.now += seconds
        self.computed += seconds

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_host_of_speed_a_quarter_computes_four_times_as_long_whatever_else_it_waits_for() -> None:
    clock = Clock()
    slowdown = Slowdown(0.25, lambda: clock.computed, clock.sleep)
    clock.compute(1.0)  # before the step
    slowdown.begin()
    clock.compute(0.010)
    clock.now += 0.5  # the machine was busy, or a peer was waited for: not slowed
    clock.compute(0.020)
    began = clock.now
    slowdown.pause()
    assert clock.now - began == pytest.approx(3 * 0.030)
    began = clock.now
    clock.compute(0.002)  # the weights
    slowdown.pause()
    assert clock.now - began == pytest.approx(4 * 0.002)


def test_at_full_speed_nothing_is_slowed_and_no_clock_is_read() -> None:
    def never(*_: object) -> float:
        raise AssertionError

    slowdown = Slowdown(1.0, never, never)
    slowdown.begin()
    slowdown.pause()
    real = slowdown_of(None, 0.0, CPU)
    real.begin()
    real.pause()


def test_a_gpu_is_slowed_for_the_ranks_that_share_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = list[object]()
    monkeypatch.setattr(accelerator, "synchronize", waited.append)
    gpu = torch.device("cuda:0")
    alone = slowdown_of(1.0, 1.0, gpu)
    alone.begin()
    alone.pause()
    assert waited == []  # its whole speed: its queue is not waited for
    shared = slowdown_of(1.0, 2.0, gpu)  # as the other of the two: each has half
    shared.begin()
    shared.pause()
    assert waited == [gpu] * 3


@pytest.mark.parametrize("speed", [0.0, -1.0, 1.1])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="not in"):
        Slowdown(speed, time.monotonic)


def test_all_are_slowed_alike_where_they_ask_for_more_cores_than_there_are() -> None:
    assert factor(1.0 + 0.5 + 0.25 + 0.25, cores=4) == 1.0
    assert factor(2.0, cores=2) == 0.75
    assert factor(2.0, cores=1) == 0.25
    assert factor(0.1, cores=1) == 1.0


def test_the_clock_is_that_of_the_thread_that_computes_wherever_it_is_read() -> None:
    clock, others = clock_of(CPU), []
    thread = threading.Thread(target=lambda: others.append((clock(), time.thread_time())))
    sum(range(200_000))
    began = time.thread_time()
    thread.start()
    thread.join()
    seen, its_own = others[0]
    assert began <= seen <= time.thread_time()
    assert its_own < began


class _Counted(Slowdown):
    """Pauses for no time, and keeps what it was asked for."""

    def __init__(self, log: list[str], speed: float) -> None:
        self.asked: list[float] = []
        super().__init__(speed, self._tick, self._sleep)
        self._log = log
        self._ticks = 0.0

    def _tick(self) -> float:
        self._ticks += 1.0  # a second of computing between any two looks
        return self._ticks

    def _sleep(self, seconds: float) -> None:
        self._log.append("pause")
        self.asked.append(seconds)


def one_step(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    options = RunOptions(task="simple_cnn/digits", global_batch=32, steps=4, **given)
    job = make_job(rank, world_size, options, (16,) * world_size, double=False)
    log: list[str] = []
    slowdown = _Counted(log, 0.25)

    class Watch:
        def start(self) -> None:
            log.append("start")

        def last_gradient(self) -> None:
            log.append("last gradient")

        def all_reduced(self) -> None:
            log.append("all reduced")

        def read(self) -> tuple[float, float]:
            return 1.0, 1.0

    job.watch, job.slowdown = Watch(), slowdown
    job.progress = _Arrivals(log)
    job.__post_init__()
    train_step(job, job.batches.place(0))
    return {"log": log, "asked": slowdown.asked}


class _Arrivals(Unheard):
    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def arrive(self, stage: int = 0) -> None:
        self._log.append("handed over" if not stage else "at the end of an epoch")


@pytest.mark.ranks
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_rank_pauses_before_it_hands_over_its_last_gradient_and_not_while_it_waits(accumulate: int) -> None:
    for found in run_ranks(2, one_step, {"accumulate": accumulate}):
        assert found["log"] == ["start", "pause", "last gradient", "handed over", "all reduced", "pause"]
        assert found["asked"] == [3.0, 3.0]  # once for all micro-batches, once for the weights


@pytest.mark.ranks
def test_with_local_steps_the_pause_is_before_the_ranks_wait_too() -> None:
    for found in run_ranks(2, one_step, {"local_steps": 2}):
        assert found["log"] == ["start", "pause", "last gradient", "all reduced"]
        assert found["asked"] == [3.0]
