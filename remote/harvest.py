"""What is brought home from the leader: checkpoints as they appear, the summary at the end, the newest for a resume.

>>> harvest.checkpoint(event)        # fetched in the background, verified, put in place
>>> await harvest.summary()
{'run': 'night', 'state': 'finished', …}
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from remote.errors import HostError, UsageError
from remote.experiment import Experiment
from remote.sanitize import clean_table
from remote.verbs import Verbs
from trainer.wire import Event

_CHECKPOINT = re.compile(r"checkpoints/[A-Za-z0-9_]+\.pt")
FINISH_S = 120.0


class Harvest:
    """Fetches one file at a time, so that following is not starved. Newer epochs replace those still waiting."""

    def __init__(self, verbs: Verbs, run: str, leader: str, experiment: Experiment) -> None:
        self._verbs = verbs
        self._run = run
        self._leader = leader
        self._experiment = experiment
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._work())

    def checkpoint(self, event: Event) -> None:
        """A checkpoint was written on the leader. Its name comes from a host: only our own form is taken."""
        if self._experiment.writable and _CHECKPOINT.fullmatch(str(event.data.get("path"))):
            self._queue.put_nowait(event)

    async def summary(self) -> dict[str, Any] | None:
        """The leader's `summary.json`; None when it has none or does not answer."""
        try:
            content = await self._verbs.fetch(self._leader, self._run, "summary.json")
        except HostError as error:
            self._say(f"summary.json could not be fetched: {error}")
            return None
        try:
            table = json.loads(content) if content else None
        except ValueError as error:
            self._say(f"summary.json of {self._leader} can't be read: {error}")
            return None
        return clean_table(table) if isinstance(table, dict) else None

    async def finish(self) -> None:
        """Wait until everything announced so far is here, or the bound has passed."""
        try:
            await asyncio.wait_for(self._queue.join(), FINISH_S)
        except asyncio.TimeoutError:
            self._say(f"checkpoints are still on {self._leader}: fetching them took longer than {FINISH_S:.0f} s")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._fetch(str(event.data["path"]), event.data.get("sha256"))
            except HostError as error:
                self._say(f"{event.data['path']} could not be fetched: {error}")
            finally:
                self._queue.task_done()

    async def _fetch(self, path: str, sha256: object) -> None:
        local = self._experiment.folder / path
        if local.exists() and hashlib.sha256(local.read_bytes()).hexdigest() == sha256:
            return
        content = await self._verbs.fetch(self._leader, self._run, path)
        if content is None:  # an older epoch, pruned on the host meanwhile
            return
        if hashlib.sha256(content).hexdigest() == sha256:
            self._experiment.write_whole(path, content)

    def _say(self, text: str) -> None:
        event = Event(time=time.time(), host="console", source="console", kind="note", text=text, level="warning")
        self._experiment.note(event)


def final_summary(
    run: str, summary: Mapping[str, Any] | None, states: Mapping[str, str], hosts: Sequence[str], stopping: bool
) -> dict[str, Any]:
    """summary.json for the end: the leader's own, or what can be said without it.

    A leader that was ended in mid-run leaves a summary that says "running": the run is then stopped, failed or lost,
    by what the hosts say.
    """
    if summary is not None and summary.get("state") in ("finished", "stopped", "failed"):
        return dict(summary)
    ends = [states.get(host, "lost") for host in hosts]
    state = "stopped" if stopping or "stopped" in ends else "failed" if "failed" in ends else "lost"
    empty: dict[str, Any] = {
        "run": run, "state": state, "steps": 0, "epochs": 0, "samples": 0, "seconds": 0.0, "samples_per_s": 0.0,
        "final_loss": None, "eval": None, "rebalances": 0, "regroups": [], "phases": {},
        "hosts": [{"name": h, "ranks": 0, "share": 0.0, "samples_per_s": 0.0} for h in hosts],
    }  # fmt: skip
    table = {**empty, **(summary or {}), "state": state}
    table["hosts"] = [{**host, "state": states.get(str(host["name"]), "lost")} for host in table["hosts"]]
    return table


def pretty(table: Mapping[str, Any]) -> bytes:
    return json.dumps(table, indent=2, ensure_ascii=False).encode() + b"\n"


async def bring_checkpoint(verbs: Verbs, leader: str, run: str, experiment: Path) -> None:
    """See to it that the leader has a checkpoint of `run`: its own, else the newest one here.

    Raises UsageError when there is none anywhere.
    """
    known = next((table for table in await verbs.status(leader) if table.get("run") == run), None)
    if known is not None and known.get("checkpoints"):
        return
    local = sorted((experiment / "checkpoints").glob("*.pt"), key=lambda path: path.stat().st_mtime)
    if not local:
        raise UsageError(f"no checkpoint of {run}: neither on {leader} nor in {experiment / 'checkpoints'}")
    await verbs.store(leader, run, local[-1].name, local[-1].read_bytes())
