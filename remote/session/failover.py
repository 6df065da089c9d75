"""The leader's host is gone: the hosts that are left go on under another one, from what their ranks remember.

Ranks that can't reach the coordinator hold their state and say so (`cut_off`). When this console can't reach the leader
either, it names the first of their hosts the leader of a higher term, and tells all it reaches. The first part of a
term counts what consoles have named (`trainer.contract.term`). A former leader that was cut off can't raise that:
whichever leader was named last counts, however often another one has replaced its coordinator meanwhile.

    reform = Reform(verbs, "night", order=["box1", "box2", "box3"], leader="box1", port=29500)
    reform.hear(event)
    lead = reform.propose(gone="box1", reached=["box2", "box3"])
    if lead is not None: await reform.tell(lead, ["box2", "box3"])

A host answers with the lead that it follows then. Where that is another leader, a second console has named it: see
`spread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable, Sequence

from motley.remote.errors import HostError
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.contract.wire import MOST, Event

ROUNDS = 3  # of naming a leader above one that was not known of


class Failover:
    """`order`: the hosts as cluster.toml has them; `leader` from the start; `port`: of the coordinator."""

    def __init__(
        self, verbs: Verbs, run: str, *, order: Sequence[str], leader: str, port: int, lead: Lead | None = None
    ) -> None:
        self.lead = lead  # the newest that this console has made or heard of
        self._verbs = verbs
        self._run = run
        self._order = list(order)
        self._port = port
        self._named = lead.term.named if lead is not None else 0  # the highest count that any host has told of
        self._holding: dict[str, tuple[int, str]] = {}  # where ranks wait: their last generation, their address
        self._generation = -1  # the newest group that was heard of
        self._leader = leader
        self._follow: dict[str, str | None] = {}  # whom hosts have said they follow; by default the first leader

    def admit(self, host: str) -> None:
        """A host that came after the start may lead too."""
        if host not in self._order:
            self._order.append(host)

    def hear(self, event: Event) -> None:
        """An event of the run: who holds, that others go on, and which term a host knows of.

        Those of several hosts come in any order, those of one in its own. Who holds with the state of an older group
        than others have formed does not count, nor who has trained since.
        """
        generation = _count(event.data.get("generation"))
        if event.kind in ("cut_off", "leader"):
            with contextlib.suppress(TypeError, ValueError):
                self._named = max(self._named, Term.of(event.data.get("term")).named)
        if event.kind == "leader":
            self._hear_of_leader(event)
        elif event.kind == "cut_off" and event.host in self._order:
            self._holding[event.host] = (
                -1 if generation is None else generation,
                str(event.data.get("address")),
            )
        elif event.kind == "phase" and event.data.get("phase") == "training":
            self._holding.pop(event.host, None)
        elif event.kind == "group" and generation is not None:
            self._generation = max(self._generation, generation)
        elif event.kind in ("session", "requeued"):  # its groups are counted from 0, whatever its script's starts were
            self._generation = -1
            self._holding.clear()

    def _hear_of_leader(self, event: Event) -> None:
        """Another console may have named it, or its supervisor has replaced its coordinator."""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            lead = Lead.from_table(event.data)
            if lead.leader in self._order:
                self._adopt(lead)

    def propose(self, *, gone: str, reached: Iterable[str]) -> Lead | None:
        """The lead without the host that is gone; None while nobody that is reached holds the state."""
        there, addresses = set(reached) - {gone}, self._addresses()
        hosts = tuple(host for host in self._order if host in there and host in addresses)
        if not hosts:
            return None
        term = Term(self._named).next_named()
        return Lead(term=term, leader=hosts[0], address=addresses[hosts[0]], port=self._port, hosts=hosts)

    def all_hold(self, *, gone: str, reached: Iterable[str]) -> bool:
        """Whether none of the hosts that are reached can reach the leader."""
        there = set(reached) - {gone}
        return bool(there) and there <= self._addresses().keys()

    def untold(self, hosts: Iterable[str]) -> list[str]:
        """Those that may follow another leader than the newest one."""
        if self.lead is None:
            return []
        return [host for host in hosts if self._follow.get(host, self._leader) != self.lead.leader]

    def forget(self, host: str) -> None:
        """It was away: whom it follows is not known."""
        self._follow[host] = None

    def _addresses(self) -> dict[str, str]:
        """Of the hosts that hold the state of the newest group."""
        return {
            host: address for host, (generation, address) in self._holding.items() if generation >= self._generation
        }

    async def tell(self, lead: Lead, hosts: Iterable[str]) -> list[str]:
        """Tell the new leader, and then the others. Returns those that did not hear it.

        Raises the HostError of the new leader: then nothing has changed.
        """
        for _ in range(ROUNDS):
            known = await self._verbs.lead(lead.leader, self._run, lead)
            self._follow[lead.leader] = known.leader
            if (known.leader, known.term.named) == (lead.leader, lead.term.named):
                lead = known  # with another coordinator already, perhaps
                break
            lead = dataclasses.replace(lead, term=known.term.next_named())
        self._holding.clear()
        self._adopt(lead)
        return await self.spread(host for host in hosts if host != lead.leader)

    async def spread(self, hosts: Iterable[str]) -> list[str]:
        """Tell hosts of the newest lead, if there is one. Returns those that do not follow it.

        A host may follow a leader that another console has named: the one that was named later counts, and of two that
        were named at once the first in cluster.toml, which is named once more. The host is told again then.
        """
        asked, silent = list(hosts), []
        for _ in range(ROUNDS):
            lead = self.lead
            if lead is None:
                return []
            told = [self._verbs.lead(host, self._run, lead) for host in asked]
            answers = dict(zip(asked, await asyncio.gather(*told, return_exceptions=True), strict=True))
            for answer in answers.values():
                if isinstance(answer, BaseException) and not isinstance(answer, HostError):
                    raise answer
            silent = [host for host, answer in answers.items() if isinstance(answer, HostError)]
            leads = {host: answer for host, answer in answers.items() if isinstance(answer, Lead)}
            self._follow |= {host: known.leader for host, known in leads.items()}
            astray = {host: known for host, known in leads.items() if known.leader != lead.leader}
            if not astray:
                return silent
            try:
                await self._settle(lead, max(astray.values(), key=lambda known: known.term))
            except HostError:  # the leader does not answer: nobody can be told to follow it
                return [*silent, *astray]
            asked = list(astray)
        return [*silent, *asked]

    async def _settle(self, lead: Lead, rival: Lead) -> None:
        """One of the two leads, named after the other. Raises the HostError of the leader."""
        self._named = max(self._named, rival.term.named)
        if self.lead is not lead:  # settled meanwhile
            return
        if rival.leader in self._order and self._age(rival) > self._age(lead):
            self.lead = rival
            return
        again = dataclasses.replace(lead, term=Term(self._named).next_named())
        known = await self._verbs.lead(lead.leader, self._run, again)
        if known.leader == lead.leader:
            self._adopt(known)

    def _age(self, lead: Lead) -> tuple[int, int, int]:
        """The higher, the later: of leaders that were named at once the first in cluster.toml counts."""
        place = self._order.index(lead.leader) if lead.leader in self._order else len(self._order)
        return lead.term.named, -place, lead.term.restarts

    def _adopt(self, lead: Lead) -> None:
        self._named = max(self._named, lead.term.named)
        if self._age(lead) > (self._age(self.lead) if self.lead is not None else self._first_age()):
            self.lead = lead

    def _first_age(self) -> tuple[int, int, int]:
        """Of the lead that the run was started with."""
        return FIRST.named, -self._order.index(self._leader) if self._leader in self._order else 0, FIRST.restarts


def _count(value: object) -> int | None:
    """A generation that an event tells of; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and -MOST < value < MOST else None
