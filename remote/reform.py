"""The leader's host is gone: the hosts that are left go on under another one, from what their ranks remember.

Ranks that can't reach the coordinator hold their state and say so (`cut_off`). When this console can't reach the leader
either, it names the first of their hosts the leader of a higher term, and tells all it reaches. Pure but for `tell`.

    reform = Reform(verbs, "night", order=["box1", "box2", "box3"])
    reform.hear(event)
    lead = reform.propose(gone="box1", reached=["box2", "box3"])
    if lead is not None: await reform.tell(lead, ["box2", "box3"])
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from remote.errors import HostError
from remote.verbs import Verbs
from trainer.spec import Lead
from trainer.wire import Event


class Reform:
    """`order`: the hosts as cluster.toml has them; `port`: of the coordinator."""

    def __init__(self, verbs: Verbs, run: str, *, order: Sequence[str], port: int, lead: Lead | None = None) -> None:
        self.lead = lead  # the newest that this console has made or heard of
        self._verbs = verbs
        self._run = run
        self._order = list(order)
        self._port = port
        self._term = lead.term if lead is not None else 0  # the highest that any host has told of
        self._holding: dict[str, tuple[int, str]] = {}  # where ranks wait: their last generation, their address
        self._generation = -1  # the newest group that was heard of

    def hear(self, event: Event) -> None:
        """An event of the run: who holds, that others go on, and which term a host knows of.

        They come in any order. Who holds with the state of an older group than others have formed does not count.
        """
        generation = event.data.get("generation")
        if event.kind in ("cut_off", "leader") and isinstance(term := event.data.get("term"), int):
            self._term = max(self._term, term)
        if event.kind == "cut_off" and event.host in self._order:
            self._holding[event.host] = (
                generation if isinstance(generation, int) else -1,
                str(event.data.get("address")),
            )
        elif event.kind == "group" and isinstance(generation, int):
            self._generation = max(self._generation, generation)

    def propose(self, *, gone: str, reached: Iterable[str]) -> Lead | None:
        """The lead without the host that is gone; None while nobody that is reached holds the state."""
        there = set(reached) - {gone}
        addresses = {h: address for h, (generation, address) in self._holding.items() if generation >= self._generation}
        hosts = tuple(host for host in self._order if host in there and host in addresses)
        if not hosts:
            return None
        return Lead(term=self._term + 1, leader=hosts[0], address=addresses[hosts[0]], port=self._port, hosts=hosts)

    async def tell(self, lead: Lead, hosts: Iterable[str]) -> list[str]:
        """Tell the new leader, and then the others. Returns those that did not hear it.

        Raises the HostError of the new leader: then nothing has changed.
        """
        await self._verbs.lead(lead.leader, self._run, lead)
        self.lead, self._term = lead, lead.term
        self._holding.clear()
        return await self.spread(host for host in hosts if host != lead.leader)

    async def spread(self, hosts: Iterable[str]) -> list[str]:
        """Tell hosts of the newest lead, if there is one. Returns those that did not hear it."""
        lead, asked = self.lead, list(hosts)
        if lead is None:
            return []
        answers = await asyncio.gather(*(self._verbs.lead(h, self._run, lead) for h in asked), return_exceptions=True)
        silent = []
        for host, answer in zip(asked, answers, strict=True):
            if isinstance(answer, HostError):
                silent.append(host)
            elif isinstance(answer, BaseException):
                raise answer
        return silent
