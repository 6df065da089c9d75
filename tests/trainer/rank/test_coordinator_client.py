"""A rank's line to the coordinator: what it makes of a main thread that does not let go of a broken group."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from motley.trainer.host import rank_progress
from motley.trainer.host.rank_progress import FREED_AT_WORK_S, FREED_S, is_stuck
from tests.trainer.coordinating import all_in_a_group, coordinating, spec, until


@pytest.mark.parametrize(
    ("waits", "seconds", "stuck"),
    [
        (True, FREED_S - 0.1, False),
        (True, FREED_S + 0.1, True),
        (False, FREED_S + 0.1, False),  # it computes, and will see it at its next collective
        (False, FREED_AT_WORK_S + 0.1, True),
    ],
)
def test_a_main_thread_is_stuck_when_the_end_of_its_connections_does_not_free_it(
    waits: bool, seconds: float, stuck: bool
) -> None:
    assert is_stuck(100.0, 100.0 + seconds, waits=waits) is stuck


def test_nobody_is_stuck_in_a_group_that_holds() -> None:
    assert not is_stuck(None, 1e9, waits=True)


@pytest.mark.parametrize("let_go", [False, True])
async def test_tidying_up_after_a_broken_group_is_work_and_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, let_go: bool
) -> None:
    monkeypatch.setattr(rank_progress, "FREED_S", 0.0)
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        line, freed, stuck = lines[0], [0], threading.Event()

        def free() -> None:
            freed[0] += 1
            if let_go:
                line.let_go()

        line.stuck = stuck.set
        line.guard(0, free)  # it makes the group
        lines[2].close()
        async with until(lambda: freed[0] > 3):  # with each sign of life once more, and then it looks
            assert stuck.is_set() is not let_go
        for one in lines[:2]:
            one.ended("failed")
