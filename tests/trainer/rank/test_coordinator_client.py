"""A rank's line to the coordinator: what it makes of a main thread that does not let go of a broken group."""

from __future__ import annotations

import pytest

from motley.trainer.host.rank_progress import FREED_AT_WORK_S, FREED_S, is_stuck


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
