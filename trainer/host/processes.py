"""Which processes belong to a run, and ending them: by tags in their environment and start times, never by name.

Every process of a run on a host carries `MOTLEY_RUN`, `MOTLEY_HOST` and `MOTLEY_DIR` (the run's folder there, so that
two homes on one machine never touch each other's) in the environment it was started with. Children inherit them,
sessions and process groups do not matter. One that has dropped its environment is still below the run's supervisor,
which is a subreaper, and ends it, too.

    >>> tagged(folder)        # pids, without the caller's
    [4711, 4712]
    >>> end(folder, grace_s=5)
    0
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
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
    return list(_tagged(folder, besides, also))


def _tagged(folder: Path, besides: Collection[int], also: Mapping[str, str]) -> dict[int, int]:
    """The same, with the start time of each."""
    tags = {os.fsencode(f"{name}={value}") for name, value in {"MOTLEY_DIR": str(folder), **also}.items()}
    where = os.fsencode(str(folder))
    mine = {os.getpid(), *besides}

    def bears(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
                environ = file.read() or b""
        except OSError:  # gone meanwhile, or another user's
            return False
        return where in environ and tags <= set(environ.split(b"\0"))

    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) not in mine and bears(int(entry.name)):
            start = start_ticks(int(entry.name))
            if start is not None and bears(int(entry.name)):  # that one, not another that has its number by now
                found[int(entry.name)] = start
    return found


def children(pid: int) -> list[int]:
    """What the process has started itself, in whichever thread, or has inherited, and still lives."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        texts = [Path(f"/proc/{pid}/task/{thread}/children").read_text() for thread in threads]
    except OSError:  # gone meanwhile, or a kernel that lists none
        listed = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
        return [] if listed else [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == pid]
    return [int(child) for text in texts for child in text.split()]


def started_by(parent: int) -> dict[int, int]:
    """Its children, with the start time of each: not of another that had the number before it was looked at."""
    starts = {child: start_ticks(child) for child in children(parent)}
    still = children(parent)
    return {child: start for child, start in starts.items() if start is not None and child in still}


def _parent(pid: str) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def descendants(pid: int, *, besides: Collection[int] = ()) -> dict[int, int]:
    """All that the process and its children have started and that live, with the start time of each.

    Without what `besides` have started. A process whose parent ends has another one from then on: the subreaper's
    are all that have ever been started below it.
    """
    found: dict[int, int] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        below = started_by(parent)
        if parent in found and start_ticks(parent) != found[parent]:  # it has ended: what it had is the subreaper's
            continue
        new = {child: start for child, start in below.items() if child not in found and child not in besides}
        found |= new
        waiting += new
    return found


def send(pids: Collection[int], number: signal.Signals) -> None:
    """To children of the caller, whose numbers nobody else can have before they are waited for."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def send_to(pid: int, start: int, number: signal.Signals) -> bool:
    """To the process that was started at that time, and no other that has its number by now. False when it is gone.

    Linux can name a process itself since 5.3; before, one that ends at this very moment may be mistaken.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # a kernel or a sandbox without it
        if start_ticks(pid) != start:
            return False
        send([pid], number)
        return True
    try:
        if start_ticks(pid) != start:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def end(
    folder: Path,
    *,
    grace_s: float,
    besides: Collection[int] = (),
    also: Mapping[str, str] = NOTHING,
    under: int | None = None,
    wait: Callable[[float], None] = time.sleep,
    bound_s: float = 10.0,
) -> int:
    """End every process tagged with the folder, and `also` these variables: TERM, grace, KILL until none is left.

    With `under`, all that this process has started below it, too, whatever their environment says by now.
    `wait(seconds)` is called between looks, so that a parent can reap its children meanwhile. Returns how many are
    left after `bound_s` of killing (a process in uninterruptible sleep can't be ended): 0 in all other cases.
    """
    took_s = 0.0

    def look() -> dict[int, int]:
        nonlocal took_s
        began = time.monotonic()
        found = _tagged(folder, besides, also)
        if under is not None:
            found |= descendants(under, besides=besides)
        took_s = time.monotonic() - began
        return found

    def pause() -> None:
        wait(max(LOOK_S, took_s * (1 / LOOK_SHARE - 1)))

    def tell(found: Mapping[int, int], *numbers: signal.Signals) -> None:
        for pid, start in found.items():
            for number in numbers:
                send_to(pid, start, number)

    found = look()
    tell(found, signal.SIGTERM, signal.SIGCONT)  # a stopped process does not see TERM
    deadline = time.monotonic() + grace_s
    while (left := look()) and time.monotonic() < deadline:
        pause()
    deadline = time.monotonic() + bound_s
    while left and time.monotonic() < deadline:
        tell(left, signal.SIGKILL)
        pause()
        left = look()
    return len(left)


def become_subreaper() -> None:
    """Orphans of our children become ours, so that their end is seen here."""
    if _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


DIES = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "  # PR_SET_PDEATHSIG, SIGKILL
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


def dying_with(parent: int, argv: Sequence[str]) -> list[str]:
    """The command that does what `argv` does, and is killed when `parent` ends.

    For a process with several threads, in whose child no Python may run before the exec: another thread may have held
    a lock at the fork, which nobody lets go of there. It costs a start of Python. Start it from the main thread.
    """
    return [sys.executable, "-I", "-S", "-c", DIES, str(parent), *argv]


def die_with(parent: int) -> Callable[[], None]:
    """For a child between fork and exec: be killed when `parent` ends, also when it has ended already.

    For a parent with one thread; with several, see `dying_with`. The signal follows the thread that forked: fork from
    the main thread.
    """

    def set_signal() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return set_signal
