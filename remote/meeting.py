"""Every host connects to every other one, on ports that the systems pick: what training needs, tried beforehand.

`remote.check` calls it with the hosts that answered; `remote.judge_network` says what the pairs that failed mean. The
program on the hosts is `remote.bootstrap.meet`.

    >>> (await meet(hosts, {"box1": probe, "box2": probe, "box3": probe})).missed
    {('box1', 'box3'): 'ETIMEDOUT', ('box2', 'box3'): 'ETIMEDOUT'}
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from remote.bootstrap_call import conversation
from remote.ending import end
from remote.errors import HostError
from remote.hosts import Hosts, python_of
from remote.probe import Probe
from remote.remote_process import RemoteProcess
from remote.sanitize import clean

COME_S = 1.4  # for all to listen; who comes later is not waited for
WITHIN_S = 1.5  # for one connection: a lost packet is sent again after 1 s
MEET_S = 3.4  # altogether


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """`missed`: pairs (from, to) that failed, and why (`remote.bootstrap.meet.missed`). `absent`: hosts, and why."""

    asked: frozenset[str] = frozenset()
    missed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def counting(self, hosts: Collection[str]) -> Meeting:
        """The same, where of these hosts those that were not asked are absent: they answered after the others."""
        late = [name for name in hosts if name not in self.asked] if len(hosts) > 1 else []
        return replace(self, absent={**self.absent, **dict.fromkeys(late, "it answered after the others had met")})


async def meet(hosts: Hosts, probes: Mapping[str, Probe]) -> Meeting:
    """All pairs of these hosts at once, by the addresses that they have towards the leader. Known within `MEET_S`."""
    who = [name for name, probe in probes.items() if probe.address]
    if len(who) < 2:
        return Meeting(asked=frozenset(who))
    room = _Room(expected=len(who))
    tasks = {name: asyncio.ensure_future(_attend(hosts, name, probes[name].address, room)) for name in who}
    asyncio.get_running_loop().call_later(COME_S, room.full.set)
    try:
        await asyncio.wait(tasks.values(), timeout=MEET_S)
    finally:
        await end(tasks.values())
    absent = {name: room.absent.get(name, "it took too long") for name in who if name not in room.missed}
    pairs = [
        (name, other) for name in who for other in who if other in room.missed.get(name, ()) and other not in absent
    ]
    kept = {(name, other): room.missed[name][other] for name, other in pairs}
    return Meeting(asked=frozenset(who), missed=kept, absent=absent)


class _Room:
    """Who has come, and what they said. `full` when nobody else is to be waited for, `over` when all have spoken."""

    def __init__(self, expected: int) -> None:
        self.token = secrets.token_hex(16)
        self.places: dict[str, tuple[str, int]] = {}
        self.missed: dict[str, dict[str, str]] = {}
        self.absent: dict[str, str] = {}
        self.full, self.over = asyncio.Event(), asyncio.Event()
        self._expected = expected

    def look(self) -> None:
        if len(self.places.keys() | self.absent.keys()) == self._expected:
            self.full.set()
        if self.full.is_set() and self.places.keys() <= self.missed.keys() | self.absent.keys():
            self.over.set()


async def _attend(hosts: Hosts, name: str, address: str, room: _Room) -> None:
    host = hosts.named(name)
    try:
        connection = await hosts.get(name)
        async with conversation(connection, python_of(host), "meet", [address]) as (process, answers):
            await _say(process, name=name, token=room.token)
            answer = await _heard(answers)
            if not isinstance(answer.get("port"), int):
                room.absent[name] = clean(str(answer.get("unable", "it said nothing")))
                return
            if room.full.is_set():
                return
            room.places[name] = (address, answer["port"])
            room.look()
            await room.full.wait()
            peers = {other: place for other, place in room.places.items() if other != name}
            await _say(process, peers=peers, within_s=WITHIN_S)
            missed = (await _heard(answers)).get("missed")
            if not isinstance(missed, dict):
                room.absent[name] = "it said nothing"
                return
            room.missed[name] = {other: clean(str(why)) for other, why in missed.items() if other in peers}
            room.look()
            await room.over.wait()
    except HostError as error:
        room.absent[name] = error.cause
    finally:
        room.look()


async def _say(process: RemoteProcess, **words: Any) -> None:
    await process.write(json.dumps(words).encode() + b"\n")


async def _heard(answers: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """The next object; empty when there is none."""
    return await anext(answers, {})
