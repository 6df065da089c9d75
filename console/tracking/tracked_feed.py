"""Starts a run's trackers with its first figures, and waits a little for them when the console has closed.

trackers = PlanTrackers()
emit = trackers.feed(cluster, "night", emit)      # on to the console, as before
...
trackers.close(10.0)                              # after the last run of this console
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from motley.console.tracking.trackers import chosen, installed, missing
from motley.remote.config.console_sections.track import TrackKeys
from motley.remote.feed import FeedRecord
from motley.trainer.contract.wire import Event, Level, Reading, Sample, Usage

if TYPE_CHECKING:
    from motley.console.tracking.tracker_processes import TrackerProcesses

CLOSE_S = 15.0

Emit = Callable[[FeedRecord], None]


class PlanTrackers:
    """Those of all runs of one console, one after another."""

    def __init__(self) -> None:
        self._running: list[TrackerProcesses] = []

    def feed(self, keys: TrackKeys, folder: Path, project: str, emit: Emit) -> Emit:
        """What takes a session's records, and hands them on. `folder`: the experiment's."""
        trackers = chosen(keys.with_)
        if not trackers:
            return emit
        begun = False

        def take(record: FeedRecord) -> None:
            nonlocal begun
            emit(record)
            if not begun and isinstance(record, (Sample, Reading, Usage)):
                begun = True
                self._begin(trackers, keys, folder, project, emit)

        return take

    def _begin(self, trackers: tuple[str, ...], keys: TrackKeys, folder: Path, project: str, emit: Emit) -> None:
        from motley.console.tracking.tracker_processes import TrackerProcesses

        loop = asyncio.get_running_loop()

        def say(text: str, level: Level) -> None:
            note = Event(time=time.time(), host="console", source="console", kind="note", text=text, level=level)
            try:
                loop.call_soon_threadsafe(emit, note)
            except RuntimeError:  # the console has closed
                if level != "info":
                    print(f"motley: {text}", file=sys.stderr)

        for text in missing(trackers):
            say(text, "warning")
        here = [tracker for tracker in trackers if installed(tracker)]
        processes = TrackerProcesses(here, folder, project=keys.project or project, mode=keys.wandb_mode or "", say=say)
        self._running.append(processes)
        processes.start()

    def close(self, seconds: float = CLOSE_S) -> None:
        """Those that need longer go on by themselves, which is said."""
        for processes in self._running:
            processes.leave()
        due, slow = time.monotonic() + seconds, []
        with contextlib.suppress(KeyboardInterrupt):
            slow = [name for one in self._running for name in one.wait(0.5)]
            if slow:
                print(f"motley: {', '.join(slow)} still written to: at most {seconds:.0f} s", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            slow = [name for one in self._running for name in one.wait(max(0.0, due - time.monotonic()))]
        if slow:
            print(f"motley: {', '.join(slow)}: what is left is written without this console", file=sys.stderr)
