"""How far a rank is: what the coordinator hears of it, and whether its main thread hangs.

The loop says where it has come to (`trainer.training.loop`); `trainer.rank.coordinator_client` takes that to the
coordinator.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import NamedTuple, Protocol

FREED_S, FREED_AT_WORK_S = 2.0, 30.0  # for the main thread, once its group broke: in a collective, or before one


class Progress(Protocol):
    """What the coordinator hears of this rank, and wants of rank 0: `rank.coordinator_client`."""

    step: int  # completed
    boundary: bool  # somebody wants to join: let go of the group at the end of a step
    asked: list[str]  # requests for a checkpoint at the end of a step, which rank 0 has not answered yet

    def arrive(self, stage: int = 0) -> None:
        """Its gradients of the step under way are handed over, or it is at this stage of the end of an epoch."""

    def works(self) -> None:
        """It is at work on something long."""


class Unheard:
    """Progress that nobody hears of."""

    def __init__(self) -> None:
        self.step = 0
        self.boundary = False
        self.asked: list[str] = []

    def arrive(self, stage: int = 0) -> None: ...

    def works(self) -> None: ...


class Moment(NamedTuple):
    at: float  # seconds, of a clock that only goes on
    kept_waiting_s: float  # `kept_waiting_s` at that moment


def moment() -> Moment:
    return Moment(time.monotonic(), kept_waiting_s())


def kept_waiting_s() -> float:
    """For how long the threads of this process were ready and had to wait for a core, in sum, since they started.

    0 where the kernel counts no such times (it was built without CONFIG_SCHED_INFO).
    """
    nanoseconds = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/schedstat") as file:  # it may have ended
                nanoseconds += int(file.read().split()[1])
    return nanoseconds / 1e9


def is_stuck(freed: Moment, now: Moment, *, waits: bool) -> bool:
    """Whether the main thread should long have let go of a group that broke, and was ended at `freed`.

    `waits`: it makes the group, or has handed its gradients over. Then the end of the connections wakes it, but for
    gaps in gloo: a send that fails while the event loop answers a peer wakes nobody before the collective's timeout,
    nor does a peer that was to connect and has let go. Who is not woken wants no core. On a machine with far more work
    than cores, one that was woken waits for them before it is out, and that time does not count.
    """
    passed = now.at - freed.at
    idle = passed - max(0.0, now.kept_waiting_s - freed.kept_waiting_s)
    return passed > FREED_AT_WORK_S or (waits and idle > FREED_S)


def position_of_main_thread(frames: int = 6) -> str:
    """Its innermost calls at this moment, the last one first: 'ranks.py:72 add_up, step.py:110 backward'."""
    import traceback  # it takes its time, and few ranks hang

    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    calls = traceback.extract_stack(frame) if frame is not None else []
    return ", ".join(f"{os.path.basename(one.filename)}:{one.lineno} {one.name}" for one in reversed(calls[-frames:]))
