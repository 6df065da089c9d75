"""The trainer's verbs on a host, as calls: what `python -m trainer …` answers there, checked.

>>> await Verbs(hosts, tree).stop("box1", "night", reason="x pressed", timeout_s=30)
StopAnswer(left=0, state='stopped')
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from remote.connection import Connection, Result
from remote.errors import CommandFailed, StartRefused, UsageError
from remote.hosts import Hosts, python_of
from remote.push import Tree, push
from remote.roomy import with_room
from remote.sanitize import clean, clean_table
from trainer.spec import Lead, Member, Roll, Spec

SUPERVISE_S = 30.0
ASK_S = 15.0
FETCH_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAnswer:
    left: int
    state: str


class Verbs:
    """The trainer on the hosts of a cluster, pushed there when it is not there yet."""

    def __init__(self, hosts: Hosts, tree: Tree) -> None:
        self.hosts = hosts
        self.tree = tree
        self._pushed: set[str] = set()

    def argv(self, host: str, *words: str) -> list[str]:
        return [python_of(self.hosts.named(host)), "-m", "trainer", *words]

    async def connection(self, host: str) -> Connection:
        """The connection to a host that has our tree. Raises a HostError."""
        connection = await self.hosts.get(host)
        if host not in self._pushed:
            await push(connection, python_of(self.hosts.named(host)), self.tree)
            self._pushed.add(host)
        return connection

    async def supervise(self, spec: Spec, python: str, folder: str) -> None:
        """Start the supervisor of a host. `folder` is the run's there, absolute.

        Raises StartRefused with what the host said when it started nothing, another HostError when that isn't known.
        """
        connection = await self.connection(spec.host)
        argv, stdin = supervise_argv(spec.run, spec.host, python, folder), spec.to_json().encode()
        result = await connection.run(argv, stdin=stdin, timeout_s=SUPERVISE_S, cwd=self.tree.folder)
        started(spec.host, result)

    async def rejoin(self, host: str, run: str, *, ended: bool = False) -> None:
        """Bring a host back into a run that it fell out of; with `ended` also one that was taken out of it.

        Raises StartRefused with what it said, or a HostError.
        """
        connection = await self.connection(host)
        argv = self.argv(host, "rejoin", "--run", run, "--host", host, *["--ended"] * ended)
        answer = _object(host, await connection.run(argv, timeout_s=SUPERVISE_S, cwd=self.tree.folder), "come back")
        if answer.get("ok") is not True:
            raise StartRefused(host, clean(str(answer.get("error"))), "Nothing was started on this host.")

    @asynccontextmanager
    async def rerun(self, run: str, spec: Spec, bound_s: float) -> AsyncIterator[Callable[[], Awaitable[str]]]:
        """Have a new run follow another one on a host, in two parts: see `trainer.rerun`.

        The first call of what this gives asks whether that can be, the second has it done; each returns why not, or "".
        Both raise a HostError when the host does not answer. Leaving the block before the second changes nothing.
        """
        connection = await self.connection(spec.host)
        argv = self.argv(spec.host, "rerun", "--run", run, "--host", spec.host)
        said = iter((spec.to_json(), "go"))
        async with connection.stream(argv, cwd=self.tree.folder) as process:
            lines = process.lines()

            async def say() -> str:
                await process.write(next(said).encode() + b"\n")
                try:
                    line = await asyncio.wait_for(lines.__anext__(), bound_s)
                except asyncio.TimeoutError as error:
                    cause = f"did not answer within {bound_s:g} s"
                    raise CommandFailed(spec.host, cause, "The machine may be overloaded; try again.") from error
                except StopAsyncIteration:
                    line = b""
                result = Result(code=0 if line else await process.wait(), stdout=line, stderr=process.stderr_tail)
                answer = _object(spec.host, result, "go on with the new run")
                return "" if answer.get("ok") is True else clean(str(answer.get("why")))

            yield say

    async def lead(self, host: str, run: str, lead: Lead) -> Lead:
        """Let a host know who leads the run now; returns what it knows then, which may be newer. Raises a HostError."""
        connection = await self.connection(host)
        argv = self.argv(host, "lead", "--run", run, "--host", host)
        stdin = lead.to_json().encode()
        answer = _object(host, await connection.run(argv, stdin=stdin, timeout_s=ASK_S, cwd=self.tree.folder), "follow")
        try:
            return Lead.from_table(answer["lead"])
        except (KeyError, TypeError, ValueError) as error:
            raise CommandFailed(host, f"does not say who leads {run}: {clean(str(error))}", "Report this.") from error

    async def admit(self, leader: str, run: str, host: str, devices: Sequence[Member]) -> Roll:
        """Let a host into a run: its ranks get their numbers from the host that leads.

        Raises UsageError when that host refuses, with its reason.
        """
        return await self._change(leader, run, {"admit": host, "devices": [asdict(device) for device in devices]})

    async def drop(self, leader: str, run: str, host: str) -> Roll:
        """Have a host taken out of a run. Raises UsageError when the host that leads refuses, with its reason."""
        return await self._change(leader, run, {"drop": host})

    async def _change(self, leader: str, run: str, asked: dict[str, Any]) -> Roll:
        connection = await self.connection(leader)
        argv = self.argv(leader, "roll", "--run", run, "--host", leader)
        stdin = json.dumps(asked).encode()
        result = await connection.run(argv, stdin=stdin, timeout_s=ASK_S, cwd=self.tree.folder)
        answer = _object(leader, result, "change who takes part")
        if "error" in answer:
            raise UsageError(clean(str(answer["error"])))
        try:
            return Roll.from_table(answer["roll"])
        except (KeyError, TypeError, ValueError) as error:
            cause = f"does not say who takes part in {run}: {clean(str(error))}"
            raise CommandFailed(leader, cause, "Report this.") from error

    async def spec(self, host: str, run: str) -> Spec:
        """What the host was given when the run began there, the token included. Raises a HostError."""
        content = await self.fetch(host, run, "spec.json")
        try:
            spec = Spec.from_json(content or b"")
        except (KeyError, TypeError, ValueError) as error:
            cause = f"{run} was started by another version of Motley ({clean(str(error))})"
            raise CommandFailed(host, cause, "Use the version that started it.") from error
        if spec.run != run:
            raise CommandFailed(host, f"the spec of {run} there is that of {clean(spec.run)}", "Report this.")
        return spec

    async def has(self, host: str, run: str) -> bool:
        """Whether a run of this name was ever started on the host. Needs no trainer there."""
        connection = await self.hosts.get(host)
        spec = f".motley/runs/{run}/{host}/spec.json"
        return (await connection.run(["test", "-e", spec], timeout_s=ASK_S)).code == 0

    async def status(self, host: str) -> list[dict[str, Any]]:
        """The runs a host knows of: see `trainer.status.status`."""
        answer = await self._ask(host, "status", "--host", host)
        runs = answer.get("runs")
        tables = [clean_table(run) for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
        return [table for table in tables if _tells_of_a_run(table)]

    async def clean(self, host: str, remove: Sequence[tuple[str, str]] | None = None) -> dict[str, Any]:
        """What the host keeps; with `remove` (kind and name of each) takes that away. See `trainer.clean`."""
        connection = await self.connection(host)
        argv = self.argv(host, "clean", "--host", host, *(["--remove"] if remove is not None else []))
        stdin = json.dumps(remove).encode() if remove is not None else b""
        result = await connection.run(argv, stdin=stdin, timeout_s=FETCH_S, cwd=self.tree.folder)
        answer: dict[str, Any] = clean_table(_object(host, result, "clean up"))
        return answer

    async def stop(self, host: str, run: str, *, reason: str, timeout_s: float) -> StopAnswer:
        words = ("stop", "--run", run, "--host", host, "--reason", reason)
        answer = await self._ask(host, *words, timeout_s=timeout_s)
        left = answer.get("left")
        return StopAnswer(left=left if isinstance(left, int) else -1, state=clean(str(answer.get("state"))))

    async def fetch(self, host: str, run: str, file: str) -> bytes | None:
        """The content of a file of the run's folder, None when there is none.

        Raises Unreachable when the connection breaks, CommandFailed when the file can't be read there.
        """
        connection = await self.connection(host)
        argv = self.argv(host, "fetch", "--run", run, "--host", host, file)
        result = await connection.run(argv, timeout_s=FETCH_S, cwd=self.tree.folder)
        if result.code not in (0, 1):
            raise CommandFailed(host, f"reading {file} ended with exit code {result.code}", "Look at the disk there.")
        return result.stdout if result.code == 0 else None

    async def store(self, host: str, run: str, file: str, content: bytes) -> None:
        """Put a checkpoint into the run's folder on a host."""
        connection = await self.connection(host)
        argv = self.argv(host, "store", "--run", run, "--host", host, file)
        result = await connection.run(argv, stdin=content, timeout_s=FETCH_S, cwd=self.tree.folder)
        if result.code != 0:
            raise CommandFailed(host, f"the checkpoint could not be stored: {result.stderr}", "Make room there.")

    async def _ask(self, host: str, *words: str, timeout_s: float = ASK_S) -> dict[str, Any]:
        connection = await self.connection(host)
        result = await connection.run(self.argv(host, *words), timeout_s=timeout_s, cwd=self.tree.folder)
        return _object(host, result, words[0])


def supervise_argv(run: str, host: str, python: str, folder: str) -> list[str]:
    return with_room([python, "-m", "trainer", "supervise"], **tags_of(run, host, folder))


def tags_of(run: str, host: str, folder: str) -> dict[str, str]:
    """What the environment of every process of the run on the host has; `folder` is the run's there, absolute."""
    return {"MOTLEY_RUN": run, "MOTLEY_HOST": host, "MOTLEY_DIR": folder}


def started(host: str, result: Result) -> bool:
    """Whether the supervisor has begun; False when it did not wait so long for its spec.

    Raises StartRefused with what the host said when it started nothing.
    """
    return begun(host, _object(host, result, "start the run"))


def begun(host: str, answer: dict[str, Any]) -> bool:
    """The same of its answer."""
    if answer.get("late") is True:
        return False
    if answer.get("ok") is not True:
        raise StartRefused(host, clean(str(answer.get("error"))), "Nothing was started on this host.")
    return True


def _tells_of_a_run(table: dict[str, Any]) -> bool:
    names = all(isinstance(table.get(key), str) for key in ("run", "state", "leader"))
    return names and isinstance(table.get("left"), int) and isinstance(table.get("started"), (int, float))


def _object(host: str, result: Result, what: str) -> dict[str, Any]:
    """The JSON object in the last line of the output. Raises CommandFailed with the last words of stderr."""
    lines = result.stdout.decode(errors="replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        said = result.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise CommandFailed(host, f"could not {what}: exit code {result.code}, it said: {said[0]}", "Report this.")
    return answer
