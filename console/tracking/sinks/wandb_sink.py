"""wandb, online or offline: offline runs lie in `experiments/<run>/wandb/`, one a process, all with one id.

Steps are a metric of their own, `step`: wandb counts calls, and takes nothing for a step that is behind. What is there
already is read back by its own `wandb leet inspect`, which needs neither an account nor a network.
"""

from __future__ import annotations

import json
import netrc
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb

from motley.console.tracking.sink import Mark, Point, RunInfo, SinkError, Value
from motley.remote.quoting import pasteable

STEP = "step"
EXIT_CODES = {"finished": 0, "failed": 1, "lost": 1}  # any other is shown as killed
KILLED = 255
READ_S = 300.0  # that reading one of its files back may take
LEVELS = {"info": "INFO", "warning": "WARN", "error": "ERROR"}


class WandbSink:
    def __init__(self, info: RunInfo) -> None:
        self._folder = Path(os.environ.get("WANDB_DIR") or info.folder)
        self._id = info.identity.get("id") or uuid.uuid4().hex[:12]
        mode = info.mode or os.environ.get("WANDB_MODE") or ("online" if _knows_key() else "offline")
        self._marks = 0
        self._last = self._read_back()
        settings = wandb.Settings(
            mode=mode,
            console="off",
            disable_code=True,
            disable_git=True,
            silent=True,
            x_disable_machine_info=True,  # the console's machine is none of the run's
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        try:
            self._run: Any = wandb.init(
                project=info.project,
                id=self._id,
                name=info.run,
                dir=str(self._folder),
                config=dict(info.settings),
                resume="allow",
                settings=settings,
            )
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            remedy = '`wandb login` tells it your key; wandb_mode = "offline" needs none'
            raise SinkError(f"{error}. {remedy}") from error
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        self._offline = mode == "offline"

    @property
    def where(self) -> str:
        if self._offline or not self._run.url:
            return pasteable(["wandb", "leet", str(self._folder / "wandb")])
        return str(self._run.url)

    @property
    def identity(self) -> dict[str, str]:
        return {"id": self._id}

    def last_steps(self) -> Mapping[str, int]:
        return self._last

    def marks(self) -> int:
        return self._marks

    def write(self, points: Sequence[Point], marks: Sequence[Mark]) -> None:
        for point in points:
            self._run.log({**point.values, STEP: point.step})
        for mark in marks:
            text = f"step {mark.step}: {mark.text}"
            level = wandb.AlertLevel[LEVELS.get(mark.level, "INFO")]
            self._run.alert(title=mark.title, text=text, level=level, wait_duration=1)

    def finish(self, state: str, figures: Mapping[str, Value]) -> None:
        if state:
            self._run.summary.update({"state": state, **figures})
        self._run.finish(exit_code=EXIT_CODES.get(state, KILLED))

    def _read_back(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path in sorted(self._folder.glob(f"wandb/*run-*-{self._id}/run-{self._id}.wandb")):
            for row in _records(path):
                self._marks += row["type"] == "alert"
                item = row["history"]["item"] if row["type"] == "history" else {}
                step = item.get(STEP)
                if isinstance(step, int):
                    found.update({name: max(step, found.get(name, -1)) for name in item})
        return found


def open_sink(info: RunInfo) -> WandbSink:
    return WandbSink(info)


def _records(path: Path) -> list[dict[str, Any]]:
    """Of a run's file. What a process that was killed took with it is not there, and is written again; so is all of a
    file that can't be read."""
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=READ_S, check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


def _knows_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
