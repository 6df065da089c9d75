"""The trainer's verbs on a host, as calls: what `python -m motley.trainer …` answers there, checked.

>>> await Verbs(hosts, tree).stop("box1", "night", reason="x pressed", timeout_s=30)
StopAnswer(left=0, state='stopped')
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from motley.remote.answers import Answer, answer_of, made, using
from motley.remote.config.value_rules import name_problem
from motley.remote.errors import OVERLOADED, CommandFailed, StartRefused, UsageError
from motley.remote.hosts.pool import Hosts, python_of
from motley.remote.hosts.reach import MAX_LINE, Connection, Result
from motley.remote.provision.process_title_room import with_room
from motley.remote.provision.push_code import Tree, push
from motley.remote.sanitize import clean
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.contract.exported import FOLDER
from motley.trainer.contract.run_changes import Lead, Roll
from motley.trainer.contract.spec import Member, Spec

SUPERVISE_S = 30.0
ASK_S = 15.0
FETCH_S = 600.0
WHOLE_S = 6 * 3600.0  # for a language model to be merged, and to come over a home's network


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAnswer:
    left: int
    state: str


class Verbs:
    """The trainer on the hosts of a cluster, pushed there when it is not there yet."""

    def __init__(self, hosts: Hosts, tree: Tree) -> None:
        self.hosts = hosts
        self.tree = tree
        self._pushed: dict[str, tuple[str, str]] = {}  # by host: which machine it was then, and where: both may change

    def argv(self, host: str, *words: str) -> list[str]:
        return [python_of(self.hosts.named(host)), "-m", "motley.trainer", *words]

    async def connection(self, host: str) -> Connection:
        """The connection to a host that has our tree. Raises a HostError."""
        connection = await self.hosts.get(host)
        there = connection.instance, self.hosts.named(host).address
        if self._pushed.get(host) != there:
            await push(connection, python_of(self.hosts.named(host)), self.tree)
            self._pushed[host] = there
        return connection

    async def send_away(self, host: str) -> None:
        """The host, which is the machine itself, is another one than this."""
        await self.hosts.send_away(host)
        self._pushed.pop(host, None)

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
        result = await connection.run(argv, timeout_s=SUPERVISE_S, cwd=self.tree.folder)
        answer = answered(host, "rejoin", result, "come back")
        if not answer.ok:
            raise StartRefused(host, answer.text("error"), "Nothing was started on this host.")

    @asynccontextmanager
    async def rerun(self, run: str, spec: Spec, bound_s: float) -> AsyncIterator[Callable[[], Awaitable[str]]]:
        """Have a new run follow another one on a host, in two parts: see `trainer.verbs.rerun`.

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
                    raise CommandFailed(spec.host, cause, OVERLOADED) from error
                except StopAsyncIteration:
                    line = b""
                result = Result(code=0 if line else await process.wait(), stdout=line, stderr=process.stderr_tail)
                answer = answered(spec.host, "rerun", result, "go on with the new run")
                return "" if answer.ok else answer.text("why") or "it does not say why"

            yield say

    async def lead(self, host: str, run: str, lead: Lead) -> Lead:
        """Let a host know who leads the run now; returns what it knows then, which may be newer. Raises a HostError."""
        connection = await self.connection(host)
        argv = self.argv(host, "lead", "--run", run, "--host", host)
        stdin = lead.to_json().encode()
        result = await connection.run(argv, stdin=stdin, timeout_s=ASK_S, cwd=self.tree.folder)
        answer = answered(host, "lead", result, "follow")
        with using(host, "lead"):
            return Lead.from_table(answer["lead"])

    async def admit(self, leader: str, run: str, host: str, devices: Sequence[Member]) -> Roll:
        """Let a host into a run: its ranks get their numbers from the host that leads.

        Raises UsageError when that host refuses, with its reason.
        """
        return await self._change(leader, run, {"admit": host, "devices": [asdict(device) for device in devices]})

    async def drop(self, leader: str, run: str, host: str) -> Roll:
        """Have a host taken out of a run. Raises UsageError when the host that leads refuses, with its reason."""
        return await self._change(leader, run, {"drop": host})

    async def checkpoint(self, leader: str, run: str, request: str) -> None:
        """Have rank 0 write one at the end of its step; the event that tells of it has `request` in its `asked`.

        Raises UsageError when the host that leads refuses, with its reason.
        """
        answer = await self._ask(leader, "checkpoint", "--run", run, "--host", leader, "--request", request)
        if "error" in answer:
            raise UsageError(str(answer["error"]))

    async def _change(self, leader: str, run: str, asked: dict[str, Any]) -> Roll:
        connection = await self.connection(leader)
        argv = self.argv(leader, "roll", "--run", run, "--host", leader)
        stdin = json.dumps(asked).encode()
        result = await connection.run(argv, stdin=stdin, timeout_s=ASK_S, cwd=self.tree.folder)
        answer = answered(leader, "roll", result, "change who takes part")
        if "error" in answer:
            raise UsageError(str(answer["error"]))
        with using(leader, "roll"):
            added = tuple(made(Member, member) for member in answer["roll"]["added"])
            return replace(Roll.from_table({**answer["roll"], "added": ()}), added=added)

    async def spec(self, host: str, run: str) -> Spec:
        """What the host was given when the run began there, the token included. Raises a HostError."""
        content = await self.fetch(host, run, "spec.json")
        try:
            spec = Spec.from_json(content or b"")
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            cause = f"'{run}' was started by another version of Motley ({clean(str(error))})"
            raise CommandFailed(host, cause, "Use the version that started it.") from error
        with using(host, "fetch"):
            if spec.run != run or not re.fullmatch("[0-9a-f]{64}", spec.token):
                raise ValueError(f"spec.json of '{run}' is that of '{spec.run}', or has no token")
            ipaddress.ip_address(spec.leader_address)
            tree: Any = spec.project_tree
            parameters: Any = spec.own_task.parameters if spec.own_task else {}
            if not isinstance(tree, str) or not isinstance(parameters, dict):
                raise ValueError(f"spec.json of '{run}' tells of the user's own files in another form")
            return replace(spec, members=tuple(made(Member, asdict(member)) for member in spec.members))

    async def has(self, host: str, run: str) -> bool:
        """Whether a run of this name was ever started on the host. Needs no trainer there."""
        connection = await self.hosts.get(host)
        spec = f".motley/runs/{run}/{host}/spec.json"
        return (await connection.run(["test", "-s", spec], timeout_s=ASK_S)).code == 0

    async def status(self, host: str) -> list[dict[str, Any]]:
        """The runs a host knows of: see `trainer.verbs.status.status`."""
        answer = await self._ask(host, "status", "--host", host)
        return [run for run in answer.tables("runs") if _tells_of_a_run(run)]

    async def clean(self, host: str, remove: Sequence[tuple[str, str]] | None = None) -> Answer:
        """What the host keeps; with `remove` (kind and name of each) takes that away. See `trainer.verbs.clean`."""
        connection = await self.connection(host)
        argv = self.argv(host, "clean", "--host", host, *(["--remove"] if remove is not None else []))
        stdin = json.dumps(remove).encode() if remove is not None else b""
        result = await connection.run(argv, stdin=stdin, timeout_s=FETCH_S, cwd=self.tree.folder)
        return answered(host, "clean", result, "clean up")

    async def stop(self, host: str, run: str, *, reason: str, timeout_s: float) -> StopAnswer:
        words = ("stop", "--run", run, "--host", host, "--reason", reason)
        answer = await self._ask(host, *words, timeout_s=timeout_s)
        left = answer.get("left")
        return StopAnswer(left=left if isinstance(left, int) else -1, state=str(answer.get("state")))

    async def fetch(self, host: str, run: str, file: str, *, most: int = MAX_LINE) -> bytes | None:
        """The content of a file of the run's folder, None when there is none. Raises as `fetch_to` does."""
        found: list[bytes] = []
        return b"".join(found) if await self.fetch_to(found.append, host, run, file, most=most) else None

    async def fetch_to(self, take: Callable[[bytes], object], host: str, run: str, file: str, *, most: int) -> bool:
        """Hands a file of the run's folder over as it comes. Returns whether there is one.

        Raises Unreachable when the connection breaks, CommandFailed when the file can't be read there, or holds more
        than `most` bytes.
        """
        connection = await self.connection(host)
        argv = self.argv(host, "fetch", "--run", run, "--host", host, file)
        result = await connection.run(argv, timeout_s=FETCH_S, cwd=self.tree.folder, most=most, take=take)
        if result.code not in (0, 1):
            raise CommandFailed(host, f"reading {file} ended with exit code {result.code}", "Look at the disk there.")
        return result.code == 0

    async def store(self, host: str, run: str, file: str, content: bytes) -> None:
        """Put a checkpoint into the run's folder on a host."""
        connection = await self.connection(host)
        argv = self.argv(host, "store", "--run", run, "--host", host, file)
        result = await connection.run(argv, stdin=content, timeout_s=FETCH_S, cwd=self.tree.folder)
        if result.code != 0:
            raise CommandFailed(host, f"the checkpoint could not be stored: {result.stderr}", "Make room there.")

    async def export_to(
        self,
        take: Callable[[bytes], object],
        host: str,
        run: str,
        form: str,
        file: str | None,
        given: bytes = b"",
        *,
        merge: bool = False,
    ) -> str:
        """Hands over, as it comes, what `trainer.verbs.export` says of a checkpoint of the run, or of `given`: all that
        goes to its stdin. Returns the last it wrote to stderr. Raises a HostError."""
        connection = await self.connection(host)
        argv = self.argv(host, *export_words(run, host, form, file, merge=merge))
        timeout_s = FETCH_S if form != FOLDER else WHOLE_S
        result = await connection.run(
            argv, stdin=given, timeout_s=timeout_s, cwd=self.tree.folder, most=sys.maxsize, take=take
        )
        return result.stderr

    async def prove(self, host: str, run: str, file: str) -> Trailer | None:
        """What a checkpoint on a host says of itself, which reads all of it there; None when it is damaged."""
        answer = await self._ask(host, "prove", "--run", run, "--host", host, file, timeout_s=FETCH_S)
        with using(host, "prove"):
            return None if answer["checkpoint"] is None else made(Trailer, answer["checkpoint"])

    async def _ask(self, host: str, *words: str, timeout_s: float = ASK_S) -> Answer:
        connection = await self.connection(host)
        result = await connection.run(self.argv(host, *words), timeout_s=timeout_s, cwd=self.tree.folder)
        return answered(host, words[0], result, words[0])


def export_words(run: str, host: str, form: str, file: str | None, *, merge: bool = False) -> list[str]:
    flags = ["--merge"] if merge else []
    return ["export", "--run", run, "--host", host, "--format", form, *flags, *([file] if file else [])]


def supervise_argv(run: str, host: str, python: str, folder: str) -> list[str]:
    return with_room([python, "-m", "motley.trainer", "supervise"], **tags_of(run, host, folder))


def tags_of(run: str, host: str, folder: str) -> dict[str, str]:
    """What the environment of every process of the run on the host has; `folder` is the run's there, absolute."""
    return {"MOTLEY_RUN": run, "MOTLEY_HOST": host, "MOTLEY_DIR": folder}


def started(host: str, result: Result) -> bool:
    """Whether the supervisor has begun; False when it did not wait so long for its spec.

    Raises StartRefused with what the host said when it started nothing.
    """
    return begun(host, answered(host, "supervise", result, "start the run"))


def begun(host: str, answer: Answer) -> bool:
    """The same of its answer."""
    if answer.get("late") is True:
        return False
    if not answer.ok:
        raise StartRefused(host, answer.text("error"), "Nothing was started on this host.")
    return True


def _tells_of_a_run(table: dict[str, Any]) -> bool:
    """Its name is one that a run can have: it goes into commands to paste."""
    if name_problem(str(table.get("run"))):
        return False
    names = all(isinstance(table.get(key), str) for key in ("run", "state", "leader"))
    return names and isinstance(table.get("left"), int) and isinstance(table.get("started"), (int, float))


def answered(host: str, verb: str, result: Result, what: str) -> Answer:
    """What is in the last line of the output. Raises CommandFailed with the last words of stderr where that is none."""
    lines = result.stdout.strip().split(b"\n")
    try:
        return answer_of(host, verb, lines[-1])
    except CommandFailed as error:
        said = result.stderr.strip().splitlines()[-1:] or ["nothing"]
        cause = f"could not {what}: exit code {result.code}, it said: {said[0]}"
        raise CommandFailed(host, cause, "Report this.") from error
