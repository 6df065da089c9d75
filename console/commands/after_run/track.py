"""`motley track`: writes a run to trackers afterwards, from its folder in `experiments/` alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from motley.console.commands.json_output import print_data
from motley.console.report.past_run import PastRun, folder_of
from motley.console.tracking.kept_progress import KeptProgress
from motley.console.tracking.track_run import DONE, REFUSED
from motley.console.tracking.trackers import chosen, missing
from motley.remote.config.console_sections.track import TrackKeys, trackers_problem
from motley.remote.config.load import load
from motley.remote.errors import MotleyError, UsageError

MODULE = "motley.console.tracking"


def track(config: Path, run: str, wanted: Sequence[str], *, json: bool) -> int:
    """What is there already is not written twice. Prints how each can be looked at.

    Raises UsageError where there is no such experiment, no tracker is named, or one is not installed.
    """
    folder = folder_of(run, config)
    PastRun.open(folder)
    keys, project = _keys(config, named=bool(wanted))
    trackers = tuple(dict.fromkeys(wanted)) or chosen(keys.with_)
    if problem := trackers_problem(trackers):
        raise UsageError(f"--with {problem}")
    if not trackers:
        raise UsageError("no tracker is named: add --with mlflow, or `with` to [track] of cluster.toml")
    if absent := missing(trackers):
        raise UsageError("; ".join(absent))
    told = [_tracked(tracker, folder, keys.project or project, keys.wandb_mode or "") for tracker in trackers]
    if json:
        print_data({"trackers": [{"tracker": name, **row} for name, row in zip(trackers, told)]})
    for name, row in zip(trackers, told):
        if row["state"] == "failed":
            print(f"motley: {name}: {row['cause']}", file=sys.stderr)
        elif not json:
            print(row["where"])
    return 1 if any(row["state"] == "failed" for row in told) else 0


def _keys(config: Path, *, named: bool) -> tuple[TrackKeys, str]:
    """`[track]`, and the cluster's name; without a cluster.toml that can be read, what is `named` is enough."""
    try:
        cluster = load(config)
    except MotleyError:
        if not named:
            raise
        return TrackKeys(), "motley"
    return cluster.track, cluster.name


def _tracked(tracker: str, folder: Path, project: str, mode: str) -> dict[str, str]:
    words = [
        sys.executable,
        "-m",
        MODULE,
        tracker,
        str(folder),
        "--project",
        project,
        *(["--mode", mode] if mode else []),
    ]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    kept = KeptProgress.read(folder, tracker)
    if done.returncode not in (DONE, REFUSED) and not kept.cause:
        kept.cause = f"its process ended with code {done.returncode}"
    state = "written" if done.returncode == DONE else "failed"
    return {"state": state, "where": kept.where, "cause": "" if state == "written" else kept.cause}
