"""Which processes belong to a run, and ending them: by tags in their environment and start times, never by name.

Every process of a run on a host carries `MOTLEY_RUN`, `MOTLEY_HOST` and `MOTLEY_DIR` (the run's folder there, so that
two homes on one machine never touch each other's) in the environment it was started with. Children inherit them,
sessions and process groups do not matter.

    >>> tagged(folder)        # pids, without the caller's
    [4711, 4712]
    >>> end(folder, grace_s=5)
    0
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

LOOK_S = 0.02  # between two looks
LOOK_SHARE = 0.2  # of the time that looking may take: with thousands of processes it takes long
NOTHING: Mapping[str, str] = MappingProxyType({})
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl  # looked up here, not between a fork and an exec


def tags(run: str, host: str, folder: Path) -> dict[str, str]:
    return {"MOTLEY_RUN": run, "MOTLEY_HOST": host, "MOTLEY_DIR": str(folder)}


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone (a zombie counts as gone)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def same_process(pid: int, start: int, boot: str) -> bool:
    """Whether `pid` is still the process that was recorded with this start time in this boot."""
    return boot == boot_id() and start_ticks(pid) == start


def tagged(folder: Path, *, besides: Collection[int] = (), also: Mapping[str, str] = NOTHING) -> list[int]:
    """Pids of the living processes tagged with the run folder, and `also` these variables, except the caller and
    `besides`."""
    tags = {os.fsencode(f"{name}={value}") for name, value in {"MOTLEY_DIR": str(folder), **also}.items()}
    where = os.fsencode(str(folder))
    mine = {os.getpid(), *besides}
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            with open(f"/proc/{entry.name}/environ", "rb", buffering=0) as file:
                environ = file.read() or b""
        except OSError:  # gone meanwhile, or another user's
            continue
        if where in environ and tags <= set(environ.split(b"\0")) and start_ticks(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    """What the process has started itself, and still lives."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # gone meanwhile
        return []


def send(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(
    folder: Path,
    *,
    grace_s: float,
    besides: Collection[int] = (),
    also: Mapping[str, str] = NOTHING,
    wait: Callable[[float], None] = time.sleep,
    bound_s: float = 10.0,
) -> int:
    """End every process tagged with the folder, and `also` these variables: TERM, grace, KILL until none is left.

    `wait(seconds)` is called between looks, so that a parent can reap its children meanwhile. Returns how many are
    left after `bound_s` of killing (a process in uninterruptible sleep can't be ended): 0 in all other cases.
    """
    took_s = 0.0

    def look() -> list[int]:
        nonlocal took_s
        began = time.monotonic()
        found = tagged(folder, besides=besides, also=also)
        took_s = time.monotonic() - began
        return found

    def pause() -> None:
        wait(max(LOOK_S, took_s * (1 / LOOK_SHARE - 1)))

    found = look()
    send(found, signal.SIGTERM)
    send(found, signal.SIGCONT)  # a stopped process does not see TERM
    deadline = time.monotonic() + grace_s
    while (left := look()) and time.monotonic() < deadline:
        pause()
    deadline = time.monotonic() + bound_s
    while left and time.monotonic() < deadline:
        send(left, signal.SIGKILL)
        pause()
        left = look()
    return len(left)


def become_subreaper() -> None:
    """Orphans of our children become ours, so that their end is seen here."""
    if _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with(parent: int) -> Callable[[], None]:
    """For a child between fork and exec: be killed when `parent` ends, also when it has ended already.

    The signal follows the thread that forked: fork from the main thread.
    """

    def set_signal() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return set_signal
