"""Before the first group: whoever is not connected any more may call again, for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.trainer.contract.spec import Member
from motley.trainer.coordinator.first_group import RECALL_S, FirstGroup
from motley.trainer.coordinator.members import MemberConnection
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.host.journal import Journal
from tests.trainer.coordinating import events, spec


@pytest.fixture
def connections() -> dict[int, MemberConnection]:
    members = [Member(member=n, host=f"box{n}", local_rank=0, device="cpu") for n in range(3)]
    return {member.member: MemberConnection(member=member) for member in members}


@pytest.fixture
def over() -> list[str]:
    return []


@pytest.fixture
def first_group(connections: dict[int, MemberConnection], over: list[str], tmp_path: Path) -> FirstGroup:
    given = spec(3)
    ledger = RunSummary.of(given, received=0.0, members=given.members)
    journal = Journal(tmp_path, host="box0", source="coordinator")
    return FirstGroup(
        connections, ledger, journal, began=0.0, patience_s=60.0, over=lambda: over.append("over"), what="it began"
    )


def test_who_is_gone_is_waited_for_and_then_named(
    first_group: FirstGroup, connections: dict[int, MemberConnection], over: list[str], tmp_path: Path
) -> None:
    connections[1].lost_at, connections[1].phase = 10.0, "gone"
    first_group.look(10.0 + RECALL_S, [1, 2])
    assert (over, first_group.gave_up) == ([], False)
    first_group.look(10.1 + RECALL_S, [1, 2])
    first_group.look(10.2 + RECALL_S, [1, 2])
    assert (over, first_group.gave_up) == (["over"], True)
    (told,) = events(tmp_path, "gave_up")
    assert told["text"] == "gave up waiting for rank 1 on box1 (gone): rank 1 on box1 ended before it began"
    assert [one.ended for one in connections.values()] == [None, "failed", None]


def test_who_has_called_again_is_not_gone(
    first_group: FirstGroup, connections: dict[int, MemberConnection], over: list[str]
) -> None:
    connections[1].lost_at = 10.0
    first_group.look(12.0, [1])
    connections[1].lost_at, connections[1].changed = None, 13.0
    first_group.look(10.1 + RECALL_S, [1])
    assert over == []
