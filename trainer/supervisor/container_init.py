"""The first process in the container of a rank: starts the rank, hands TERM on to it, and ends with the supervisor.

Between the supervisor and a rank in a container stand the runtime's own processes, so no parent-death signal reaches
it, and a runtime that is restarted forgets who waited. What does reach it is the lock of the run's folder, which the
kernel keeps: the supervisor holds it as long as it lives. This process waits for it, and when it has it, it is over.
When the first process of a container ends, the kernel ends all the others in it, those in sessions of their own too; in
one whose processes are numbered as on the host, the runtime does that.

`docker run IMAGE -m motley.trainer contained --lock PATH rank --run night --host box1 --member 2`

Where the lock of a living supervisor is not seen, as on a file system that does not carry it, the container ends at
once, and says so: better none than one that nobody can end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from motley.trainer.host import processes


def main(lock: Path, words: Sequence[str]) -> int:
    """Run `python -m motley.trainer WORDS`, and exit as it did (128 and the number of its signal). Never returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there is somebody to hand it on to
    held = os.open(lock, os.O_RDONLY)
    die = processes.die_with(os.getpid())
    child = os.fork()
    if child == 0:
        os.setsid()
        die()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.execv(sys.executable, [sys.executable, "-m", "motley.trainer", *words])
    signal.signal(signal.SIGTERM, lambda *_: processes.send([child], signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=end_with, args=(held,), name="lock", daemon=True).start()
    while True:
        pid, status = os.wait()  # also what was left by others, whose parent the first process becomes
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def end_with(held: int) -> None:
    """End this process when whoever has the lock of this open file is gone."""
    fcntl.flock(held, fcntl.LOCK_SH)
    os.write(2, b"no supervisor holds the lock of this run: its container ends\n")
    os._exit(1)
