"""One host's part of the preflight: it is connected, says what it is, and meets the others, in one conversation.

`remote.preflight.check` makes one for each host and runs all at once.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from motley.remote.config.cluster import Host
from motley.remote.errors import CommandFailed, HostError, Unreachable
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts, python_of
from motley.remote.preflight.host_inspection import HostInspection, inspect_host
from motley.remote.preflight.judge_limits import to_be_there
from motley.remote.preflight.own_address import own_address
from motley.remote.preflight.probe import SELF, Asked, Probe
from motley.remote.preflight.reachability import Rendezvous

LEADER_S = 2.0  # how long the others wait for the leader's address


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


class Prepares(Protocol):
    """Whoever makes use of the conversations: `remote.launch.prestart.Prestart`."""

    code: str  # folder of the run's code, from the home folder

    async def prepare(self, probe: Probe, name: str, host: HostInspection, stack: AsyncExitStack) -> None:
        """A host has answered; `stack` ends the conversation, unless its exits are popped."""

    def ready(self, name: str) -> None:
        """The check is over there."""


@dataclass(slots=True)
class Common:
    """What the visits of one check share."""

    hosts: Hosts
    asked: Asked
    emit: Emit
    early: Prepares | None
    reached: list[asyncio.Future[str | None]] = field(default_factory=list)  # our address on the way to each other host
    leader: asyncio.Future[str] = field(default_factory=_future)  # its address
    room: asyncio.Future[Rendezvous] = field(default_factory=_future)


class HostCheck:
    """`answered` is set to what the host says, or why it says nothing; never to an exception."""

    def __init__(self, host: Host, common: Common, *, leads: bool) -> None:
        self.host = host
        self.connected = False
        self.asks_torch = False  # which takes longer than all the rest
        self.reached: asyncio.Future[str | None] = _future()  # our address on the way there
        self.answered: asyncio.Future[Probe | HostError] = _future()
        self._common = common
        self._leads = leads

    async def run(self) -> None:
        """Until the meeting is over. The leader's address comes first, so that the others can say how they reach it."""
        common, name = self._common, self.host.name
        try:
            connection = await common.hosts.attempt(name, common.emit)
            if isinstance(connection, HostError):
                self.answered.set_result(connection)
                return
            self.connected = True
            self.reached.set_result(connection.own_address)
            self._tell("looking at Python, torch, devices and disk")
            async with AsyncExitStack() as stack:
                code = common.early.code if common.early is not None else ""
                talk = inspect_host(connection, python_of(self.host), code=code)
                host = await stack.enter_async_context(talk)
                found = await self._probe(host, stack)
                self.answered.set_result(found)
                await (await asyncio.shield(common.room)).attend(host, name, found.address)
                if common.early is not None:
                    common.early.ready(name)
        except (CommandFailed, Unreachable) as error:
            if not self.answered.done():
                self.give_up(error)
        finally:
            if not self.reached.done():
                self.reached.set_result(None)
            if self._leads and not common.leader.done():
                common.leader.set_result("")

    def give_up(self, error: HostError) -> None:
        """It does not answer, and is not waited for any more."""
        self._tell(error.cause, done=True, failed=True)
        self.answered.set_result(error)

    async def _probe(self, host: HostInspection, stack: AsyncExitStack) -> Probe:
        common = self._common
        to = SELF if self._leads else await self._leader()
        code = common.early.code.rpartition("/")[2] if common.early is not None else ""
        path = self.host.env.get("PATH", "")
        own = ""
        if self._leads and self.host.way.only_one:
            own = await own_address(self.host.address, common.reached)
            common.leader.set_result(own)
        elif self._leads and self.host.way.placed:
            own = self.host.address  # no SSH connection tells it
        command = common.asked.command if self.host.runtime is None else ""  # an image has its own
        folders = to_be_there(self.host.mounts) if self.host.runtime is not None else ()
        asked = replace(common.asked, leader=to, own=own, code=code, command=command, path=path, folders=folders)
        found = await host.probe(asked)
        if (inside := common.hosts.inside(self.host.name)) is not None:
            # as a rank in it sees it
            found = replace(
                found, torch=inside.torch, torch_build=inside.torch_build, pillow=inside.pillow,
                libraries=inside.libraries,
            )  # fmt: skip
        if self._leads and not common.leader.done():
            common.leader.set_result(found.server_address)
        if found.only_torch_knows and self.host.runtime is None:
            self.asks_torch = True
            self._tell("asking torch for its cards")
            cards = await host.cards()
            found = replace(found, accelerators=cards.accelerators, accelerator_trouble=cards.trouble)
        self._tell(_in_short(found), fraction=1.0, done=True)
        if common.early is not None:
            await common.early.prepare(found, self.host.name, host, stack)
        return found

    async def _leader(self) -> str:
        try:
            return await asyncio.wait_for(asyncio.shield(self._common.leader), LEADER_S)
        except asyncio.TimeoutError:
            return ""

    def _tell(self, text: str, **how: Any) -> None:
        self._common.emit(Progress(host=self.host.name, stage="check", text=text, **how))


def _in_short(found: Probe) -> str:
    cards = [gpu.name for gpu in found.gpus] + [card.name for card in found.accelerators]
    devices = ", ".join(cards) or f"{found.cores} cores"
    return f"Python {found.python}, torch {found.torch or 'missing'}, {devices}"
