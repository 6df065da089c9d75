"""Before the first group: who is missing is said, and giving up takes its time from the last that was heard."""

from __future__ import annotations

from motley.trainer.contract.spec import Member
from motley.trainer.coordinator.first_group import Patience
from motley.trainer.coordinator.members import MemberConnection, end_state, host_states, names_of


def connection(number: int, **fields: object) -> MemberConnection:
    return MemberConnection(member=Member(member=number, host=f"box{number}", local_rank=0, device="cpu"), **fields)  # type: ignore[arg-type]


def test_what_is_missing_is_said_when_it_changes_and_now_and_then() -> None:
    patience, one = Patience(began=0.0, limit_s=60.0), connection(1)
    assert patience.look(0.5, [one]) is None  # all may still come
    assert [patience.look(t, [one]) for t in (1.5, 2.0, 6.0, 7.0)] == ["say", None, None, "say"]
    one.phase = "joining"
    assert patience.look(7.1, [one]) == "say"
    assert patience.look(7.2, []) is None


def test_patience_ends_when_none_of_the_missing_was_heard_for_so_long() -> None:
    patience = Patience(began=0.0, limit_s=10.0)
    early, late = connection(1, changed=2.0), connection(2, changed=9.0)
    assert patience.look(18.0, [early, late]) == "say"
    assert patience.look(19.5, [early, late]) == "give up"
    assert names_of([early, late]) == "rank 1 on box1 (connecting), rank 2 on box2 (connecting)"


def test_a_run_has_finished_when_all_that_were_left_have() -> None:
    connections = {1: connection(1, ended="finished"), 2: connection(2, gone=True)}
    assert end_state(connections.values(), stopped=False) == "finished"
    assert host_states(connections, "finished") == {"box1": "finished", "box2": "lost"}
    assert end_state(connections.values(), stopped=True) == "stopped"
    assert end_state([connection(1, gone=True)], stopped=False) == "failed"
