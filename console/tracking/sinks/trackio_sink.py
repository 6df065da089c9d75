"""trackio: a SQLite file for each project, in `experiments/trackio/` or where TRACKIO_DIR says.

The file is written at once on a network home, too, where trackio would leave fragments that only its dashboard reads.
What happened is alerts; the run's state, for which trackio has no place, one more at its end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from motley.console.tracking.sink import Mark, Point, RunInfo, Value
from motley.remote.quoting import pasteable

QUEUES = ("_queued_logs", "_queued_alerts", "_sending_batch")
WRITTEN_S = 10.0


class TrackioSink:
    def __init__(self, info: RunInfo) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(info.folder.parent / "trackio"))
        os.environ.setdefault("TRACKIO_STORAGE_MODE", "sqlite")
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._trackio: Any = trackio
        self._project = info.project
        self._last: dict[str, int] = {}
        self._marks = 0
        if (known := self._known(info)) is not None:
            self._last = _last_steps(SQLiteStorage.get_logs(info.project, info.run))
            self._marks = len(known.alerts())
        self._run: Any = trackio.init(
            project=info.project,
            name=info.run,
            config=dict(info.settings),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    @property
    def where(self) -> str:
        show = pasteable(["trackio", "show", "--project", self._project])
        return f"{pasteable(['env', 'TRACKIO_DIR=' + os.environ['TRACKIO_DIR']])} {show}"

    @property
    def identity(self) -> dict[str, str]:
        return {}

    def last_steps(self) -> Mapping[str, int]:
        return self._last

    def marks(self) -> int:
        return self._marks

    def write(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        for point in points:
            self._run.log(dict(point.values), step=point.step)
        levels = self._trackio.AlertLevel
        by_level = {"info": levels.INFO, "warning": levels.WARN, "error": levels.ERROR}
        for mark in marks:
            text = f"step {mark.step}: {mark.text}"
            self._run.alert(title=mark.title, text=text, level=by_level.get(mark.level, levels.INFO))
        self._written()

    def finish(self, state: str, figures: Mapping[str, Value]) -> None:
        if state:
            level = self._trackio.AlertLevel.INFO if state == "finished" else self._trackio.AlertLevel.WARN
            text = ", ".join(f"{name} {value}" for name, value in figures.items())
            self._run.alert(title=f"state: {state}", text=text, level=level)
        self._trackio.finish()

    def _written(self) -> None:
        """trackio writes half a second later, and has no word for "now": what it holds by then would go with a process
        that is killed. Where its queues have other names by now, nobody waits."""
        due = time.monotonic() + WRITTEN_S
        while any(getattr(self._run, queue, None) for queue in QUEUES) and time.monotonic() < due:
            time.sleep(0.02)

    def _known(self, info: RunInfo) -> Any:
        """The run as an earlier process has left it, or None."""
        try:
            return next((run for run in self._trackio.Api().runs(info.project) if run.name == info.run), None)
        except ValueError:  # there is no such project
            return None


def open_sink(info: RunInfo) -> TrackioSink:
    return TrackioSink(info)


def _last_steps(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        step = row.get("step")
        if isinstance(step, int):
            told = [name for name, value in row.items() if "/" in name and isinstance(value, (int, float))]
            found.update({name: max(step, found.get(name, -1)) for name in told})
    return found
