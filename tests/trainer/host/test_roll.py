"""Who belongs to a run under way: numbers that no two members share, and what a host that leads answers."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.spec import ElasticOptions, Member, Spec
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.host import processes
from motley.trainer.host.paths import run_folder, write_json
from motley.trainer.host.run_members import admit, drop, hosts_of, keep, roll_of
from motley.trainer.verbs.roll import change
from tests.trainer.coordinating import spec

GIVEN = spec(3)
TWO = [Member(member=0, host="", local_rank=i, device=f"cuda:{i}", a_ms=2.0, c_ms=0.5) for i in range(2)]


def let_in(host: str, roll: Roll | None = None, given: Spec = GIVEN) -> Roll:
    return admit(given, roll or Roll(), host, TWO, term=FIRST)


def without(host: str, roll: Roll | None = None, given: Spec = GIVEN) -> Roll:
    return drop(given, roll or Roll(), host, term=FIRST, leader="box0")


def test_who_comes_later_gets_the_next_numbers_and_keeps_its_profile() -> None:
    roll = let_in("box4", let_in("box3"))
    assert [(m.member, m.host, m.device) for m in roll.added] == [
        (3, "box3", "cuda:0"), (4, "box3", "cuda:1"), (5, "box4", "cuda:0"), (6, "box4", "cuda:1"),
    ]  # fmt: skip
    assert (roll.added[3].a_ms, roll.added[3].c_ms) == (2.0, 0.5)
    assert [m.member for m in roll.members(GIVEN.members)] == list(range(7))
    assert Roll.from_table(json.loads(json.dumps(roll.to_table()))) == roll


def test_a_host_that_was_taken_out_comes_back_under_its_own_number() -> None:
    out = without("box2")
    assert hosts_of(GIVEN, out) == ("box0", "box1")
    back = let_in("box2", out)
    assert (back.added, back.dropped, back.edition) == ((), (), 2)
    with pytest.raises(ValueError, match="box2 belongs to 'night' already"):
        let_in("box2", back)


def test_why_a_host_can_not_be_taken_out_is_said_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"box0 leads 'night'.*motley stop night, then motley run --resume night"):
        without("box0")
    with pytest.raises(ValueError, match="box9 does not take part in 'night'; its hosts are box0, box1, box2"):
        without("box9")
    with pytest.raises(ValueError, match="box2 was taken out of 'night' already"):
        without("box2", without("box2"))
    least = dataclasses.replace(GIVEN, elastic=ElasticOptions(min_hosts=3))
    with pytest.raises(ValueError, match=r"without box2 there are 2 hosts, and elastic.min_hosts = 3"):
        without("box2", given=least)
    assert without("box2", let_in("box3", given=least), given=least).dropped == ("box2",)


def test_an_older_roll_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    newer = let_in("box4", let_in("box3"))
    assert keep(tmp_path, newer)
    assert not keep(tmp_path, let_in("box3"))
    assert roll_of(tmp_path) == newer
    assert keep(tmp_path, dataclasses.replace(let_in("box5"), term=Term(1)))  # of the leader that took over


def asked(words: dict[str, Any], host: str = "box0") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(json.dumps(change("night", host, io.BytesIO(json.dumps(words).encode()))))
    return answer


def at_work(host: str, state: str = "running") -> Path:
    """The run's folder on a host whose supervisor is this process."""
    folder = run_folder("night", host)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(dataclasses.replace(GIVEN, host=host).to_json())
    me = {"pid": os.getpid(), "start": processes.start_ticks(os.getpid()), "boot_id": processes.boot_id()}
    write_json(folder / "state.json", {"state": state, **me})
    return folder


def test_the_host_that_leads_gives_out_the_numbers_and_keeps_them() -> None:
    folder = at_work("box0")
    devices = [dataclasses.asdict(device) for device in TWO]
    first = asked({"admit": "box3", "devices": devices})["roll"]
    second = asked({"admit": "box4", "devices": devices})["roll"]
    assert [m["member"] for m in first["added"]] == [3, 4]
    assert [m["member"] for m in second["added"]] == [3, 4, 5, 6]
    assert asked({"drop": "box3"})["roll"]["dropped"] == ["box3"]
    assert roll_of(folder).edition == 3


def test_what_can_not_be_changed_is_an_error_and_changes_nothing() -> None:
    folder = at_work("box0")
    at_work("box1")
    assert asked({"drop": "box2"}, host="box1") == {"error": "box0 leads 'night', not box1"}
    assert "leads 'night'" in asked({"drop": "box0"})["error"]
    for nonsense in ({}, {"admit": "box3"}, {"admit": "box3", "devices": [{"member": 0}]}):
        assert "error" in asked(nonsense)
    assert roll_of(folder) == Roll()


def test_nobody_joins_a_run_that_is_over() -> None:
    at_work("box0", "finished")
    assert asked({"drop": "box2"}) == {"error": "'night' is finished: nobody can join or leave it"}
