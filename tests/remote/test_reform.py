"""Who is to lead when the leader is gone: decided from what was heard, without a host."""

from __future__ import annotations

from typing import Any, cast

from remote.reform import Reform
from remote.verbs import Verbs
from trainer.spec import Lead
from trainer.wire import Event

ORDER = ["box1", "box2", "box3"]


def event(kind: str, host: str, **data: Any) -> Event:
    return Event(time=1.0, host=host, source="rank", kind=kind, text="", data=data)


def cut_off(host: str, term: int = 0, generation: int = 0) -> Event:
    return event("cut_off", host, term=term, generation=generation, step=7, address=f"10.0.0.{host[-1]}")


def reform(*heard: Event) -> Reform:
    made = Reform(cast(Verbs, None), "night", order=ORDER, port=29500)
    for one in heard:
        made.hear(one)
    return made


def test_the_first_host_that_holds_the_state_and_answers_is_the_next_leader() -> None:
    made = reform(cut_off("box3"), cut_off("box2"))
    lead = made.propose(gone="box1", reached=["box2", "box3"])
    assert lead == Lead(term=1, leader="box2", address="10.0.0.2", port=29500, hosts=("box2", "box3"))
    assert made.propose(gone="box1", reached=["box3"]) == Lead(
        term=1, leader="box3", address="10.0.0.3", port=29500, hosts=("box3",)
    )


def test_nobody_leads_while_nobody_holds_or_the_others_went_on() -> None:
    assert reform().propose(gone="box1", reached=["box2", "box3"]) is None
    assert reform(cut_off("box1")).propose(gone="box1", reached=["box1", "box2"]) is None
    went_on = [cut_off("box2", generation=2), event("group", "box1", generation=3)]
    for heard in (went_on, reversed(went_on)):  # their hosts' files are read in any order
        assert reform(*heard).propose(gone="box1", reached=["box2"]) is None
    assert reform(*went_on, cut_off("box2", generation=3)).propose(gone="box1", reached=["box2"]) is not None


def test_the_term_is_above_all_that_were_heard_of() -> None:
    made = reform(event("leader", "box1", leader="box1", term=4), cut_off("box2", term=2))
    lead = made.propose(gone="box1", reached=["box2"])
    assert lead is not None
    assert lead.term == 5


def test_events_with_odd_data_are_taken_without_an_error() -> None:
    made = reform(
        event("cut_off", "box9", address=None), event("leader", "box1", term="high"), event("cut_off", "box2")
    )
    assert made.propose(gone="box1", reached=["box2"]) is not None
