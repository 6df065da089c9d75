"""`motley verify`: one step of a run computed again, on this machine or on one host alone, and compared with what the
run wrote."""

from __future__ import annotations

import asyncio
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
from motley.console.report.recorded_step import RecordedStep, StepRecords, checkpoints_before, whole_checkpoint
from motley.console.report.verification import compared, lines_of, tolerance
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import RunFailed, UsageError

MOST_S = 3600.0  # that a step may take on this machine
SEEDED = "the first weights, which the seed gives"
_HEAD = "# Changed on the command line:"
_CHANGED = re.compile(r"^# --set (.+)$", re.MULTILINE)  # as `remote.config.load` writes it


def verify(
    config: Path,
    run: str,
    step: int,
    *,
    python: str | None,
    data: str | None,
    on: tuple[Cluster, str] | None,
    json: bool,
) -> int:
    """0 where it agrees within the tolerance, 1 where it does not. `python`: one of this machine that has torch;
    `data`: where the data is; `on`: a host of a cluster that computes it, in place of this machine.

    Raises UsageError for a step that can't be verified, RunFailed when computing it fails, HostError where `on` does
    not answer or can't compute it."""
    past = PastRun.open(folder_of(run, config))
    records = StepRecords.of(past.records())
    recorded = records.at(step)
    if recorded.resumed and step > 1:
        raise UsageError(
            f"step {step} is the first after a resume: the checkpoint before it is of the run that it goes on from"
        )
    cluster = settings_of(past, own=on is not None)
    if on is None:
        found = whole_checkpoint(past.folder, records, step)
        path = found[0] if found is not None else None
        name = path.name if path is not None else SEEDED
        request = request_of(cluster, recorded, path, Path(data) if data is not None else None, past)
        here = _recompute(python or sys.executable, request)
    else:
        name, here = _on_host(*on, cluster, past, records, recorded, data)
    limit, limit_of = tolerance(recorded, dtype=cluster.run.dtype, compress=cluster.run.compress)
    host = on[1] if on is not None else ""
    verdict = compared(past.name, name, recorded, here, limit=limit, limit_of=limit_of, host=host)
    if json:
        print_data({**dataclasses.asdict(verdict), "agrees": verdict.agrees})
    else:
        print("\n".join(lines_of(verdict)))
    return 0 if verdict.agrees else 1


def settings_of(past: PastRun, *, own: bool = False) -> Cluster:
    """`own`: a task of the user's own will do. Raises ConfigError for a cluster.toml that can't be used, UsageError for
    a run of a program."""
    path = past.folder / "cluster.toml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    cluster = load(path, _CHANGED.findall(text.partition(_HEAD)[2]))
    if cluster.run.program is not None:
        raise UsageError(f"{past.name} is a run of {cluster.run.program}: only steps of a task are computed again")
    if cluster.own_task is not None and not own:
        raise UsageError(
            f"{cluster.run.task} is a task of your own, whose files as they were are on the hosts that took part: "
            f"`motley verify {past.name} --step N --on HOST` computes it there"
        )
    return cluster


def request_of(
    cluster: Cluster, recorded: RecordedStep, checkpoint: Path | None, data: Path | None, past: PastRun
) -> dict[str, Any]:
    """As `trainer.verify.recomputed_step` takes it."""
    source = cluster.data
    pushed = past.folder.absolute().parent.parent / source.push if source.push is not None else None
    place = data.absolute() if data is not None else pushed
    path = source.path if place is None else str(place)
    return {
        **_request(cluster, recorded, path),
        "checkpoint": None if checkpoint is None else str(checkpoint.absolute()),
    }


def _request(cluster: Cluster, recorded: RecordedStep, path: str | None) -> dict[str, Any]:
    ours, source = cluster.included, dataclasses.replace(cluster.data, push=None, path=path, workers=0)
    own_task = {"tree": "", "module": ours.module, "name": ours.name, "parameters": cluster.task} if ours else None
    return {
        "options": dataclasses.asdict(cluster.run),
        "data": dataclasses.asdict(source),
        "own_task": own_task,
        "step": recorded.step,
        "parts": [list(part) for part in recorded.parts],
        "sign_seed": recorded.gradient.seed,
        "precision": recorded.precision,
    }


def _on_host(
    there: Cluster,
    host: str,
    cluster: Cluster,
    past: PastRun,
    records: StepRecords,
    recorded: RecordedStep,
    data: str | None,
) -> tuple[str, dict[str, Any]]:
    """The name of the checkpoint that it began with, and what was computed. `there` has the host as it is reached now;
    `data`: the folder on it."""
    from motley.console.control.terminal_prompts import asker
    from motley.remote.session.step_on_host import Given, step_on_host

    def given() -> Given:
        found = whole_checkpoint(past.folder, records, recorded.step)
        assert found is not None
        return Given(path=found[0], sha256=found[1])

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    asked = {
        **_request(cluster, recorded, data if data is not None else cluster.data.path),
        "checkpoints": [[one.name, one.sha256] for one in checkpoints_before(records, recorded.step)],
        "pushed": cluster.data.push is not None,
        "named": data is not None,
        "own": cluster.own_task is not None,
    }
    try:
        done = asyncio.run(step_on_host(there, past.name, host, asked, past.folder, given=given, say=say, ask=asker()))
    finally:
        say("")
    return done.checkpoint or SEEDED, done.answer


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
        answer = to_json.loads(done.stdout.rstrip("\n").rpartition("\n")[2])
    except OSError as error:
        raise UsageError(
            f"{python} can't be started: {error.strerror}. Name a Python that has torch: --python"
        ) from error
    except subprocess.TimeoutExpired:
        raise RunFailed(f"the step was not computed within {MOST_S / 60:.0f} minutes") from None
    except ValueError:
        answer = {}
    if "error" in answer:
        remedy = f". {answer['remedy']}" if answer.get("remedy") else ""
        raise RunFailed(f"the step can't be computed here: {answer['error']}{remedy}")
    if not isinstance(answer.get("result"), dict):
        raise RunFailed(
            f"{python} -m motley.trainer.verify ended with code {done.returncode}; what it said is above"
        ) from None
    return dict(answer["result"])
