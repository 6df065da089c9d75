"""A control group that holds every process of one lab host: its CPU quota, its freezer, and the list to end it by.

Used by `tests.lab.lab`. Version 1 (one tree a controller) and version 2 (one tree) both work:

    group = Cgroup.create("motley-lab-4711-1.box1")
    subprocess.run(["sh", "-c", f"{group.join_command()}; exec sleep 60"])
    group.set_cores(0.2)
    group.remove()
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PERIOD_US = 20_000  # short, so that a slow host is slow in every step and not in bursts of 100 ms


class CgroupError(OSError):
    """This machine's control groups can't do what the lab needs; the message says what."""


@dataclass(frozen=True, slots=True)
class Trees:
    """Where groups are made here: the same folder twice under version 2."""

    cpu: Path
    freezer: Path
    version: int

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.cpu,) if self.cpu == self.freezer else (self.cpu, self.freezer)


def find_trees() -> Trees:
    """Raises CgroupError when there is no CPU controller that may be used."""
    for cpu in (MOUNT / "cpu", MOUNT / "cpu,cpuacct"):
        if (cpu / "cgroup.procs").exists() and (MOUNT / "freezer" / "cgroup.procs").exists():
            if not os.access(cpu, os.W_OK):
                raise CgroupError(f"{cpu} can't be written")
            return Trees(cpu=cpu, freezer=MOUNT / "freezer", version=1)
    controllers = MOUNT / "cgroup.controllers"
    if not controllers.exists() or "cpu" not in controllers.read_text().split():
        raise CgroupError(f"no CPU controller under {MOUNT}")
    enabled = MOUNT / "cgroup.subtree_control"
    if "cpu" not in enabled.read_text().split():
        try:
            enabled.write_text("+cpu")
        except OSError as error:
            raise CgroupError(f"the CPU controller can't be passed on in {enabled}: {error.strerror}") from error
    return Trees(cpu=MOUNT, freezer=MOUNT, version=2)


@dataclass(frozen=True, slots=True)
class Cgroup:
    name: str
    trees: Trees

    @classmethod
    def create(cls, name: str) -> Cgroup:
        group = cls(name, find_trees())
        for tree in group.trees.folders:
            (tree / name).mkdir()
        return group

    @classmethod
    def named_like(cls, prefix: str) -> list[Cgroup]:
        """The groups whose name starts so: what a lab that died has left."""
        trees = find_trees()
        names = {path.name for tree in trees.folders for path in tree.iterdir() if path.name.startswith(prefix)}
        return [cls(name, trees) for name in sorted(names)]

    @property
    def folders(self) -> list[Path]:
        return [tree / self.name for tree in self.trees.folders]

    def join_command(self) -> str:
        """Shell words by which a shell puts itself, and so all its children, into the group."""
        return " && ".join(f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))}" for folder in self.folders)

    def pids(self) -> list[int]:
        found: set[int] = set()
        for folder in self.folders:
            with contextlib.suppress(FileNotFoundError):
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
        return sorted(found)

    def set_cores(self, cores: float | None) -> None:
        """Never more CPU time than `cores`, in each 20 ms; None lifts the bound."""
        folder = self.trees.cpu / self.name
        quota_us = None if cores is None else max(1000, round(cores * PERIOD_US))
        if self.trees.version == 2:
            (folder / "cpu.max").write_text(f"{'max' if quota_us is None else quota_us} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(-1 if quota_us is None else quota_us))

    def set_frozen(self, frozen: bool) -> None:
        folder = self.trees.freezer / self.name
        if self.trees.version == 2:
            (folder / "cgroup.freeze").write_text("1" if frozen else "0")
        else:
            (folder / "freezer.state").write_text("FROZEN" if frozen else "THAWED")

    def kill(self, timeout_s: float = 10.0) -> None:
        """Ends every process of the group and waits until the last is gone. Raises CgroupError naming those left."""
        deadline = time.monotonic() + timeout_s
        while pids := self.pids():
            with contextlib.ExitStack() as handles:
                waiting = select.poll()
                open_handles = set()
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        handle = os.pidfd_open(pid)
                        handles.callback(os.close, handle)
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        waiting.register(handle, select.POLLIN)
                        open_handles.add(handle)
                with contextlib.suppress(FileNotFoundError):
                    self.set_frozen(False)  # under version 1 a frozen process does not even die
                while open_handles:
                    ended = waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
                    if not ended:
                        raise CgroupError(f"{self.name}: still alive after {timeout_s:g} s: {self.pids()}")
                    for handle, _ in ended:
                        waiting.unregister(handle)
                        open_handles.discard(handle)

    def remove(self, timeout_s: float = 10.0) -> None:
        """Ends every process and removes the group; one that is just about to join finds it gone, and ends too."""
        deadline = time.monotonic() + timeout_s
        for folder in self.folders:
            while True:
                self.kill(timeout_s)
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise
                    os.sched_yield()
                else:
                    break
