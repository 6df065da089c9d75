"""mlflow: its tracking store, by default a SQLite file in `experiments/` that all runs there share.

The file store of older releases is refused by mlflow itself. Metrics have their whole history, settings are parameters,
what happened are tags `event.0001`, and the run's status is that of the run.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from motley.console.tracking.sink import Mark, Point, RunInfo, SinkError, Value
from motley.remote.quoting import pasteable

MOST = 1000  # metrics of one call, as mlflow has it; 100 parameters and tags
MOST_PARAMS = 100
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
STATUS = {"finished": "FINISHED", "stopped": "KILLED"}  # any other end: FAILED
_ODD = re.compile(r"[^\w.\-/ :]")


class MlflowSink:
    def __init__(self, info: RunInfo) -> None:
        experiments = info.folder.parent
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{experiments / 'mlflow.db'}"
        if "://" not in self._uri or self._uri.startswith("file:"):
            raise SinkError("MLFLOW_TRACKING_URI is a folder, which mlflow itself refuses by now: name sqlite:///FILE")
        self._client = MlflowClient(tracking_uri=self._uri)
        self._names: dict[str, str] = {}
        self._marks = 0
        self._last: dict[str, int] = {}
        self._run_id = self._found(info.identity.get("run_id", "")) or self._created(info, experiments)

    @property
    def where(self) -> str:
        return pasteable(["mlflow", "ui", "--backend-store-uri", self._uri])

    @property
    def identity(self) -> dict[str, str]:
        return {"run_id": self._run_id}

    def last_steps(self) -> Mapping[str, int]:
        return self._last

    def marks(self) -> int:
        return self._marks

    def write(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        metrics = [
            Metric(self._name(name), value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for begin in range(0, len(metrics), MOST):
            self._client.log_batch(self._run_id, metrics=metrics[begin : begin + MOST])
        tags = []
        for mark in marks:
            self._marks += 1
            text = f"{mark.level}, step {mark.step}, {mark.title}: {mark.text}"
            tags.append(RunTag(f"event.{self._marks:04}", text[:LONGEST_TAG]))
        for begin in range(0, len(tags), MOST_PARAMS):
            self._client.log_batch(self._run_id, tags=tags[begin : begin + MOST_PARAMS])

    def finish(self, state: str, figures: Mapping[str, Value]) -> None:
        if not state:
            return
        tags = [RunTag("motley.state", state), *(RunTag(f"motley.{name}", str(v)) for name, v in figures.items())]
        self._client.log_batch(self._run_id, tags=tags)
        self._client.set_terminated(self._run_id, STATUS.get(state, "FAILED"))

    def _created(self, info: RunInfo, experiments: Path) -> str:
        experiment = self._client.get_experiment_by_name(info.project)
        if experiment is None:
            artifacts = (experiments / "mlflow-artifacts").as_uri() if self._uri.startswith("sqlite:") else None
            number = self._client.create_experiment(info.project, artifact_location=artifacts)
        else:
            number = experiment.experiment_id
        run = self._client.create_run(number, run_name=info.run, tags={"motley.run": info.run})
        params = [Param(_plain(name), str(value)[:LONGEST_PARAM]) for name, value in info.settings.items()]
        for begin in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run.info.run_id, params=params[begin : begin + MOST_PARAMS])
        found: str = run.info.run_id
        return found

    def _found(self, run_id: str) -> str:
        """The run of an earlier process, with the newest step of each of its metrics; empty where it is no more."""
        if not run_id:
            return ""
        with contextlib.suppress(MlflowException):
            run = self._client.get_run(run_id)
            self._marks = sum(name.startswith("event.") for name in run.data.tags)
            # Not by the whole history: of each metric the store keeps the one of the highest step at hand.
            self._last = {metric.key: metric.step for metric in run.data._metric_objs}
            if run.info.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            return run_id
        return ""

    def _name(self, name: str) -> str:
        if name not in self._names:
            self._names[name] = _plain(name)
        return self._names[name]


def open_sink(info: RunInfo) -> MlflowSink:
    return MlflowSink(info)


def _plain(name: str) -> str:
    """A name as mlflow takes it."""
    return _ODD.sub("_", name)[:250]
