"""A leader that was cut off trains on alone and comes back: the screen shows the run, not what it did meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from motley.console.state.snapshot import Snapshot
from motley.console.state.store import Store
from motley.trainer.contract.wire import Event
from tests.console import scripted
from tests.console.scripted import HOSTS, START, event, layout, sample

OTHERS = (1, 2, 3)


def coordinator(kind: str, host: str, **data: Any) -> Event:
    return replace(event(kind, kind, host=host, **data), source="coordinator")


def group(host: str, generation: int, members: tuple[int, ...], step: int) -> Event:
    listed = [{"member": m, "host": HOSTS[m], "rank": i, "device": "cpu"} for i, m in enumerate(members)]
    return coordinator("group", host, generation=generation, world_size=len(members), step=step, members=listed)


def leads(name: str, term: Any) -> Event:
    return event("leader", f"{name} leads the run from now on", host=name, term=term, leader=name)


def shares(snapshot: Snapshot) -> dict[str, int | None]:
    return {rank.host: rank.batch for rank in snapshot.ranks if rank.active}


def train(store: Store, steps: range, members: tuple[int, ...], generation: int) -> None:
    batch = scripted.BATCH // len(members)
    for step in steps:
        for member in members:
            line = sample(step, member, batch=batch, generation=generation, step_batch=batch * len(members))
            store.apply(line, START + step)


def cut_off() -> Store:
    """`desktop` led, and was cut off after step 20; `laptop` leads since, in a group of the same number."""
    store = Store()
    store.apply(layout(), START)
    store.apply(group("desktop", 0, (0, 1, 2, 3), 0), START)
    train(store, range(1, 21), (0, 1, 2, 3), 0)
    store.apply(leads("laptop", [1, 0]), START)
    store.apply(group("laptop", 1, OTHERS, 20), START)
    train(store, range(21, 31), OTHERS, 1)
    return store


def test_what_a_leader_did_alone_is_not_shown_as_the_run() -> None:
    store = cut_off()
    before = store.snapshot()
    assert (before.step, shares(before)) == (30, dict.fromkeys(HOSTS[1:], scripted.BATCH // 3))
    store.apply(coordinator("lost", "desktop", member=1, cause="lost", step=20), START)
    store.apply(group("desktop", 1, (0,), 20), START)
    train(store, range(21, 200), (0,), 1)
    after = store.snapshot()
    assert (after.step, shares(after), after.samples_per_s) == (30, shares(before), before.samples_per_s)
    assert [rank.active for rank in after.ranks] == [False, True, True, True]
    train(store, range(31, 33), OTHERS, 1)
    assert store.snapshot().step == 32


def test_when_it_is_back_it_is_in_the_run_again_and_may_lead_again() -> None:
    store = cut_off()
    store.apply(group("laptop", 2, (0, 1, 2, 3), 30), START)
    train(store, range(31, 35), (0, 1, 2, 3), 2)
    assert (store.snapshot().step, set(shares(store.snapshot()))) == (34, set(HOSTS))
    store.apply(leads("desktop", [2, 0]), START)
    store.apply(leads("laptop", [1, 0]), START)  # a host that hears of it late
    store.apply(group("desktop", 3, (0, 1), 34), START)
    assert set(shares(store.snapshot())) == set(HOSTS[:2])


def test_a_word_on_who_leads_that_can_t_be_read_changes_nothing() -> None:
    store = cut_off()
    unreadable: tuple[Any, ...] = (None, "x", [1, 2, 3], {}, -1)
    for term in unreadable:
        store.apply(leads("desktop", term), START)
    store.apply(group("desktop", 5, (0,), 20), START)
    assert set(shares(store.snapshot())) == set(HOSTS[1:])
