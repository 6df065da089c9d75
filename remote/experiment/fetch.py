"""What is brought home: checkpoints and traces as they appear, and the summary at the end.

>>> harvest.checkpoint(event)        # fetched in the background, verified, put in place
>>> await harvest.summary("box1")
{'run': 'night', 'state': 'finished', …}
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from motley.remote.end_tasks import end
from motley.remote.errors import CommandFailed, HostError, MotleyError, Unreachable
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.local_disk import Incoming
from motley.remote.rpc.verbs import Verbs
from motley.remote.sanitize import clean_table
from motley.remote.ssh.connection import backoff
from motley.trainer.contract.checkpoint_trailer import is_name
from motley.trainer.contract.wire import END_STATES, Event

T = TypeVar("T")
_CHECKPOINT = re.compile(r"checkpoints/([^/]*)\.pt")
_EPOCH = re.compile(r"checkpoints/epoch_[0-9]+\.pt")
_TRACE = re.compile(r"trace_rank_[0-9]{1,6}\.json\.gz")
SCHEDULED = ("steps", "minutes")
EPOCHS, STEPS = "epochs", "steps"
FINISH_S = 120.0
PATIENCE_S = 20.0  # with a host that can't be reached, for one file
HEARD = ("steps", "epochs", "samples", "seconds", "samples_per_s", "rebalances")  # of a summary, else the leader's word
NOTHING: Mapping[str, Any] = MappingProxyType({})
REPLACED_S = 5.0  # from a file that is not what was announced to the word that it was written once more


class Fetcher:
    """Fetches one file at a time, so that following is not starved. A newer checkpoint replaces one of its series that
    still waits."""

    def __init__(self, verbs: Verbs, run: str, experiment: Experiment, *, say: Callable[[str], None]) -> None:
        self._verbs = verbs
        self._run = run
        self._experiment = experiment
        self._say = say
        self._of_steps: list[str] = []  # fetched checkpoints that a schedule had written; as many stay as on the leader
        self._waiting: dict[str, Event] = {}  # by path: who has announced it, with its size and SHA-256
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task = asyncio.ensure_future(self._work())

    def hear(self, event: Event) -> None:
        """An event of the run: something to fetch, perhaps."""
        if event.kind == "checkpoint":
            self.checkpoint(event)
        elif event.kind == "trace":
            self.trace(event)

    def checkpoint(self, event: Event) -> None:
        """A checkpoint was written, on the host of rank 0. Its name comes from there: only our own form is taken."""
        path = str(event.data.get("path"))
        hosts = [host.name for host in self._verbs.hosts.cluster.hosts]
        named = _CHECKPOINT.fullmatch(path)
        if named is None or not is_name(named[1]) or event.host not in hosts:
            return
        if series := series_of(event):
            self._waiting = {p: told for p, told in self._waiting.items() if series_of(told) != series}
        self._announce(path, event)

    def trace(self, event: Event) -> None:
        """A rank has written its profiler trace, on its own host: it goes to `traces/`."""
        path = str(event.data.get("path"))
        hosts = [host.name for host in self._verbs.hosts.cluster.hosts]
        if _TRACE.fullmatch(path) and event.host in hosts:
            self._announce(path, event)

    def _announce(self, path: str, event: Event) -> None:
        if not self._verbs.hosts.take_commands:  # it stays on its volume
            return
        self._waiting[path] = event
        self.resume()

    def resume(self) -> None:
        """Fetch what is announced, if this console keeps the run; else it waits, for the day that it takes it over."""
        if self._waiting and self._experiment.writable:
            self._idle.clear()
            self._more.set()

    async def summary(self, leader: str) -> dict[str, Any] | None:
        """The leader's `summary.json`; None when it has none or does not answer."""
        content: bytes | str | None = self._experiment.summaries.get(leader)
        try:
            if content is None and self._verbs.hosts.take_commands:
                content = await self._patiently(lambda: self._verbs.fetch(leader, self._run, "summary.json"))
        except HostError as error:
            self._say(f"summary.json could not be fetched: {error}")
            return None
        try:
            table = json.loads(content) if content else None
        except (ValueError, RecursionError) as error:
            self._say(f"summary.json of {leader} can't be read: {error}")
            return None
        return clean_table(table) if isinstance(table, dict) else None

    async def finish(self) -> None:
        """Wait until everything announced so far is here, or the bound has passed."""
        try:
            await asyncio.wait_for(self._idle.wait(), FINISH_S)
        except asyncio.TimeoutError:
            self._say(f"files are still on their hosts: fetching them took longer than {FINISH_S:.0f} s")

    async def close(self) -> None:
        await end([self._task])

    async def _work(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting and self._experiment.writable:
                path = next(iter(self._waiting))
                try:
                    await self._bring(path, self._waiting.pop(path))
                except MotleyError as error:
                    if not (isinstance(error, CommandFailed) and await self._announced_anew(path)):
                        self._say(f"{path} could not be fetched: {error}")
                except Exception as error:  # noqa: BLE001 - said, and what comes next is fetched all the same
                    self._say(f"{path} could not be fetched: {type(error).__name__}: {error}. Report this")
            self._idle.set()

    async def _announced_anew(self, path: str) -> bool:
        """Whether there is a newer word of the file: `best.pt` may be written once more while it is fetched."""

        async def comes() -> None:
            while path not in self._waiting:
                self._more.clear()
                await self._more.wait()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(comes(), REPLACED_S)
        return path in self._waiting

    async def _bring(self, path: str, event: Event) -> None:
        name = f"traces/{path}" if _TRACE.fullmatch(path) else path
        local = self._experiment.folder / name
        if local.exists() and await asyncio.to_thread(_digest, local) == event.data.get("sha256"):
            return
        if await self._patiently(lambda: self._receive(name, path, event)) and (series := series_of(event)):
            if series == STEPS:
                self._of_steps.append(path)
            self._prune()

    async def _receive(self, name: str, path: str, event: Event) -> bool:
        """Straight to the disk, and no more than was announced. Returns whether the host has it: an older epoch may
        have been pruned there meanwhile."""
        host, size = event.host, event.data.get("bytes")
        if type(size) is not int:
            raise CommandFailed(host, f"it does not say how large {path} is", "It was left there.")
        digest = hashlib.sha256()
        incoming = Incoming(self._experiment.folder, name)

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            incoming.write(chunk)

        try:
            if not await self._verbs.fetch_to(take, host, self._run, path, most=size):
                return False
            if digest.hexdigest() != event.data.get("sha256"):
                cause = f"{path} of {host} is not what was announced (its SHA-256 differs)"
                raise CommandFailed(host, cause, "It was left there.")
            await asyncio.to_thread(incoming.keep)  # the disk takes its time
            return True
        finally:
            incoming.close()

    def _prune(self) -> None:
        """Keep as many here as the leader does."""
        keep = self._verbs.hosts.cluster.run.keep_checkpoints
        for path in self._of_steps[:-keep]:
            (self._experiment.folder / path).unlink(missing_ok=True)
        self._of_steps = self._of_steps[-keep:]
        folder = self._experiment.folder / "checkpoints"
        ours = [path for path in folder.glob("epoch_*.pt") if _EPOCH.fullmatch(f"checkpoints/{path.name}")]
        epochs = sorted(ours, key=lambda path: int(path.stem.partition("_")[2]))
        for epoch in epochs[:-keep]:
            epoch.unlink(missing_ok=True)

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Through losses of the connection."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        delays = backoff()
        while True:
            try:
                return await act()
            except Unreachable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(next(delays))


def series_of(event: Event) -> str:
    """Which checkpoints that come again and again it is one of, of epochs or by a schedule of steps: the newest of each
    stay. Empty for others."""
    path = str(event.data.get("path"))
    if _EPOCH.fullmatch(path):
        return EPOCHS
    return STEPS if path.startswith("checkpoints/") and event.data.get("why") in SCHEDULED else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
        return digest.hexdigest()


def final_summary(
    run: str,
    summary: Mapping[str, Any] | None,
    states: Mapping[str, str],
    hosts: Sequence[str],
    stopping: bool,
    *,
    heard: Mapping[str, Any] = NOTHING,
    ranks: Mapping[str, int] = NOTHING,
) -> dict[str, Any]:
    """summary.json for the end: the leader's own, or what can be said without it: what was `heard`
    (`remote.diagnosis.heard`), and the `ranks` of each host. All keys are there; what is not known is None.

    A leader that was ended in mid-run leaves a summary that says "running": the run is then stopped, failed or lost,
    by what the hosts say.
    """
    empty: dict[str, Any] = {
        "run": run, "state": "lost", "steps": 0, "epochs": 0, "samples": 0, "seconds": 0.0, "samples_per_s": 0.0,
        "final_loss": None, "eval": None, "hosts": [{"name": h, "ranks": 0, "share": 0.0, "samples_per_s": 0.0}
        for h in hosts], "rebalances": 0, "regroups": [], "phases": {},
    }  # fmt: skip
    if summary is None:
        shares = heard.get("shares", {})
        empty |= {name: heard.get(name) for name in HEARD}
        empty["hosts"] = [
            {"name": host, "ranks": ranks.get(host), "share": shares.get(host), "samples_per_s": None} for host in hosts
        ]
    said = {k: v for k, v in (summary or {}).items() if k not in empty or _is_like(empty[k], v)}
    table = {**empty, **said}
    if summary is not None and summary.get("state") in ("finished", "stopped", "failed"):
        return table
    table["state"] = _state([states.get(host, "lost") for host in hosts], stopping)
    table["hosts"] = [{**host, "state": states.get(str(host.get("name")), "lost")} for host in table["hosts"]]
    return table


def _is_like(right: Any, value: Any) -> bool:
    """Whether a value of a summary is of the kind of the right one. What may be None is a figure or a table."""
    if isinstance(right, list):
        return isinstance(value, list) and all(isinstance(row, dict) for row in value)
    if right is None:
        return value is None or isinstance(value, (int, float, dict))
    return isinstance(value, (int, float) if isinstance(right, (int, float)) else type(right))


def _state(ends: Sequence[str], stopping: bool) -> str:
    if all(end == "finished" for end in ends):
        return "finished"
    if stopping:
        return "stopped"
    return next((state for state in END_STATES[1:] if state in ends), "lost")


def pretty(table: Mapping[str, Any]) -> bytes:
    return json.dumps(table, indent=2, ensure_ascii=False).encode() + b"\n"
