"""Trying numbers of threads before a device is measured: on a device whose steps take what the test says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.host import rank_environment
from motley.trainer.trials import timed_threads
from motley.trainer.trials.timed_threads import BLOCK, LEAST_ROUNDS, ROUNDS, counts_for, result_of, step_ms_by_threads

ASKED = Calibration(options=RunOptions(), data=DataOptions(), device="cpu", batch=256, share=64)


class Device:
    """Its clock goes on by what its steps take; the first after a change of threads takes ten times that."""

    def __init__(self, ms: Callable[[int, int], float]) -> None:
        self.now_s = 0.0
        self.applied: list[int] = []
        self.batches: set[int] = set()
        self._ms = ms
        self._steps = self._last = 0

    def step(self, batch: int) -> tuple[float, float]:
        threads = self.applied[-1]
        ms = self._ms(threads, self._steps) * (1 if threads == self._last else 10)
        self._last, self._steps = threads, self._steps + 1
        self.now_s += ms / 1000
        self.batches.add(batch)
        return ms / 2, ms

    def warm_up(self, _batch: int, _steps: int) -> bool:
        raise AssertionError("that is the caller's")

    def measured(self, counts: tuple[int, ...], budget_s: float) -> dict[int, float]:
        return step_ms_by_threads(self, counts, 64, self.applied.append, budget_s=budget_s, clock=lambda: self.now_s)


def test_each_count_takes_its_turn_and_the_step_after_a_change_does_not_count() -> None:
    device = Device(lambda threads, _step: {1: 20.0, 2: 55.0}[threads])
    assert device.measured((1, 2), 1000.0) == {1: 20.0, 2: 55.0}
    assert device.applied[:4] == [2, 1, 1, 2]
    assert len(device.applied) == 2 * ROUNDS
    assert device.batches == {64}


def test_it_ends_when_the_time_is_used_up_and_each_count_had_two_turns() -> None:
    device = Device(lambda threads, _step: 1000.0 / threads)
    assert device.measured((1, 4), 0.0) == {1: 1000.0, 4: 250.0}
    assert len(device.applied) == 2 * LEAST_ROUNDS


def test_a_step_that_was_held_up_for_long_does_not_decide() -> None:
    device = Device(lambda threads, step: 9000.0 if step == 7 else {1: 50.0, 2: 25.0}[threads])
    found = device.measured((1, 2), 1000.0)
    assert found == {1: 50.0, 2: 25.0}
    assert BLOCK > 1


@pytest.mark.parametrize(
    ("asked", "environment", "counts"),
    [
        ({}, "8", (1, 4, 8)),
        ({"options": RunOptions(threads=3)}, "3", (3,)),
        ({"env": {"OMP_NUM_THREADS": "8"}}, "8", (8,)),
        ({}, "5", (5,)),  # the host's own
        ({"emulated": True}, "1", (1,)),
        ({"devices": 2}, "4", (1, 2, 4)),  # two ranks share the cores
    ],
)
def test_what_is_given_is_not_tried(
    asked: dict[str, object], environment: str, counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (timed_threads, rank_environment):
        monkeypatch.setattr(module, "usable_cores", lambda: 8.0)
    monkeypatch.setattr(timed_threads, "physical_cores", lambda: 8)
    assert counts_for(dataclasses.replace(ASKED, **asked), environment) == counts  # type: ignore[arg-type]


def test_the_answer_has_what_was_tried_and_what_was_kept() -> None:
    rows = [{"threads": 1, "samples_per_s": 1600.0}, {"threads": 2, "samples_per_s": 640.0}]
    assert result_of({1: 40.0, 2: 100.0}, 1, 64) == {"threads": 1, "thread_rates": rows}
    assert result_of({}, None, 64) == {"threads": None, "thread_rates": []}
