"""A short form of `make chaos`: one run, one of each kind of loss, and the parameters of an undisturbed run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.chaos import DISK_MIB, GROUP, HOSTS, TOLERANCE, furthest, steps_lost, strike
from tests.lab.faults import Fault
from tests.lab.lab import Lab
from tests.lab.night import Night

RANK = Fault(kind="rank killed", host="box1", seconds=0.0)
POWER = Fault(kind="power cut", host="box4", seconds=3.0)
DISK = Fault(kind="disk full", host="box2", seconds=2.0)
CUT = Fault(kind="cut in two", host="box2", seconds=0.0)  # with box3, away from the leader and the master
SUPERVISOR = Fault(kind="supervisor killed", host="box1", seconds=0.0)


@pytest.fixture(scope="module")
def small_disks(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    with Lab(HOSTS, disk_mib=DISK_MIB) as lab:
        yield lab


def missed_at(night: Night) -> float:
    """When box3 was missed last."""
    return max((e["time"] for e in night.events("lost") if e["data"]["host"] == "box3"), default=math.inf)


def one_half_trains(night: Night) -> bool:
    return any(s["time"] > missed_at(night) + 1 for s in night.samples("box4", 3))


def assert_only_one_half_trained(night: Night) -> None:
    """While box2 and box3 were cut off, they held: no step of theirs between being missed and joining again, each."""
    missed = missed_at(night)
    backs = {host: back_at(night, host, missed) for host in ("box2", "box3")}  # one may be back before the other
    for host, member in (("box2", 1), ("box3", 2)):
        assert not [s for s in night.samples(host, member) if missed + 1 < s["time"] < backs[host]]
    assert [s for s in night.samples("box4", 3) if missed + 1 < s["time"] < min(backs.values())]


def back_at(night: Night, host: str, missed: float) -> float:
    """When the host is in a group again."""
    groups = [e for e in night.events("group") if e["time"] > missed]
    return min(float(e["time"]) for e in groups if any(m["host"] == host for m in e["data"]["members"]))


@pytest.mark.longest
def test_whatever_is_lost_the_run_ends_as_if_nothing_had_happened(small_disks: Lab, tmp_path: Path) -> None:
    training = dataclasses.replace(GROUP, steps=700)
    reference = training.undisturbed(small_disks, tmp_path)
    with training.start(small_disks, tmp_path, "night") as night:
        night.until(lambda: night.step() >= 5, "the first steps")
        struck = [strike(night, (RANK,)), strike(night, (POWER, DISK)), strike(night, (CUT,), one_half_trains)]
        assert_only_one_half_trained(night)
        struck.append(strike(night, (SUPERVISOR,)))
        summary = night.end()
        assert night.left() == {}
        found = training.learned(night)
    assert summary["state"] == "finished"
    assert furthest(found, reference) <= TOLERANCE
    assert steps_lost(summary) == 0
    assert all(s.pauses for s in struck)
