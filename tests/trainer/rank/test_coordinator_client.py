"""A rank's line to the coordinator: what it makes of a main thread that does not let go of a broken group."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from motley.trainer.host import rank_progress
from motley.trainer.host.rank_progress import FREED_AT_WORK_S, FREED_S, Moment, is_stuck
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
    assert is_stuck(Moment(100.0, 7.0), Moment(100.0 + seconds, 7.0), waits=waits) is stuck


def test_waiting_for_a_core_is_no_hang_but_not_for_ever() -> None:
    freed = Moment(100.0, 7.0)
    assert not is_stuck(freed, Moment(110.0, 7.0 + 10.0 - FREED_S), waits=True)
    assert is_stuck(freed, Moment(110.0, 7.0 + 9.9 - FREED_S), waits=True)
    assert is_stuck(freed, Moment(100.1 + FREED_S, 6.0), waits=True)  # a thread that waited has ended meanwhile
    assert is_stuck(freed, Moment(100.1 + FREED_AT_WORK_S, 1e9), waits=True)


def test_who_shares_a_core_is_kept_waiting_for_it() -> None:
    code = """
import os
from motley.trainer.host.rank_progress import kept_waiting_s
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
parent = os.getpid()
if not os.fork():
    while os.getppid() == parent:
        sum(range(10_000))
    os._exit(0)
while kept_waiting_s() < 0.05:
    sum(range(10_000))
print("kept waiting")
"""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel counts no waiting for cores (CONFIG_SCHED_INFO)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "kept waiting\n"


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
