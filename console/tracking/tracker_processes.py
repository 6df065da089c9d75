"""The processes of a run's trackers, from the console's side: started, started again once, and waited for at the end.

    trackers = TrackerProcesses(["mlflow"], folder, project="home", mode="", say=print_it)
    trackers.start()                  # returns at once
    ...
    trackers.leave()                  # nobody writes the run's files from here any more
    trackers.wait(10.0)               # ["mlflow"] of these still write

They are told nothing but that the console has gone: what they write they read from the run's files. So nothing here
waits for them while the run goes on, and one that is killed, hangs or can't be written to is a line in the log.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from motley.console.tracking.kept_progress import KeptProgress
from motley.console.tracking.track_run import DONE, REFUSED
from motley.remote.quoting import pasteable
from motley.trainer.contract.wire import Level

TRIES = 2
LOOK_S = 0.5

Say = Callable[[str, Level], None]


class TrackerProcesses:
    def __init__(self, trackers: Sequence[str], folder: Path, *, project: str, mode: str, say: Say) -> None:
        """`say` is called from threads."""
        self._trackers = tuple(trackers)
        self._folder = folder
        self._project = project
        self._mode = mode
        self._say = say
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._left = False

    def start(self) -> None:
        for tracker in self._trackers:
            thread = self._threads[tracker] = threading.Thread(target=self._keep, args=(tracker,), daemon=True)
            thread.start()

    def leave(self) -> None:
        """They write what is there, and end."""
        with self._lock:
            self._left = True
            for process in self._running.values():
                _close_input(process)

    def wait(self, seconds: float) -> list[str]:
        """Those that still write then. They go on by themselves when the console ends."""
        due = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, due - time.monotonic()))
        return [tracker for tracker, thread in self._threads.items() if thread.is_alive()]

    def _keep(self, tracker: str) -> None:
        for again in range(TRIES):
            try:
                process = self._begin(tracker)
            except OSError as error:
                self._say(f"{tracker} can't be started: {error.strerror}", "warning")
                return
            code = self._watch(tracker, process)
            _close_input(process)
            if code == DONE:
                return
            cause = self._cause(tracker, process.pid, code)
            later = pasteable(["motley", "track", self._folder.name, "--with", tracker])
            if code == REFUSED:
                self._say(f"{tracker} is not written to: {cause}. When that is mended: {later}", "warning")
                return
            if again + 1 < TRIES:
                self._say(f"{tracker} ended ({cause}): it is started again, the run is not touched", "warning")
            else:
                self._say(f"{tracker} has ended again ({cause}): nothing more goes to it. Later: {later}", "warning")

    def _begin(self, tracker: str) -> subprocess.Popen[bytes]:
        module = "motley.console.tracking"
        words = [sys.executable, "-m", module, tracker, str(self._folder), "--project", self._project, "--follow"]
        if self._mode:
            words += ["--mode", self._mode]
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the console
        )
        with self._lock:
            self._running[tracker] = process
            if self._left:
                _close_input(process)
        return process

    def _watch(self, tracker: str, process: subprocess.Popen[bytes]) -> int:
        """Until its end; once it is open, where it can be looked at is said."""
        while True:
            try:
                return process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                kept = KeptProgress.read(self._folder, tracker)
                if kept.pid == process.pid and kept.where:
                    self._say(f"the figures go to {tracker}, too: {kept.where}", "info")
                    return process.wait()

    def _cause(self, tracker: str, pid: int, code: int) -> str:
        kept = KeptProgress.read(self._folder, tracker)
        if kept.pid == pid and kept.cause:
            return kept.cause
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
