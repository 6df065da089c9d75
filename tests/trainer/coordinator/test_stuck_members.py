"""Who is stuck while others wait for it, and who only takes long: decided without a clock or a socket."""

from __future__ import annotations

from motley.trainer.coordinator.membership.group_changes import Gone
from tests.trainer.coordinator.test_group_state_machine import formed, only, ready


def test_a_rank_that_others_wait_for_too_long_is_named_and_dropped() -> None:
    machine = formed(stuck_after_s=10.0)
    now = 0.0
    while now < 9.0:
        now += 0.3
        machine.tick(now)
        for member, arrived in ((0, 6), (1, 5), (2, 6)):
            machine.beat(member, step=5, arrived=arrived, now=now)
    assert machine.take_news() == []
    while now < 12.0:
        now += 0.3
        machine.tick(now)
        for member, arrived in ((0, 6), (1, 5), (2, 6)):
            machine.beat(member, step=5, arrived=arrived, now=now)
    assert only(machine.take_news(), Gone) == [Gone(member=1, cause="stuck")]


def stuck_at_the_end_of_an_epoch(*, at_work_until: float) -> float | None:
    """All have made step 5; members 0 and 2 wait for 1, which evaluates. When it is taken out for being stuck."""
    machine = formed(stuck_after_s=60.0)
    for tenths in range(2000):
        now = tenths / 10
        machine.tick(now)
        for member in range(3):
            stage, moves = (1, int(min(now, at_work_until))) if member == 1 else (2, 0)
            machine.beat(member, step=5, arrived=5, stage=stage, moves=moves, now=now)
        if gone := only(machine.take_news(), Gone):
            assert gone == [Gone(member=1, cause="stuck")]
            return now
    return None


def test_a_rank_that_is_stuck_at_the_end_of_an_epoch_is_taken_out_as_elsewhere() -> None:
    """In its evaluation; or it is rank 0, and the disk that it writes a checkpoint to is gone."""
    when = stuck_at_the_end_of_an_epoch(at_work_until=0.0)
    assert when is not None
    assert 60.0 < when < 60.5


def test_an_evaluation_or_a_checkpoint_that_gets_on_may_take_as_long_as_it_takes() -> None:
    when = stuck_at_the_end_of_an_epoch(at_work_until=110.0)
    assert when is not None
    assert 170.0 < when < 171.5


def test_the_step_after_the_end_of_an_epoch_counts_for_more_than_the_end_itself() -> None:
    machine = formed(stuck_after_s=10.0)
    for tenths in range(150):
        now = tenths / 10
        machine.tick(now)
        for member in (0, 1):
            machine.beat(member, step=5, arrived=6, now=now)
        machine.beat(2, step=5, arrived=5, stage=3, now=now)
    assert only(machine.take_news(), Gone) == [Gone(member=2, cause="stuck")]


def test_nobody_is_stuck_just_because_it_has_not_said_how_far_it_is() -> None:
    machine = formed(stuck_after_s=10.0)
    machine.ready(0, ready(0), now=1000.0)  # on a clock that does not begin at 0
    for member in (1, 2):
        machine.ready(member, ready(0, member), now=1000.0)
    machine.beat(0, step=0, arrived=1, now=1000.1)
    machine.beat(1, step=-1, arrived=-1, now=1000.1)
    machine.take_news()
    machine.tick(1000.2)
    assert machine.take_news() == []
