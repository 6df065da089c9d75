"""What the process of one tracker does: reads the run's files as they grow, and writes to its sink.

    code = TrackedRun("mlflow", Path("experiments/night"), project="home").to_the_end(gone)

Nothing of the run waits for it, and what it has not read yet waits in the files: it may be slow, hang or die. A process
that takes over reads the run from its beginning, which costs no host anything, and writes what is not there yet: of
each metric the steps beyond the newest one that the tool has.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from motley.console.report.past_run import PastRun, flat
from motley.console.state.event_data import number
from motley.console.tracking.kept_progress import KeptProgress, make_room, place
from motley.console.tracking.record_tail import RecordTail
from motley.console.tracking.run_points import RunPoints
from motley.console.tracking.secrets import conceal, concealed, secrets_of
from motley.console.tracking.sink import Mark, Point, RunInfo, Sink, SinkError, Value
from motley.console.tracking.trackers import opener
from motley.console.tracking.watchdog import Watchdog
from motley.remote.sanitize import clean
from motley.trainer.contract.wire import END_STATES

LOOK_S = 0.5
QUIET_LOOKS = 3  # without anything new, after which a run that has ended has no more to tell
BATCH = 256  # points and marks that are written at once
STALL_S = 120.0  # that a call into the library may take; the last one, which may send what is left, five times that
DONE, CRASHED, REFUSED = 0, 1, 2  # exit codes; of the last one another try won't help

Gone = Callable[[float], bool]  # waits so many seconds, and says whether nobody will write the files any more


class TrackedRun:
    def __init__(self, tracker: str, folder: Path, *, project: str, mode: str = "", stall_s: float = STALL_S) -> None:
        """Raises UsageError where there is no experiment."""
        self._tracker = tracker
        self._folder = folder
        self._project = project
        self._mode = mode
        self._stall_s = stall_s
        self._run = PastRun.open(folder).name
        self._secrets = secrets_of()
        self._tail = RecordTail(folder)
        self._points = RunPoints()
        self._kept = KeptProgress()
        self._waiting: list[Point | Mark] = []
        self._marks = 0  # of the run, so far
        self._sink: Sink | None = None
        self._dog = Watchdog(self._hangs)

    def to_the_end(self, gone: Gone) -> int:
        """Returns the exit code. `gone(0)` at once: what is there is written, and no more."""
        try:
            make_room(self._folder)
            with _only_one(self._folder, self._tracker, gone) as mine:
                return self._written(gone) if mine else DONE
        except OSError as error:
            return self._failed(f"{error.filename or self._folder} can't be written: {error.strerror}", REFUSED)

    def _written(self, gone: Gone) -> int:
        self._kept = KeptProgress.read(self._folder, self._tracker)
        if self._kept.state == "ended" and end_state(self._folder):
            return DONE  # all of it is there
        self._kept.state, self._kept.pid, self._kept.cause = "writing", os.getpid(), ""
        try:
            self._dog.allow(self._stall_s)
            self._open()
            self._dog.rest()
            state = self._follow(gone)
            self._finish(state)
        except (SinkError, ImportError) as error:
            return self._failed(str(error), REFUSED)
        except PermissionError as error:
            return self._failed(f"{error.filename or 'its files'} can't be written: {error.strerror}", REFUSED)
        except Exception as error:  # noqa: BLE001 - a library's own, of any kind: it is told, and another try is made
            return self._failed(f"{type(error).__name__}: {error}", CRASHED)
        return DONE

    def _open(self) -> None:
        past = PastRun.open(self._folder)
        settings = concealed(flat(past.settings), self._secrets)
        info = RunInfo(
            run=self._run,
            project=self._project,
            folder=self._folder.absolute(),
            settings=settings,
            identity=self._kept.identity,
            mode=self._mode,
        )
        self._sink = opener(self._tracker)(info)
        self._kept.identity, self._kept.where = self._sink.identity, conceal(self._sink.where, self._secrets)
        last = self._sink.last_steps()
        if last is not None:
            self._kept.last = dict(last)
        marks = self._sink.marks()
        if marks is not None:
            self._kept.marks = marks
        self._save()

    def _follow(self, gone: Gone) -> str:
        """Write until the run has ended, or nobody writes its files any more. Returns its end state, or nothing."""
        quiet, over = 0, gone(0.0)
        while True:
            state = end_state(self._folder)
            heard = self._write_new()
            quiet = quiet + 1 if state and not heard else 0
            if over or quiet >= QUIET_LOOKS:
                return state
            over = gone(LOOK_S)

    def _write_new(self) -> bool:
        heard = False
        for record in self._tail.read():
            heard = True
            for one in self._points.hear(record):
                self._take(one)
        self._flush()
        return heard

    def _take(self, one: Point | Mark) -> None:
        """What is there already is left out; a step that was made again after a regroup keeps its first figures."""
        if isinstance(one, Mark):
            self._marks += 1
            if self._marks <= self._kept.marks:
                return
            self._kept.marks = self._marks
            self._waiting.append(_concealed(one, self._secrets))
        else:
            last = self._kept.last
            fresh = {name: value for name, value in one.values.items() if one.step > last.get(name, -1)}
            if not fresh:
                return
            last.update(dict.fromkeys(fresh, one.step))
            self._waiting.append(Point(step=one.step, time=one.time, values=fresh))
        if len(self._waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting or self._sink is None:
            return
        waiting, self._waiting = self._waiting, []
        self._dog.allow(self._stall_s)
        self._sink.write(
            [one for one in waiting if isinstance(one, Point)], [one for one in waiting if isinstance(one, Mark)]
        )
        self._dog.rest()
        self._save()

    def _finish(self, state: str) -> None:
        for point in self._points.rest() if state else ():
            self._take(point)
        self._flush()
        self._dog.allow(5 * self._stall_s)
        if self._sink is not None:
            self._sink.finish(state, self._figures() if state else {})
        self._dog.rest()
        self._kept.state = "ended" if state else "left"
        self._save()

    def _figures(self) -> dict[str, Value]:
        summary = PastRun.open(self._folder).summary
        regroups, rebalances = summary.get("regroups"), number(summary.get("rebalances"))
        found: dict[str, Value] = {
            name: value
            for name in ("steps", "epochs", "samples", "seconds", "samples_per_s", "final_loss")
            if (value := number(summary.get(name))) is not None
        }
        found["regroups"] = len(regroups) if isinstance(regroups, list) else 0
        if rebalances is not None:
            found["rebalances"] = rebalances
        if summary.get("cause"):
            found["cause"] = conceal(clean(str(summary["cause"])), self._secrets)
        if self._points.marks_left_out:
            found["events_left_out"] = self._points.marks_left_out
        return found

    def _save(self) -> None:
        self._kept.save(self._folder, self._tracker)

    def _failed(self, cause: str, code: int) -> int:
        self._dog.rest()
        self._kept.state, self._kept.cause = "failed", clean(conceal(cause, self._secrets))
        with contextlib.suppress(OSError):
            self._save()
        return code

    def _hangs(self, seconds: float) -> None:
        self._failed(f"it did not answer for {seconds:,.0f} s", CRASHED)
        os._exit(CRASHED)


def end_state(folder: Path) -> str:
    """How the run has ended, by its summary; empty while nothing says so."""
    state = PastRun.open(folder).summary.get("state") if (folder / "summary.json").exists() else None
    return state if state in END_STATES else ""


def _concealed(mark: Mark, secrets: list[str]) -> Mark:
    return Mark(
        step=mark.step,
        time=mark.time,
        title=mark.title,
        text=conceal(mark.text, secrets),
        level=mark.level,
    )


@contextlib.contextmanager
def _only_one(folder: Path, tracker: str, gone: Gone) -> Iterator[bool]:
    """Whether this process has the tracker to itself; it waits for another console's until there is no use in it."""
    lock = os.open(place(folder, tracker).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        over = gone(0.0)
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if over:
                    yield False
                    return
                over = gone(1.0)
                continue
            yield True
            return
    finally:
        os.close(lock)
