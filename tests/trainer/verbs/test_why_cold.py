"""What makes a restart a cold one, as a host says it before anything is ended."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

import motley
from motley.trainer.contract.run_changes import Lead, Roll
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import (
    BalanceOptions,
    Container,
    DataOptions,
    ElasticOptions,
    Member,
    RunOptions,
    Spec,
)
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.contract.term import FIRST
from motley.trainer.verbs.rerun import why_cold

STATE = {
    "state": "running",
    "forks": 4711,
    "code": str(Path(motley.__file__).resolve().parents[1]),
    "python": sys.executable,
}
OLD = Spec(
    run="night", host="box1", token="ab" * 32, leader="box1", leader_address="127.0.0.1", port=1,
    members=(Member(member=0, host="box1", local_rank=0, device="cpu"),), options=RunOptions(),
    balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(), env={"TOKEN": "old"},
)  # fmt: skip
LEAD = Lead(term=FIRST, leader="box1", address="", port=0, hosts=("box1",))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"options": RunOptions(threads=3)}, None),
        ({"env": {"HF_HOME": "/data", "TOKEN": "old"}}, "its environment has changed (HF_HOME)"),
        ({"env": {"TOKEN": "secret"}}, "its environment has changed (TOKEN)"),
        ({"members": (Member(member=0, host="box2", local_rank=0, device="cpu"),)}, "its devices have changed"),
        ({"leader": "box2"}, "box1 leads the run by now"),
        ({"script": Script(path="a.py", args=(), tree="", port=1)}, "a script is started anew each time"),
    ],
)
def test_what_makes_a_restart_a_cold_one(changes: dict[str, Any], why: str | None) -> None:
    assert why_cold(OLD, dataclasses.replace(OLD, **changes), STATE, LEAD, Roll()) == why


TASK = OwnTask(tree="8f5a", file="night.py", parameters={"width": 3})


@pytest.mark.parametrize(
    ("before", "now", "warm"),
    [
        (TASK, TASK, True),
        (TASK, dataclasses.replace(TASK, file="day.py"), True),  # another one of the same files
        (TASK, None, True),
        (TASK, dataclasses.replace(TASK, tree="77aa"), False),
        (TASK, dataclasses.replace(TASK, parameters={}), False),
        (None, TASK, False),
    ],
)
def test_a_task_of_the_user_s_own_is_kept_as_long_as_it_is_the_same(
    before: OwnTask | None, now: OwnTask | None, warm: bool
) -> None:
    old, new = dataclasses.replace(OLD, own_task=before), dataclasses.replace(OLD, own_task=now)
    why = None if warm else "the files or the parameters of your task have changed"
    assert why_cold(old, new, STATE, LEAD, Roll()) == why


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"code": "/elsewhere"}, "the code has changed"),
        ({"python": "/opt/python3"}, "its Python has changed"),
        ({"forks": None}, "the process that has torch imported is not there"),
        ({"state": "lost"}, "the run is lost there"),
        ({"ranks": [{"member": 0, "pid": 17}, {"member": 1, "pid": None}]}, "rank 1 is not there yet"),
    ],
)
def test_what_a_host_says_of_itself_may_make_it_a_cold_one(state: dict[str, Any], why: str) -> None:
    assert why_cold(OLD, OLD, {**STATE, **state}, LEAD, Roll()) == why
    assert why_cold(OLD, OLD, STATE, LEAD, Roll(edition=1)) is not None


def test_ranks_in_containers_are_not_kept() -> None:
    old = dataclasses.replace(OLD, container=Container(runtime="docker", image="mine", id="8f5a"))
    assert why_cold(old, OLD, STATE, LEAD, Roll()) == "ranks in containers are started anew each time"
