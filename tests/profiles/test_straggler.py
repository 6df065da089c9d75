"""When a host holds up a run, and when leaving it out would be wrong."""

from __future__ import annotations

from motley.profiles.store import LinkSpeed
from motley.profiles.straggler import Measured, Verdict, verdict


def rank(host: str, c_ms: float, *, mbit: float | None = None, cap: int | None = None) -> Measured:
    link = None if mbit is None else LinkSpeed(mbit=mbit, latency_ms=0.1)
    return Measured(host=host, a_ms=0.0, c_ms=c_ms, cap=cap, link=link)


def test_a_slow_host_that_costs_more_sending_than_it_computes_is_named_with_both_figures() -> None:
    members = [rank("box1", 1.0), rank("box2", 1.0), rank("box3", 7.5)]
    found = verdict(members, 256, sending_ms=400.0)
    assert found is not None
    # alone nothing is sent, with three the ring takes 4/3, with two 1: 128 + 300 against 120 + 400 ms
    assert found.host == "box3"
    assert found.with_it == 256 / 520 * 1000
    assert found.without == 256 / 428 * 1000
    assert found.text == "leave out box3: with it 492 samples/s, without it about 598"


def test_where_sending_is_cheap_every_host_pays() -> None:
    members = [rank("box1", 1.0), rank("box2", 1.0), rank("box3", 7.5)]
    assert verdict(members, 256, sending_ms=5.0) is None


def test_the_host_behind_the_slow_link_is_found_where_profiles_know_the_links() -> None:
    members = [rank("box1", 1.0), rank("box2", 1.3, mbit=50.0), rank("box3", 1.3, mbit=1000.0)]
    found = verdict(members, 256, sending_ms=300.0)
    assert found is not None
    assert found.host == "box2"


def test_of_two_hosts_the_second_may_be_what_holds_up_the_first() -> None:
    found = verdict([rank("box1", 1.0), rank("box2", 3.6)], 256, sending_ms=200.0)
    assert found == Verdict(host="box2", with_it=256 / (201 + 200.0) * 1000, without=1000.0)


def test_a_host_that_the_others_have_no_room_without_stays() -> None:
    members = [rank("box1", 1.0, cap=220), rank("box2", 3.6)]
    assert verdict(members, 256, sending_ms=200.0) is None


def test_a_run_of_one_rank_or_one_host_has_no_verdict() -> None:
    assert verdict([rank("box1", 1.0)], 256, sending_ms=50.0) is None
    assert verdict([rank("box1", 1.0), rank("box1", 1.0)], 256, sending_ms=50.0) is None
