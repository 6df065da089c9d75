"""What each tracker holds of a run, by its own reader: every figure by metric and step, marks, and how it ended."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Figures = dict[str, list[tuple[int, float]]]


@dataclass(slots=True)
class Held:
    figures: Figures = field(default_factory=dict)  # by metric: (step, value), as often as it is there
    marks: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    state: str = ""

    def by_step(self, metric: str) -> dict[int, float]:
        """Raises AssertionError where a step is there twice."""
        pairs = sorted(self.figures[metric], key=lambda pair: pair[0])
        found = dict(pairs)
        assert len(found) == len(pairs), f"{metric}: {[step for step, _ in pairs]}"
        return found


def same(found: Mapping[int, float], expected: Mapping[int, float], *, single: bool = False) -> bool:
    """Equal, where not-a-number is equal to itself; `single`: as a float of four bytes holds it."""
    if found.keys() != expected.keys():
        return False
    wanted = {step: struct.unpack("f", struct.pack("f", v))[0] if single else v for step, v in expected.items()}
    return all(found[s] == v or (math.isnan(found[s]) and math.isnan(v)) for s, v in wanted.items())


def tensorboard(folder: Path) -> Held:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    held = Held({tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]})
    for tag in reader.Tags()["tensors"]:
        for one in reader.Tensors(tag):
            text = b"".join(one.tensor_proto.string_val).decode()
            if tag.startswith("events/"):
                held.marks.append(text)
            elif tag.startswith("settings"):
                held.settings = dict(tuple(line.strip().split(" = ", 1)) for line in text.splitlines())  # type: ignore[misc]
            elif tag.startswith("summary"):
                held.state = text.strip().splitlines()[0].partition("= ")[2].strip()
    return held


def mlflow(folder: Path) -> Held:
    return _told(_MLFLOW, folder, MLFLOW_DISABLE_TELEMETRY="true")


_MLFLOW = """
import sys
from mlflow.tracking import MlflowClient
place, _, name = sys.argv[1].rpartition("/")
client = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
(run,) = client.search_runs([client.get_experiment_by_name("desk").experiment_id])
assert run.info.run_name == name
history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
held = {"figures": {key: [[one.step, one.value] for one in told] for key, told in history.items()}}
held |= {"marks": [text for tag, text in sorted(run.data.tags.items()) if tag.startswith("event.")]}
held |= {"settings": run.data.params, "state": run.info.status.lower()}
"""


def trackio(folder: Path) -> Held:
    """In a process of its own: trackio looks at TRACKIO_DIR when it is imported."""
    return _told(_TRACKIO, folder, TRACKIO_DIR=str(folder.parent / "trackio"))


_TRACKIO = """
import sys, trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs("desk")
assert run.name == sys.argv[1].rpartition("/")[2]
figures = {}
for row in SQLiteStorage.get_logs("desk", run.name, run_id=run.id):
    for name, value in row.items():
        if "/" in name:
            figures.setdefault(name, []).append([row["step"], value])
alerts = run.alerts()
state = [alert["title"].partition("state: ")[2] for alert in alerts if alert["title"].startswith("state: ")]
held = {"figures": figures, "marks": [f"{a['level']}: {a['title']}: {a['text']}" for a in alerts]}
held |= {"settings": {name: str(value) for name, value in run.config.items()}, "state": state[0]}
"""


def wandb(folder: Path) -> Held:
    """Of all its processes: each has left a folder of its own, with one id."""
    held, ids = Held(), set()
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        printed = subprocess.run(words, capture_output=True, check=True).stdout
        for row in map(json.loads, printed.splitlines()):
            if row["type"] == "run":
                ids.add(row["run"]["run_id"])
                held.settings = {name: str(value) for name, value in row["run"]["config"]["update"].items()}
            elif row["type"] == "history":
                item = row["history"]["item"]
                for name, value in item.items():
                    if "/" in name:
                        held.figures.setdefault(name, []).append((item["step"], float(value)))
            elif row["type"] == "alert":
                held.marks.append(f"{row['alert']['level']}: {row['alert']['title']}: {row['alert']['text']}")
            elif row["type"] == "summary":
                held.state = row["summary"].get("update", {}).get("state", held.state)
    assert len(ids) == 1
    return held


def aim(folder: Path) -> Held:
    return _told(_AIM, folder)


_AIM = """
import sys
from aim import Repo
from aim.sdk.types import QueryReportMode
place, _, name = sys.argv[1].rpartition("/")
figures, run = {}, None
for found in Repo(place).query_metrics("", report_mode=QueryReportMode.DISABLED).iter_runs():
    for metric in found:
        assert run is None or run.hash == metric.run.hash
        run = metric.run
        steps, (values, *_) = metric.data.items_list()
        figures[metric.name] = list(zip(map(int, steps), map(float, values)))
assert run.name == name and run.experiment == "desk"
marks = [record.message for record in run.get_log_records().values.sparse_list()[1]]
held = {"figures": figures, "marks": marks, "state": run["state"]}
held |= {"settings": {key: str(value) for key, value in run["settings"].items()}}
"""


def _told(program: str, folder: Path, **variables: str) -> Held:
    """What a program of ours makes of the folder, which it has as its argument, in `held`."""
    words = [sys.executable, "-c", f"{program}\nimport json\nprint('HELD ' + json.dumps(held))", str(folder)]
    printed = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in printed.splitlines() if line.startswith("HELD ")]
    table = json.loads(line.removeprefix("HELD "))
    table["figures"] = {name: [(step, value) for step, value in pairs] for name, pairs in table["figures"].items()}
    return Held(**table)


READERS = {"tensorboard": tensorboard, "mlflow": mlflow, "trackio": trackio, "wandb": wandb, "aim": aim}
