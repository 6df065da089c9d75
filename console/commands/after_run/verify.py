"""`motley verify`: one step of a run computed again on this machine alone, and compared with what the run wrote."""

from __future__ import annotations

import dataclasses
import json as to_json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import motley
from motley.console.commands.json_output import print_data
from motley.console.report.past_run import PastRun, folder_of
from motley.console.report.recorded_step import RecordedStep, StepRecords, whole_checkpoint
from motley.console.report.verification import compared, lines_of, tolerance
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import RunFailed, UsageError

MOST_S = 3600.0  # that a step may take on one machine
_HEAD = "# Changed on the command line:"
_CHANGED = re.compile(r"^# --set (.+)$", re.MULTILINE)  # as `remote.config.load` writes it


def verify(config: Path, run: str, step: int, *, python: str | None, data: Path | None, json: bool) -> int:
    """0 where it agrees within the tolerance, 1 where it does not. `python`: one that has torch; `data`: where the
    data is on this machine. Raises UsageError for a step that can't be verified, RunFailed when computing it fails."""
    past = PastRun.open(folder_of(run, config))
    records = StepRecords.of(past.records())
    recorded = records.at(step)
    if recorded.resumed and step > 1:
        raise UsageError(
            f"step {step} is the first after a resume: the checkpoint before it is of the run that it goes on from"
        )
    cluster = settings_of(past)
    path = whole_checkpoint(past.folder, records, step)
    name = path.name if path is not None else "the first weights, which the seed gives"
    here = _recompute(python or sys.executable, request_of(cluster, recorded, path, data, past))
    limit, limit_of = tolerance(recorded, dtype=cluster.run.dtype, compress=cluster.run.compress)
    found = compared(past.name, name, recorded, here, limit=limit, limit_of=limit_of)
    if json:
        print_data({**dataclasses.asdict(found), "agrees": found.agrees})
    else:
        print("\n".join(lines_of(found)))
    return 0 if found.agrees else 1


def settings_of(past: PastRun) -> Cluster:
    """Raises ConfigError for a cluster.toml that can't be used, UsageError for a run of a program."""
    path = past.folder / "cluster.toml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    cluster = load(path, _CHANGED.findall(text.partition(_HEAD)[2]))
    if cluster.run.program is not None:
        raise UsageError(f"{past.name} is a run of {cluster.run.program}: only steps of a task are computed again")
    if cluster.own_task is not None:
        raise UsageError(
            f"{cluster.run.task} is a task of your own: only those that come with Motley are computed again"
        )
    return cluster


def request_of(
    cluster: Cluster, recorded: RecordedStep, checkpoint: Path | None, data: Path | None, past: PastRun
) -> dict[str, Any]:
    """As `trainer.verify.recomputed_step` takes it."""
    ours, source = cluster.included, cluster.data
    pushed = past.folder.absolute().parent.parent / source.push if source.push is not None else None
    place = data.absolute() if data is not None else pushed
    source = dataclasses.replace(source, push=None, path=source.path if place is None else str(place), workers=0)
    own_task = {"tree": "", "module": ours.module, "name": ours.name, "parameters": cluster.task} if ours else None
    return {
        "options": dataclasses.asdict(cluster.run),
        "data": dataclasses.asdict(source),
        "own_task": own_task,
        "step": recorded.step,
        "checkpoint": None if checkpoint is None else str(checkpoint.absolute()),
        "parts": [list(part) for part in recorded.parts],
        "sign_seed": recorded.gradient.seed,
        "precision": recorded.precision,
    }


def _recompute(python: str, request: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: the console has no torch. Raises RunFailed with what went wrong there."""
    above = str(Path(motley.__file__).absolute().parent.parent)
    paths = [above, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(
            [python, "-m", "motley.trainer.verify"],
            input=to_json.dumps(request), env=environment, stdout=subprocess.PIPE, text=True, timeout=MOST_S,
            check=False,
        )  # fmt: skip
        answer = to_json.loads(done.stdout)
    except OSError as error:
        raise UsageError(
            f"{python} can't be started: {error.strerror}. Name a Python that has torch: --python"
        ) from error
    except subprocess.TimeoutExpired:
        raise RunFailed(f"the step was not computed within {MOST_S / 60:.0f} minutes") from None
    except ValueError:
        raise RunFailed(
            f"{python} -m motley.trainer.verify ended with code {done.returncode}; what it said is above"
        ) from None
    if "error" in answer:
        remedy = f". {answer['remedy']}" if answer.get("remedy") else ""
        raise RunFailed(f"the step can't be computed here: {answer['error']}{remedy}")
    return dict(answer)
