"""aim, for those who have it: its last release is of May 2025. A repository in `experiments/`, or where AIM_REPO says.

What happened is in the run's log. aim's own readers know a run only once it is indexed, which `aim up` does as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from aim import Repo, Run
from aim.sdk.errors import MissingRunError

from motley.console.tracking.sink import Mark, Point, RunInfo, Value
from motley.remote.quoting import pasteable


class AimSink:
    def __init__(self, info: RunInfo) -> None:
        self._path = os.environ.get("AIM_REPO") or str(info.folder.parent)
        if not Repo.exists(self._path):
            Repo.from_path(self._path, init=True)
        known = info.identity.get("hash")
        try:
            self._run: Any = self._opened(known, info)
        except MissingRunError:
            self._run = self._opened(None, info)
        self._run.name = info.run
        self._run["settings"] = dict(info.settings)
        self._run["state"] = "running"
        log = self._run.get_log_records()
        self._marks = len(log.data.indices_list()) if log else 0
        self._last = {metric.name: max(metric.data.indices_list(), default=-1) for metric in self._run.metrics()}

    @property
    def where(self) -> str:
        return pasteable(["aim", "up", "--repo", self._path])

    @property
    def identity(self) -> dict[str, str]:
        return {"hash": self._run.hash}

    def last_steps(self) -> Mapping[str, int]:
        return self._last

    def marks(self) -> int:
        return self._marks

    def write(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        for point in points:
            for name, value in point.values.items():
                self._run.track(value, name=name, step=point.step)
        log = {"info": self._run.log_info, "warning": self._run.log_warning, "error": self._run.log_error}
        for mark in marks:
            log.get(mark.level, self._run.log_info)(f"{mark.title}: {mark.text}", step=mark.step)

    def finish(self, state: str, figures: Mapping[str, Value]) -> None:
        if state:
            self._run["state"] = state
            self._run["summary"] = dict(figures)
        number = self._run.hash
        self._run.close()
        with contextlib.suppress(ImportError, AttributeError):  # of other releases: then `aim up` alone does it
            from aim.sdk.index_manager import RepoIndexManager

            RepoIndexManager.get_index_manager(Repo.from_path(self._path)).index(number)

    def _opened(self, known: str | None, info: RunInfo) -> Any:
        return Run(
            run_hash=known,
            repo=self._path,
            experiment=info.project,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )


def open_sink(info: RunInfo) -> AimSink:
    return AimSink(info)
