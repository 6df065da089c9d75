"""From records to what trackers are given: every step once, marks, and figures of hosts now and then."""

from __future__ import annotations

import math

from motley.console.tracking.run_points import MOST_MARKS, RunPoints
from motley.console.tracking.sink import Mark, Point
from motley.trainer.contract.wire import Reading, Usage
from tests.console.report.experiments import BEGAN, event, group, step


def given(*records: object) -> list[Point | Mark]:
    points = RunPoints()
    found = [one for record in records for one in points.hear(record)]  # type: ignore[arg-type]
    return [*found, *points.rest()]


def test_a_step_has_the_figures_of_all_its_ranks() -> None:
    first, second = step(1, (48, 16), loss=2.0)
    (point,) = given(group(), first, second)
    assert isinstance(point, Point)
    assert (point.step, point.time) == (1, second.time)
    assert dict(point.values) == {
        "train/loss": 2.0,
        "train/samples_per_s": 640.0,
        "train/step_ms": 100.0,
        "train/epoch": 0.0,
        "group/ranks": 2.0,
        "group/generation": 0.0,
        "share/desktop": 0.75,
        "share/laptop": 0.25,
        "wait/desktop": 0.25,
        "wait/laptop": 0.25,
        "compute_ms/desktop": 50.0,
        "compute_ms/laptop": 100 / 3,
        "memory_mib/desktop": 100.0,
        "memory_mib/laptop": 101.0,
    }


def test_a_loss_that_is_none_of_a_rank_with_samples_is_not_a_number() -> None:
    (point,) = given(group(), *step(1, loss=None))
    assert isinstance(point, Point)
    assert math.isnan(point.values["train/loss"])
    (idle,) = given(group(members=(0,)), *step(1, (0,), members=(0,), loss=None))
    assert isinstance(idle, Point)
    assert "train/loss" not in idle.values


def test_hosts_are_told_of_once_a_second() -> None:
    found = given(group(), *[line for number in range(1, 31) for line in step(number, ms=100.0)])
    assert len(found) == 30
    assert [one.step for one in found if isinstance(one, Point) and "share/laptop" in one.values] == [1, 11, 21]


def test_a_step_that_a_rank_never_told_of_comes_at_the_end() -> None:
    points = RunPoints()
    assert list(points.hear(group())) == []
    assert list(points.hear(step(1)[0])) == []
    assert [point.step for point in points.rest()] == [1]


def test_a_regroup_goes_on_with_who_is_left() -> None:
    lost = event("lost", "laptop is lost", 1.25, level="warning", member=1, step=1)
    found = given(
        group(),
        *step(1),
        lost,
        group(generation=1, members=(0,), at=1.3),
        event("regrouped", "goes on", 1.31, generation=1),
        *step(2, (64,), generation=1, members=(0,)),
    )
    marks = [one for one in found if isinstance(one, Mark)]
    assert [(mark.title, mark.step, mark.level) for mark in marks] == [("lost", 1, "warning"), ("regrouped", 1, "info")]
    last = found[-1]
    assert isinstance(last, Point)
    assert (last.step, last.values["group/ranks"]) == (2, 1.0)


def test_marks_end_somewhere() -> None:
    points = RunPoints()
    warnings = [event("note", "again", number, level="warning") for number in range(MOST_MARKS + 5)]
    assert sum(len(list(points.hear(warning))) for warning in warnings) == MOST_MARKS
    assert points.marks_left_out == 5


def test_an_evaluation_is_of_its_step() -> None:
    (point,) = given(
        event("evaluated", "", 3.0, step=12, accuracy=0.5, loss=1.5, metrics={"f1": 0.25}, figures={"perplexity": 4.5})
    )
    assert isinstance(point, Point)
    assert (point.step, dict(point.values)) == (
        12,
        {"eval/f1": 0.25, "eval/perplexity": 4.5, "eval/accuracy": 0.5, "eval/loss": 1.5},
    )


def test_a_script_is_told_of_by_one_of_its_ranks_and_its_hosts_by_seconds() -> None:
    found = given(
        Reading(time=BEGAN, host="laptop", member=1, step=1),
        Reading(time=BEGAN + 1, host="desktop", member=0, step=1, loss=2.0, steps_per_s=4.0),
        Reading(time=BEGAN + 2, host="laptop", member=1, step=2, loss=9.0),
        Usage(time=BEGAN + 5.5, host="laptop", member=1, cpu=50.0, mem_mib=10.0),
    )
    assert [(one.step, dict(one.values)) for one in found if isinstance(one, Point)] == [
        (1, {"train/loss": 2.0, "train/steps_per_s": 4.0}),
        (5, {"usage/laptop/cpu_percent": 50.0, "usage/laptop/memory_mib": 10.0}),
    ]
