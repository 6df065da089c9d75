"""What CPU time that is rationed makes of a step, and that a changed ration is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.profiles.cgroup import CpuQuota
from motley.trainer.balance.cpu_budget import CpuBudget

MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def rationed(root: Path, quota: str) -> Path:
    folder = root / "sys/fs/cgroup/job"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{quota}\n")
    proc = root / "proc/self"
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "cgroup").write_text("0::/job\n")
    (proc / "mountinfo").write_text(MOUNT)
    return root


class Clock:
    """CPU time that was spent, in seconds."""

    def __init__(self) -> None:
        self.spent = 100.0

    def __call__(self) -> float:
        return self.spent


def test_a_step_needs_at_least_the_time_in_which_its_cpu_time_is_granted(tmp_path: Path) -> None:
    clock = Clock()
    budget = CpuBudget(CpuQuota(rationed(tmp_path, "20000 100000")), ranks=1, spent_s=clock)
    budget.begin()
    clock.spent += 0.030
    assert budget.needs_ms() == pytest.approx(150.0 + 10.0)
    budget.begin()
    assert budget.needs_ms() == 0.0


def test_the_ranks_of_a_host_share_what_is_granted(tmp_path: Path) -> None:
    clock = Clock()
    budget = CpuBudget(CpuQuota(rationed(tmp_path, "200000 100000")), ranks=4, spent_s=clock)
    budget.begin()
    clock.spent += 0.030
    assert budget.needs_ms() == pytest.approx(60.0 + 6.25)


def test_a_quota_that_changes_is_noticed_when_it_is_looked_at(tmp_path: Path) -> None:
    clock = Clock()
    budget = CpuBudget(CpuQuota(rationed(tmp_path, "80000 100000")), ranks=1, spent_s=clock)
    rationed(tmp_path, "32000 100000")
    budget.look()
    budget.begin()
    clock.spent += 0.032
    assert budget.needs_ms() == pytest.approx(100.0 + 8.5)


def test_where_nothing_is_rationed_nothing_is_needed(tmp_path: Path) -> None:
    clock = Clock()
    for quota in (CpuQuota(rationed(tmp_path, "max 100000")), CpuQuota(tmp_path / "no such machine")):
        budget = CpuBudget(quota, ranks=1, spent_s=clock)
        budget.begin()
        clock.spent += 1.0
        assert budget.needs_ms() == 0.0
