"""Hosts that drop out of a run and come back, as the console shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motley.console.state.snapshot import Regroup
from motley.console.state.store import Store
from motley.console.view.rank_table import table
from motley.console.view.run_lines import run_lines
from motley.console.view.styled_line import text
from tests.console import scripted
from tests.console.scripted import HOSTS, START, event, sample

LAPTOP = HOSTS.index("laptop")


def group(generation: int, step: int, *missing: str, **more: Any) -> Any:
    members = [{"member": i, "host": h, "device": "cpu"} for i, h in enumerate(HOSTS) if h not in missing]
    return event("group", "going on", generation=generation, step=step, members=members, **more)


@pytest.fixture
def store() -> Store:
    """A run of four hosts at step 60."""
    store = Store()
    for _, record in [*scripted.startup("home-1"), *scripted.training(60)]:
        store.apply(record, START)
    return store


def row(store: Store, width: int = 80, after_s: float = 20.0) -> str:
    now = START + 60 + after_s
    (line,) = [t for t in map(text, table(store.snapshot(), width=width, now=now)) if "laptop" in t]
    return line


def lose_laptop(store: Store) -> None:
    store.apply(event("lost", "rank 2 on laptop was lost at step 60", member=LAPTOP, host="laptop", step=60), START)


def test_a_lost_host_greys_out_at_once_and_counts_nowhere(store: Store) -> None:
    before = row(store)
    lose_laptop(store)
    after = row(store)
    assert before.startswith(("● laptop", "! laptop"))
    assert after.startswith("○ laptop")
    assert after.rstrip().endswith("lost, heard 1 m ago")
    assert "%" not in after
    assert store.snapshot().samples_per_s is None
    roles = {
        role for line in table(store.snapshot(), width=80, now=START) for _, role in line if "laptop" in text(line)
    }
    assert roles <= {"muted", "warn"}


def test_advice_about_the_group_before_is_not_shown_any_more(store: Store) -> None:
    advice = event("advice", "leave out laptop: with it 196 samples/s, without it about 254")
    store.apply(replace(advice, data={"host": "laptop"}), START)
    assert "leave out laptop" in store.snapshot().advice
    lose_laptop(store)
    store.apply(group(1, 60, "laptop"), START)
    assert store.snapshot().advice == ""


def test_advice_about_gpus_that_are_half_idle_is_shown_until_the_group_is_another(store: Store) -> None:
    advice = event("advice", "cuda:0 of laptop is 45 % busy, 30 % full: a global batch of 1,024 would use it")
    store.apply(replace(advice, data={"global_batch": 1024, "busy": 45.0, "full": 0.3}), START)
    assert "a global batch of 1,024 would use it" in store.snapshot().advice
    lose_laptop(store)
    assert store.snapshot().advice == ""


def test_the_new_group_is_counted_and_marked(store: Store) -> None:
    lose_laptop(store)
    store.apply(group(1, 60, "laptop"), START)
    store.apply(event("regrouped", "laptop lost at step 60: went on after 1.8 s", generation=1), START)
    shown = store.snapshot()
    assert shown.regroups == (Regroup(step=60, lost=("laptop",), joined=()),)
    assert "3 of 4 ranks on 4 hosts" in text(run_lines(shown, width=200, now=START)[0])
    assert any(entry.text == "laptop lost at step 60: went on after 1.8 s" for entry in store.log())


def test_a_host_on_its_way_back_says_so_and_is_as_before_when_it_trains(store: Store) -> None:
    lose_laptop(store)
    store.apply(group(1, 60, "laptop"), START)
    store.apply(event("phase", "", member=LAPTOP, phase="importing torch"), START)
    assert "coming back: importing torch" in row(store, width=140)
    store.apply(group(2, 80), START)
    assert row(store).startswith("◐ laptop")
    for member in range(4):
        store.apply(sample(81, member, generation=2, time=START + 80), START)
    assert store.snapshot().regroups[-1] == Regroup(step=80, lost=(), joined=("laptop",))
    assert row(store, after_s=20.0).startswith("● laptop")


def test_a_host_that_was_taken_out_and_has_joined_again_is_not_called_taken_out(store: Store) -> None:
    gone = event("lost", "rank 2 on laptop was taken out", member=LAPTOP, host="laptop", step=60, cause="dropped")
    store.apply(gone, START)
    store.apply(group(1, 60, "laptop"), START)
    store.apply(event("phase", "", member=LAPTOP, phase="ended"), START)
    assert "taken out" in row(store)
    store.apply(group(2, 80), START)
    assert row(store).rstrip().endswith("joining")


def test_a_run_that_holds_says_what_it_waits_for_until_it_goes_on(store: Store) -> None:
    said = "1 host left, 2 needed (elastic.min_hosts): waiting 120 s for others to come back"
    store.apply(event("holding", said, hosts=1, least=2, hold_s=120.0), START)
    assert said in text(run_lines(store.snapshot(), width=120, now=START + 3)[2])
    store.apply(group(1, 60), START)
    assert store.snapshot().waiting is None


def test_what_went_wrong_on_a_host_is_over_when_it_is_back_at_work(store: Store) -> None:
    lose_laptop(store)
    cut_off = "this host was cut off from the run: the supervisor was ended"
    store.apply(event("note", cut_off, host="laptop", level="error"), START)
    store.apply(event("note", "the disk is full", host="box1", level="error"), START)
    store.apply(group(1, 60, "laptop"), START)
    assert [problem.host for problem in store.snapshot().problems] == ["laptop", "box1"]
    store.apply(replace(group(2, 80), time=START + 20), START + 20)
    assert [problem.host for problem in store.snapshot().problems] == ["box1"]
    late = event("note", "this host was cut off from the run", host="laptop", level="error", time=START + 1)
    store.apply(late, START + 21)
    assert [problem.host for problem in store.snapshot().problems] == ["box1"]
