"""When a checkpoint within an epoch is due."""

from __future__ import annotations

from motley.trainer.health.checkpoint_schedule import CheckpointSchedule


def written(schedule: CheckpointSchedule, steps: range, *, waits: frozenset[int] = frozenset()) -> list[int]:
    """The steps at whose end one is written; at those of `waits` it can't be."""
    found = []
    for step in steps:
        if step not in waits and schedule.due(step):
            found.append(step)
            schedule.written(step)
    return found


def test_every_so_many_steps_of_the_whole_run_whatever_step_it_begins_with() -> None:
    assert written(CheckpointSchedule(), range(1, 1000)) == []
    assert written(CheckpointSchedule(steps=100), range(1, 350)) == [100, 200, 300]
    resumed = CheckpointSchedule(steps=100)
    resumed.begin(250)
    assert written(resumed, range(251, 450)) == [300, 400]


def test_one_that_has_to_wait_is_written_as_soon_as_it_can_be() -> None:
    assert written(CheckpointSchedule(steps=10), range(1, 32), waits=frozenset({10, 11, 12})) == [13, 20, 30]


def test_minutes_count_from_the_last_one_whoever_asked_for_it() -> None:
    now = [0.0]
    schedule = CheckpointSchedule(minutes=0.5, clock=lambda: now[0])
    assert schedule.due(1) == ""
    now[0] = 30.0
    assert schedule.due(2) == "minutes"
    schedule.written(2)
    now[0] = 59.0
    assert schedule.due(3) == ""
    schedule.written(3)  # the end of an epoch
    now[0] = 88.0
    assert schedule.due(4) == ""
    now[0] = 89.0
    assert schedule.due(5) == "minutes"
