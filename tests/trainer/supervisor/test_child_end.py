"""What the end of a rank means for its host: said in words, started again or not, and how the run ended there."""

from __future__ import annotations

import pytest

from motley.trainer.host.exit_codes import Exit
from motley.trainer.supervisor.child_end import STARTS, how_it_ended, is_root_cause, pause_before_restart, state_by


def test_only_what_was_killed_or_hung_starts_again_after_longer_and_longer_pauses() -> None:
    assert [pause_before_restart(-9, started=n) for n in range(1, STARTS + 1)] == [1.0, 2.0, 4.0, None]
    assert pause_before_restart(Exit.STUCK, started=1) == 1.0
    assert [pause_before_restart(code, started=1) for code in (1, Exit.PEER_LOST, Exit.GAVE_UP)] == [None] * 3


def test_want_of_memory_is_named_where_it_may_be_the_reason() -> None:
    said = [how_it_ended(code, starved=starved) for code, starved in ((-9, True), (-9, False), (-15, True), (3, True))]
    assert said == [
        "ended by signal 9, and the kernel was out of memory", "ended by signal 9", "ended by signal 15", "exit code 3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ({0}, "finished"),
        ({0, Exit.STOPPED}, "stopped"),
        ({0, Exit.PEER_LOST}, "lost"),
        ({Exit.STOPPED, Exit.PEER_LOST}, "failed"),
        ({0, 1}, "failed"),
        ({0, None}, "failed"),
    ],
)
def test_how_a_run_has_ended_on_a_host(codes: set[int | None], state: str) -> None:
    assert state_by(codes) == state


@pytest.mark.parametrize("said", ["finished", "failed", "lost", "stopped", "running", None])
def test_ranks_that_were_told_to_leave_after_the_end_say_nothing_of_it(said: str | None) -> None:
    known = said if said in ("finished", "failed", "lost") else "stopped"
    assert state_by({Exit.STOPPED}, said) == known
    assert state_by({0}, said) == "finished"
    assert state_by({1, Exit.STOPPED}, said) == "failed"


def test_who_only_lost_the_others_is_no_root_cause() -> None:
    assert [is_root_cause(code) for code in (1, -9, Exit.PEER_LOST, Exit.GAVE_UP)] == [True, True, False, False]
