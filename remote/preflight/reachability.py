"""Every host connects to every other one, on ports that the systems pick: what training needs, tried beforehand.

`remote.preflight.check` has a room for the hosts that answered; each attends it in its own conversation
(`remote.preflight.host_check`). `remote.preflight.judge_network` says what the pairs that failed mean. The program on
the hosts is `trainer.bootstrap.reachability`.

    >>> room = Room.of({"box1": probe, "box2": probe, "box3": probe})       # box3 is behind a firewall
    >>> (await room.until_over()).missed
    {('box1', 'box3'): 'ETIMEDOUT', ('box2', 'box3'): 'ETIMEDOUT'}
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from motley.remote.errors import HostError
from motley.remote.preflight.host_inspection import HostInspection
from motley.remote.preflight.probe import Probe

COME_S = 1.4  # for all to listen; who comes later is not waited for
WITHIN_S = 1.5  # for one connection: a lost packet is sent again after 1 s
MEET_S = 3.4  # altogether


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachability:
    """`missed`: pairs (from, to) that failed, and why (`missed` in the program). `absent`: hosts, and why."""

    asked: frozenset[str] = frozenset()
    missed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def counting(self, hosts: Collection[str]) -> Reachability:
        """The same, where of these hosts those that were not asked are absent: they answered after the others."""
        late = [name for name in hosts if name not in self.asked] if len(hosts) > 1 else []
        return replace(self, absent={**self.absent, **dict.fromkeys(late, "it answered after the others had met")})


class Rendezvous:
    """Where hosts meet: who is to come, who has come, and what they said. Bounded by `MEET_S`."""

    def __init__(self, who: Collection[str]) -> None:
        self._who = list(who)
        self._token = secrets.token_hex(16)
        self._places: dict[str, tuple[str, int]] = {}
        self._missed: dict[str, dict[str, str]] = {}
        self._absent: dict[str, str] = {}
        self._full, self._over = asyncio.Event(), asyncio.Event()  # nobody else is waited for; all have spoken

    @classmethod
    def of(cls, probes: Mapping[str, Probe]) -> Rendezvous:
        """For the hosts that have an address towards the leader."""
        return cls([name for name, probe in probes.items() if probe.address])

    async def until_over(self) -> Reachability:
        """What came of it; one alone meets nobody."""
        who = frozenset(self._who)
        if len(who) < 2:
            self._over.set()
            return Reachability(asked=who)
        asyncio.get_running_loop().call_later(COME_S, self._full.set)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._over.wait(), MEET_S)
        self._over.set()
        absent = {name: self._absent.get(name, "it took too long") for name in self._who if name not in self._missed}
        pairs = [
            (name, other)
            for name in self._who
            for other in self._who
            if other in self._missed.get(name, ()) and other not in absent
        ]
        return Reachability(asked=who, missed={pair: self._missed[pair[0]][pair[1]] for pair in pairs}, absent=absent)

    async def attend(self, host: HostInspection, name: str, address: str) -> None:
        """One host's part, until it is over. One that is not to come does not."""
        if name not in self._who or len(self._who) < 2:
            return
        try:
            await self._attend(host, name, address)
        except HostError as error:
            self._absent[name] = error.cause
        finally:
            self._look()

    async def _attend(self, host: HostInspection, name: str, address: str) -> None:
        await host.say(meet={"name": name, "token": self._token, "address": address})
        answer = await host.heard()
        if not isinstance(answer.get("port"), int):
            self._absent[name] = str(answer.get("unable", "it said nothing"))
            return
        if self._full.is_set():
            return
        self._places[name] = (address, answer["port"])
        self._look()
        await self._full.wait()
        peers = {other: place for other, place in self._places.items() if other != name}
        await host.say(peers=peers, within_s=WITHIN_S)
        missed = (await host.heard()).get("missed")
        if not isinstance(missed, dict):
            self._absent[name] = "it said nothing"
            return
        self._missed[name] = {other: str(why) for other, why in missed.items() if other in peers}
        self._look()
        await self._over.wait()  # the others may still be on their way to it

    def _look(self) -> None:
        if len(self._places.keys() | self._absent.keys()) == len(self._who):
            self._full.set()
        if self._full.is_set() and self._places.keys() <= self._missed.keys() | self._absent.keys():
            self._over.set()
