"""Who is to lead when the leader is gone: decided from what was heard, without a host."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any, cast

import pytest

from motley.remote.errors import HostError, Unreachable
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.failover import Failover
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.term import Term
from motley.trainer.contract.wire import Event

ORDER = ["box1", "box2", "box3"]


def event(kind: str, host: str, **data: Any) -> Event:
    return Event(time=1.0, host=host, source="rank", kind=kind, text="", data=data)


def cut_off(host: str, term: int = 0, generation: int = 0) -> Event:
    return event("cut_off", host, term=term, generation=generation, step=7, address=f"10.0.0.{host[-1]}")


def reform(*heard: Event) -> Failover:
    made = Failover(cast(Verbs, None), "night", order=ORDER, leader="box1", port=29500)
    for one in heard:
        made.hear(one)
    return made


def test_the_first_host_that_holds_the_state_and_answers_is_the_next_leader() -> None:
    made = reform(cut_off("box3"), cut_off("box2"))
    lead = made.propose(gone="box1", reached=["box2", "box3"])
    assert lead == Lead(term=Term(1), leader="box2", address="10.0.0.2", port=29500, hosts=("box2", "box3"))
    assert made.propose(gone="box1", reached=["box3"]) == Lead(
        term=Term(1), leader="box3", address="10.0.0.3", port=29500, hosts=("box3",)
    )


def test_nobody_leads_while_nobody_holds_or_the_others_went_on() -> None:
    assert reform().propose(gone="box1", reached=["box2", "box3"]) is None
    assert reform(cut_off("box1")).propose(gone="box1", reached=["box1", "box2"]) is None
    went_on = [cut_off("box2", generation=2), event("group", "box1", generation=3)]
    for heard in (went_on, reversed(went_on)):  # their hosts' files are read in any order
        assert reform(*heard).propose(gone="box1", reached=["box2"]) is None
    assert reform(*went_on, cut_off("box2", generation=3)).propose(gone="box1", reached=["box2"]) is not None


def test_a_host_whose_ranks_train_again_holds_no_longer() -> None:
    made = reform(cut_off("box3", generation=4), event("phase", "box2", phase="training"))
    assert made.all_hold(gone="box1", reached=["box3"])
    made.hear(event("phase", "box3", phase="joining"))
    assert made.all_hold(gone="box1", reached=["box3"])
    made.hear(event("phase", "box3", phase="training"))  # in a group that its coordinator has not told of here yet
    assert not made.all_hold(gone="box1", reached=["box3"])
    assert made.propose(gone="box1", reached=["box3"]) is None


def test_the_term_is_above_all_that_were_heard_of() -> None:
    made = reform(event("leader", "box1", leader="box1", term=4), cut_off("box2", term=2))
    lead = made.propose(gone="box1", reached=["box2"])
    assert lead is not None
    assert lead.term == Term(5)


LEAD = {"leader": "box1", "term": 1, "address": "10.0.0.1", "port": 29500, "hosts": ["box1", "box2"]}


@pytest.mark.parametrize("odd", [None, "high", math.inf, math.nan, 10**400, [], {}, True])
@pytest.mark.parametrize("key", [*LEAD, "generation"])
def test_events_with_odd_data_are_taken_without_an_error(key: str, odd: Any) -> None:
    data = {**LEAD, "generation": 0, key: odd}
    made = reform(
        event("cut_off", "box9", address=None), event("leader", "box1", **data), event("group", "box1", **data)
    )
    made.hear(event("cut_off", "box2", **data))
    made.hear(cut_off("box2", generation=5))
    lead = made.propose(gone="box1", reached=["box2"])
    assert lead is not None
    assert lead.term <= Term(2)


# Hosts that answer


class FollowingHosts:
    """What `trainer lead` does on each host: the highest term is kept, and answered."""

    def __init__(self, **leads: Lead | None) -> None:
        self.known: dict[str, Lead | None] = leads
        self.gone: set[str] = set()

    async def lead(self, host: str, _run: str, lead: Lead) -> Lead:
        await asyncio.sleep(0)
        if host in self.gone:
            raise Unreachable(host, "no answer", "Plug it in.")
        known = self.known[host]
        if known is None or lead.term > known.term:
            known = self.known[host] = lead
        return known


def lead_by(leader: str, term: int, restarts: int = 0) -> Lead:
    return Lead(
        term=Term(term, restarts), leader=leader, address=f"10.0.0.{leader[-1]}", port=29500, hosts=tuple(ORDER)
    )


def answered_by(hosts: FollowingHosts, lead: Lead | None = None) -> Failover:
    return Failover(cast(Verbs, hosts), "night", order=ORDER, leader="box1", port=29500, lead=lead)


async def test_a_former_leader_that_has_replaced_its_coordinator_follows_the_new_one_when_it_is_back() -> None:
    hosts = FollowingHosts(box1=lead_by("box1", term=0, restarts=3), box2=None, box3=None)
    made = answered_by(hosts)  # it never heard of that
    assert await made.tell(lead_by("box2", term=1), ["box2", "box3"]) == []
    hosts.known["box2"] = lead_by("box2", term=1, restarts=2)  # so has this one
    assert await made.spread(["box1"]) == []
    assert made.lead == hosts.known["box1"] == hosts.known["box3"] == lead_by("box2", term=1)


async def test_a_new_leader_that_another_console_has_told_of_one_leads_after_it() -> None:
    hosts = FollowingHosts(box2=lead_by("box1", term=6), box3=None)
    made = answered_by(hosts)
    assert await made.tell(lead_by("box2", term=1), ["box2", "box3"]) == []
    assert made.lead == hosts.known["box2"] == hosts.known["box3"] == lead_by("box2", term=7)


async def test_the_leader_that_another_console_has_named_later_is_followed() -> None:
    hosts = FollowingHosts(box1=None, box2=lead_by("box2", term=1), box3=lead_by("box3", term=2))
    made = answered_by(hosts, lead_by("box2", term=1))
    assert await made.spread(["box3"]) == []
    assert made.lead == lead_by("box3", term=2)
    assert made.untold(ORDER) == ["box1", "box2"]
    assert await made.spread(made.untold(ORDER)) == []
    assert {known.leader for known in hosts.known.values() if known} == {"box3"}


async def test_two_consoles_that_name_two_leaders_of_one_term_agree_on_the_first_of_them() -> None:
    hosts = FollowingHosts(box1=None, box2=None, box3=None)
    one, other = answered_by(hosts), answered_by(hosts)
    await asyncio.gather(one.tell(lead_by("box3", 1), ["box2", "box3"]), other.tell(lead_by("box2", 1), ["box3"]))
    assert await one.spread(["box1", "box2", "box3"]) == []
    assert await other.spread(["box1", "box2", "box3"]) == []
    assert {known.leader for known in hosts.known.values() if known} == {"box2"}
    assert one.lead is not None
    assert other.lead is not None
    assert one.lead.leader == other.lead.leader == "box2"


async def test_whoever_was_not_told_of_another_leader_stays_to_be_told() -> None:
    hosts = FollowingHosts(box1=lead_by("box1", term=0, restarts=2), box2=None, box3=None)
    made = answered_by(hosts)
    assert made.untold(ORDER) == []
    made.hear(leader("box1", lead_by("box1", term=0, restarts=2)))
    assert made.untold(ORDER) == []  # the leader is whom they follow anyway
    hosts.gone = {"box3"}
    await made.tell(lead_by("box2", term=3), ["box2", "box3"])
    assert made.untold(ORDER) == ["box1", "box3"]
    hosts.gone = set()
    assert await made.spread(made.untold(ORDER)) == []
    assert made.untold(ORDER) == []
    made.forget("box1")  # its connection broke and is back
    assert made.untold(ORDER) == ["box1"]


async def test_a_host_that_can_not_be_told_is_named() -> None:
    hosts = FollowingHosts(box1=lead_by("box1", term=5), box2=None, box3=None)
    hosts.gone = {"box3"}
    made = answered_by(hosts)
    assert await made.tell(lead_by("box2", term=5), ["box2", "box3"]) == ["box3"]
    hosts.known["box1"] = lead_by("box3", term=5)  # of another console
    hosts.gone = {"box2"}  # it can't be named once more
    assert await made.spread(["box1", "box3"]) == ["box1"]
    with pytest.raises(HostError):
        await made.tell(lead_by("box2", term=9), ["box3"])
    assert made.lead == lead_by("box2", term=5)


def leader(host: str, lead: Lead) -> Event:
    return event("leader", host, **{**dataclasses.asdict(lead), "hosts": list(lead.hosts)})


def test_what_another_console_has_named_is_followed_but_not_a_former_leader_s_own_claim() -> None:
    made = reform(leader("box3", lead_by("box2", term=2)))
    assert made.lead == lead_by("box2", term=2)
    made.hear(leader("box1", lead_by("box1", term=0, restarts=5)))
    made.hear(leader("box1", lead_by("box1", term=1, restarts=5)))
    assert made.lead == lead_by("box2", term=2)
    made.hear(cut_off("box3"))
    lead = made.propose(gone="box2", reached=["box3"])
    assert lead is not None
    assert lead.term == Term(3)


def test_a_leader_that_has_replaced_its_coordinator_is_followed() -> None:
    made = reform(leader("box1", lead_by("box1", 0, restarts=1)), leader("box1", lead_by("box1", 0, restarts=2)))
    assert made.lead == lead_by("box1", 0, restarts=2)
