"""What control groups leave to this process: CPU time and memory, in cgroup v1, v2 and mixtures of both.

Called by `profiles.hardware`. A container or a batch system often grants less than the machine has; torch and
`os.cpu_count` do not see it, and too many threads on too little CPU time are several times slower.

    >>> limits(Path("/"))
    Limits(cpu_cores=0.4, mem_limit_mib=2048.0, mem_free_mib=1790.5)

A limit holds for everything below it, so the smallest on the way from the process's own group to the top counts.
The kernel describes the files in `Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MIB = 1024 * 1024
_NO_LIMIT = 1 << 60  # v1 says "no limit" with a number near 2^63


class Limits(NamedTuple):
    """None where nothing limits."""

    cpu_cores: float | None = None
    mem_limit_mib: float | None = None
    mem_free_mib: float | None = None  # until that limit; file cache that can be dropped counts as free


class _Mount(NamedTuple):
    root: PurePosixPath  # the group that is seen at the mount point
    point: PurePosixPath
    controllers: frozenset[str]  # empty for v2


def limits(root: Path = Path("/")) -> Limits:
    """The limits of this process. `root` stands in for `/`, for tests."""
    cores: list[float] = []
    memory: list[tuple[float, float]] = []  # limit, free
    for folder in _folders(root):
        cores += _cpu(folder)
        memory += _memory(folder)
    return Limits(
        cpu_cores=min(cores, default=None),
        mem_limit_mib=min((limit for limit, _ in memory), default=None),
        mem_free_mib=min((free for _, free in memory), default=None),
    )


def cpu_limit(root: Path = Path("/")) -> float | None:
    """`limits(root).cpu_cores`, from far fewer files: every start of a run asks for it on every host."""
    return min((cores for folder in _folders(root, ("cpu",)) for cores in _cpu(folder)), default=None)


class CpuQuota:
    """The CPU time that is granted, read anew whenever it is asked for: it may change while a process runs."""

    def __init__(self, root: Path = Path("/")) -> None:
        kinds = ("cpu.max", "cpu.cfs_quota_us")
        self._folders = [
            folder for folder in _folders(root, ("cpu",)) if any((folder / kind).exists() for kind in kinds)
        ]

    def cores(self) -> float | None:
        """None where nothing limits."""
        return min((cores for folder in self._folders for cores in _cpu(folder)), default=None)


def _folders(root: Path, wanted: Collection[str] = ("cpu", "memory")) -> Iterator[Path]:
    """Of every control group that this process is in and that may limit what is wanted: v1 has one for each kind."""
    mounts = list(_mounts(read(root / "proc/self/mountinfo")))
    for controllers, path in _groups(read(root / "proc/self/cgroup")):
        if controllers and controllers.isdisjoint(wanted):
            continue
        for mount in mounts:
            if mount.controllers if not controllers else not mount.controllers & controllers:
                continue
            yield from _upwards(root, mount, path)


def _groups(text: str) -> Iterator[tuple[frozenset[str], PurePosixPath]]:
    """Lines like `4:cpu,cpuacct:/user` (v1) and `0::/user` (v2)."""
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield frozenset(filter(None, parts[1].split(","))), PurePosixPath(parts[2] or "/")


def _mounts(text: str) -> Iterator[_Mount]:
    """The cgroup file systems among the lines of mountinfo (its format: proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        left, found, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not found or len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset()
        yield _Mount(PurePosixPath(_plain(fields[3])), PurePosixPath(_plain(fields[4])), controllers)


def _upwards(root: Path, mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """The folders of the process's own group and of those above it, as far as they are mounted."""
    try:
        inside = group.relative_to(mount.root)
    except ValueError:  # in a container without a namespace of its own the group is not below what is mounted
        inside = PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    top = root / mount.point.relative_to("/")
    for part in (inside, *inside.parents):
        yield top / part


def _cpu(folder: Path) -> list[float]:
    words = read(folder / "cpu.max").split()  # v2: quota and period in microseconds
    if not words:
        words = [read(folder / "cpu.cfs_quota_us").strip(), read(folder / "cpu.cfs_period_us").strip()]
    quota, period = (_number(word) for word in (*words, "", "")[:2])
    return [quota / period] if quota and period else []


def _memory(folder: Path) -> list[tuple[float, float]]:
    for limit_file, used_file, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(read(folder / limit_file).strip())
        if limit is not None and limit < _NO_LIMIT:
            used = _number(read(folder / used_file).strip()) or 0
            cache = re.search(rf"^{cache_key} (\d+)$", read(folder / "memory.stat"), re.MULTILINE)
            free = limit - max(used - (int(cache.group(1)) if cache else 0), 0)
            return [(limit / MIB, max(free, 0) / MIB)]
    return []


def _number(word: str) -> int | None:
    """`max` and `-1`, which mean no limit, are None."""
    return int(word) if word.isdecimal() else None


def _plain(text: str) -> str:
    """mountinfo writes spaces and the like as octal: `\\040`."""
    if "\\" not in text:
        return text
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def read(path: Path) -> str:
    """A file of the kernel, or nothing: which of them exist differs from machine to machine."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
