"""Whatever happens to a run's leaders, the half that the console named last wins, and keeps every step it has made.

What decides is real: the console's `Failover`, what a host keeps (`follow`), what a supervisor makes of a coordinator
that was killed (`restarted`), and the state machine of each coordinator. Around it is a network that can be cut in two.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from motley.remote.errors import Unreachable
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.failover import Failover
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import FIRST, NO_TERM, Term
from motley.trainer.coordinator.membership.group_changes import Formed, Ready
from motley.trainer.coordinator.membership.group_state_machine import HOPE_S, GroupStateMachine
from motley.trainer.coordinator.membership.stale_state import State
from motley.trainer.host.leader import follow, lead_of, restarted
from tests.fuzz.mutation import cases, scratch
from tests.remote.session.test_failover import ORDER, event, leader
from tests.trainer.coordinating import spec

HOSTS = ORDER  # box1 leads first; one rank each
STEPS = st.integers(1, 50)
FAR = st.sets(st.sampled_from(HOSTS), min_size=1, max_size=len(HOSTS) - 1)
ACTS = st.one_of(
    st.tuples(st.just("train"), STEPS),
    st.tuples(st.just("train"), STEPS),
    st.tuples(st.just("cut"), FAR),
    st.tuples(st.just("heal")),
    st.tuples(st.just("kill"), st.sampled_from(HOSTS)),
    st.tuples(st.just("name")),
    st.tuples(st.just("tell")),
)


class World:
    """Hosts in two parts, `far` of them out of the console's reach; each trains with the leader that it follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.far: set[str] = set()
        self.states = dict.fromkeys(HOSTS, State(NO_TERM, "", -1, 0))
        self.machines: dict[str, tuple[Term, GroupStateMachine]] = {}
        self.last = (0, HOSTS[0])  # the leader that the console named last
        self.console = Failover(cast(Verbs, self), "night", order=HOSTS, leader=HOSTS[0], port=29500)
        for host in HOSTS:
            (folder / host).mkdir()
            follow(folder / host, self.spec(), self.first())

    def spec(self) -> Spec:
        return spec(0)

    def first(self) -> Lead:
        return Lead(term=FIRST, leader=HOSTS[0], address="10.0.0.1", port=29500, hosts=tuple(HOSTS))

    def lead_of(self, host: str) -> Lead:
        known = lead_of(self.folder / host, self.spec())
        return known if known.term > FIRST else self.first()

    @property
    def near(self) -> list[str]:
        return [host for host in HOSTS if host not in self.far]

    async def lead(self, host: str, _run: str, lead: Lead) -> Lead:
        """As `remote.rpc.verbs.Verbs.lead`."""
        if host in self.far:
            raise Unreachable(host, "no answer", "Plug it in.")
        follow(self.folder / host, self.spec(), lead)
        return self.lead_of(host)

    # What happens

    async def cut(self, far: set[str]) -> None:
        self.far = set(far)

    async def heal(self) -> None:
        """The console hears what it has missed, and hosts that it can't vouch for are to be told again."""
        back, self.far = self.far, set()
        for host in sorted(back):
            self.console.forget(host)
            self.console.hear(leader(host, self.lead_of(host)))

    async def kill(self, host: str) -> None:
        """The coordinator there, if it has one: its supervisor starts another."""
        lead = self.lead_of(host)
        if lead.leader == host:
            follow(self.folder / host, self.spec(), restarted(lead, HOSTS))
            if host not in self.far:
                self.console.hear(leader(host, self.lead_of(host)))

    async def name(self) -> None:
        """The console can't reach the leader it knows: another of those that hold takes its place."""
        gone = self.console.lead.leader if self.console.lead is not None else HOSTS[0]
        if gone not in self.far:
            return
        for host in self.near:
            if self.lead_of(host).leader in self.far:  # its ranks hold, and say so
                state, where = self.states[host], f"10.0.0.{host[-1]}"
                self.console.hear(event("cut_off", host, term=state.term, generation=state.generation, address=where))
        lead = self.console.propose(gone=gone, reached=self.near)
        if lead is not None:
            await self.console.tell(lead, self.near)
            assert self.console.lead is not None
            self.last = (self.console.lead.term.named, self.console.lead.leader)

    async def tell(self) -> None:
        await self.console.spread(self.console.untold(self.near))

    async def train(self, steps: int) -> None:
        for part in (self.near, sorted(self.far)):
            for first in part:
                there = [host for host in part if self.lead_of(host).leader == first]
                if first in there:
                    self._group(first, there, steps)

    def _group(self, first: str, there: list[str], steps: int) -> None:
        """`first` forms a group of those that follow it, and they train."""
        lead, mine = self.lead_of(first), [state for h in there if self._is_last(state := self.states[h])]
        formed = self._formed(first, lead, there)
        if (lead.term.named, lead.leader) == self.last:
            assert formed.step >= max((state.step for state in mine), default=0)
        for member in formed.members:
            where = self.states[HOSTS[member]] = State(lead.term, first, formed.generation, formed.step + steps)
            assert where.step > 0
        if first not in self.far:
            self.console.hear(event("group", first, generation=formed.generation))

    def _is_last(self, state: State) -> bool:
        return (state.term.named, state.leader) == self.last

    def _formed(self, first: str, lead: Lead, there: list[str]) -> Formed:
        known = self.machines.get(first)
        if known is None or known[0] < lead.term:
            numbers = {host: i for i, host in enumerate(HOSTS)}
            known = self.machines[first] = lead.term, GroupStateMachine(
                range(len(HOSTS)), lost_after_s=1.5, term=lead.term, leader=first,
                expected=[numbers[host] for host in lead.hosts],
                keepers=[numbers[host] for host in lead.keepers or lead.hosts],
            )  # fmt: skip
            known[1].tick(0.0)
        machine = known[1]
        for member, host in enumerate(HOSTS):
            if host not in there:
                machine.lost(member)
        for host in sorted(there, key=lambda host: HOSTS.index(host) in machine.group):  # they wait for a step's end
            member, state = HOSTS.index(host), self.states[host]
            machine.connected(member, now=0.1)
            where = (f"10.0.0.{host[-1]}", 1)
            ready = Ready(
                step=state.step, store=where, term=state.term, leader=state.leader, generation=state.generation,
                attempt=machine.generation + 1000,
            )  # fmt: skip
            machine.ready(member, ready, now=0.1)
        for tenth in range(2, round(HOPE_S * 10) + 2):
            machine.tick(tenth / 10)
        return [news for news in machine.take_news() if isinstance(news, Formed)][-1]


@cases(100)
@given(st.lists(ACTS, max_size=30))
def test_the_half_that_the_console_named_last_wins_and_keeps_its_steps(acts: list[tuple[object, ...]]) -> None:
    async def live(folder: Path) -> None:
        world = World(folder)
        for name, *arguments in acts:
            await getattr(world, str(name))(*arguments)
        kept = [state.step for state in world.states.values() if world._is_last(state)]
        await world.heal()
        await world.tell()
        await world.train(1)
        assert {world.lead_of(host).leader for host in HOSTS} == {world.last[1]}
        assert {(state.term.named, state.leader) for state in world.states.values()} == {world.last}
        assert {state.step for state in world.states.values()} == {min(s.step for s in world.states.values())}
        assert world.states[HOSTS[0]].step > max(kept, default=0)

    with scratch() as folder:
        asyncio.run(live(Path(folder)))


def test_a_former_leader_that_was_cut_off_does_not_take_the_lead_back() -> None:
    """Its coordinator is killed meanwhile, again and again; its half is 60 steps ahead when it is back."""

    async def live(folder: Path) -> None:
        world = World(folder)
        await world.train(400)
        await world.cut({"box1"})
        for _ in range(3):
            await world.kill("box1")
        await world.name()
        await world.train(250)
        await world.train(60)
        world.states["box1"] = world.states["box1"]._replace(step=900)
        await world.heal()
        await world.tell()
        await world.train(1)
        assert world.last == (1, "box2")
        assert {state.step for state in world.states.values()} == {400 + 250 + 60 + 1}

    with scratch() as folder:
        asyncio.run(live(Path(folder)))
