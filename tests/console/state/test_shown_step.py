"""All that the table shows at one moment is of one and the same step: in every frame, in whatever order lines come."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.console.state.store import Store
from motley.console.view.rank_table import table
from motley.console.view.run_lines import run_lines
from motley.console.view.styled_line import text
from motley.profiles.split_solver import scaled
from motley.remote.feed import FeedRecord, Layout, Link, RankLayout
from motley.trainer.contract.wire import Sample
from tests.console.scripted import START, event

BATCH = 64
STEPS_AN_EPOCH = 5
SHORT = 23  # samples of an epoch's last step
HOSTS = ("h1", "h2", "h3", "h4")
WIDE = re.compile(r"(\d[\d,]*) +(\d+)% +[█▏▎▍▌▋▊▉ ]*?([\d,.]+) +([\d,.]+) ")
NARROW = re.compile(r"(\d[\d,]*) +(\d+)% +([\d,.]+) ")


@dataclass
class Run:
    """A run that is made up step by step: `truth` is each step's batch by host, `lines` what each host has written."""

    chance: Random
    tells_batch: bool  # samples say how many samples the whole step had
    local_steps: bool = False
    truth: list[dict[str, int]] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)  # of each step
    lines: dict[str, deque[FeedRecord]] = field(default_factory=lambda: {host: deque() for host in HOSTS})
    group: tuple[str, ...] = HOSTS
    generation: int = 0
    step: int = 0
    shares: dict[str, int] = field(default_factory=dict)

    def form(self, group: tuple[str, ...]) -> None:
        for gone in [host for host in self.group if host not in group]:
            self.tell(event("lost", "gone", member=HOSTS.index(gone), host=gone, step=self.step))
        self.group = group
        members = [{"member": HOSTS.index(h), "host": h, "rank": n, "device": "cpu"} for n, h in enumerate(group)]
        self.tell(event("group", "ready", generation=self.generation, step=self.step, members=members))
        self.generation += 1
        self.rebalance()

    def rebalance(self) -> None:
        cuts = sorted(self.chance.randint(0, BATCH) for _ in self.group[1:])
        self.shares = dict(zip(self.group, [b - a for a, b in zip([0, *cuts], [*cuts, BATCH], strict=True)]))

    def tell(self, record: FeedRecord) -> None:
        self.lines[HOSTS[0]].append(record)  # the host that leads

    def train(self) -> None:
        self.step += 1
        size = SHORT if self.step % STEPS_AN_EPOCH == 0 else BATCH
        batches = dict(zip(self.group, scaled(tuple(self.shares.values()), size)))
        self.truth.append(batches)
        self.generations.append(self.generation - 1)
        for rank, host in enumerate(self.group):
            step_ms = 100.0 + self.chance.random() * (80 if self.local_steps else 5)
            self.lines[host].append(
                Sample(
                    seq=self.step, step=self.step, epoch=self.step // STEPS_AN_EPOCH, time=START, host=host,
                    member=HOSTS.index(host), rank=rank, generation=self.generation - 1, batch=batches[host], loss=1.0,
                    compute_ms=60.0, wait_ms=30.0, data_ms=1.0, step_ms=step_ms, samples_per_s=99.0,
                    step_batch=size if self.tells_batch else None,
                )
            )  # fmt: skip


def layout(*, attached: bool = False) -> Layout:
    ranks = tuple(RankLayout(member=n, host=host, device="cpu") for n, host in enumerate(HOSTS))
    return Layout(
        run="first", task="simple_cnn/digits", policy="dynamic", global_batch=BATCH, steps_total=500, leader="h1",
        ranks=ranks, attached=attached,
    )  # fmt: skip


def _at_work(batches: dict[str, int]) -> dict[str, int]:
    return {host: batch for host, batch in batches.items() if batch}


def figure(said: str) -> float:
    return float(said.replace(",", ""))


def check_frame(store: Store, run: Run, lost: set[str], width: int = 200, known: int = 99) -> int:
    """Adds up what is on the screen. Returns how many ranks have figures."""
    snapshot = store.snapshot()
    header = [text(line) for line in run_lines(snapshot, width=width, now=START)]
    rows = [text(line) for line in table(snapshot, width=width, now=START)[1:]]
    found = {row.split()[1]: match for row in rows if (match := (WIDE if width > 120 else NARROW).search(row))}
    if not found:
        assert not any("%" in row for row in rows), rows
        return 0
    batches = {host: int(match[1].replace(",", "")) for host, match in found.items()}
    (step,) = {rank.step for rank in snapshot.ranks if rank.step is not None}
    assert _at_work(batches) == _at_work(run.truth[step - 1]), rows  # who has nothing to do may not be known yet
    assert sum(int(match[2]) for match in found.values()) == 100, rows
    if run.generations[step - 1] <= known:  # else it has come back, and that word is still on its way
        assert not lost & found.keys(), rows
    rate = re.search(r"([\d,.]+) samples/s", header[2])
    assert rate is not None, header
    fineness = 0.5 if figure(rate[1]) >= 100 else 0.05 if figure(rate[1]) >= 10 else 0.005
    assert abs(sum(figure(m[3]) for m in found.values()) - figure(rate[1])) <= fineness * 1.001, (header[2], rows)
    if width > 120:
        step_ms = re.search(r"step ([\d,.]+) ms", header[2])
        assert step_ms is not None, header
        assert {match[4] for match in found.values()} == {step_ms[1]}, rows
    return len(found)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), tells_batch=st.booleans(), attached=st.booleans(), local=st.booleans())
def test_the_table_is_of_one_step_in_every_frame(seed: int, tells_batch: bool, attached: bool, local: bool) -> None:
    """Lines late by seconds, short last batches, changes of the split, hosts that go and come, an attach amid it."""
    chance = Random(seed)
    run = Run(chance, tells_batch, local)
    store = Store()
    store.apply(layout(attached=attached), START)
    run.form(HOSTS[: chance.randint(2, 4)])
    before = chance.randint(1, 30) if attached else 0  # written before this console looks at the run
    left: set[str] = set()
    known = -1  # generation that the store has heard of

    def deliver(host: str, most: int) -> None:
        nonlocal known
        for _ in range(min(most, len(run.lines[host]))):
            record = run.lines[host].popleft()
            store.apply(record, START)
            if getattr(record, "kind", "") == "lost":
                left.add(HOSTS[record.data["member"]])  # type: ignore[union-attr]
            elif getattr(record, "kind", "") == "group":
                left.difference_update(str(m["host"]) for m in record.data["members"])  # type: ignore[union-attr]
                known = record.data["generation"]  # type: ignore[union-attr]
            check_frame(store, run, left, chance.choice((80, 200)), known)

    for _ in range(60):
        run.train()
        if chance.random() < 0.1:
            run.rebalance()
        if chance.random() < 0.08:
            others = [host for host in HOSTS[1:] if chance.random() < 0.7]
            if (new := (HOSTS[0], *others)) != run.group:
                run.form(new)
        if len(run.truth) > before:
            for host in chance.sample(HOSTS, len(HOSTS)):
                if chance.random() < 0.6:
                    deliver(host, chance.randint(1, 12))
    run.train()
    for host in HOSTS:
        deliver(host, len(run.lines[host]))
    assert store.snapshot().step == run.step
    assert check_frame(store, run, left) == len(run.truth[-1])


def test_a_short_last_batch_is_shown_with_its_own_shares() -> None:
    run, store = Run(Random(1), tells_batch=False), Store()
    store.apply(layout(), START)
    run.form(HOSTS)
    run.shares = dict(zip(HOSTS, (40, 16, 6, 2), strict=True))
    for _ in range(STEPS_AN_EPOCH):
        run.train()
    for host in HOSTS:
        while run.lines[host]:
            store.apply(run.lines[host].popleft(), START)
    assert check_frame(store, run, set()) == 4
    assert sum(rank.batch or 0 for rank in store.snapshot().ranks) == SHORT


def test_a_host_whose_lines_are_late_changes_nothing_until_they_come() -> None:
    run, store = Run(Random(2), tells_batch=True), Store()
    store.apply(layout(), START)
    run.form(HOSTS)
    for _ in range(8):
        run.train()
    for host in HOSTS[:3]:
        while run.lines[host]:
            store.apply(run.lines[host].popleft(), START)
            assert check_frame(store, run, set()) == 0
    store.apply(run.lines["h4"].popleft(), START)
    assert check_frame(store, run, set()) == 4
    assert store.snapshot().ranks[0].step == 1


@pytest.mark.parametrize("size", [BATCH, SHORT])
def test_a_rank_behind_a_lost_connection_is_left_out_and_the_others_keep_their_part(size: int) -> None:
    run, store = Run(Random(3), tells_batch=True), Store()
    store.apply(layout(), START)
    run.form(HOSTS)
    run.shares = dict.fromkeys(HOSTS, 16)
    for _ in range(STEPS_AN_EPOCH if size == SHORT else 1):
        run.train()
    store.apply(Link(host="h4", up=False, text="no answer"), START)
    for host in HOSTS[:3]:
        while run.lines[host]:
            store.apply(run.lines[host].popleft(), START)
    ranks = store.snapshot().ranks
    batches = list(run.truth[-1].values())
    assert [rank.share for rank in ranks] == [*(b / size for b in batches[:3]), None]
    assert "link down" in text(table(store.snapshot(), width=80, now=START)[4])
    store.apply(Link(host="h4", up=True, text="connected"), START)
    while run.lines["h4"]:
        store.apply(run.lines["h4"].popleft(), START)
    assert check_frame(store, run, set()) == 4  # no further step may come: the run may have ended meanwhile
    assert sum(rank.batch or 0 for rank in store.snapshot().ranks) == size
    run.train()
    for host in HOSTS:
        store.apply(run.lines[host].popleft(), START)
    assert check_frame(store, run, set()) == 4


def test_a_host_that_has_just_joined_shows_no_alarm() -> None:
    """Its newest line is from before it had gone."""
    run, store = Run(Random(4), tells_batch=True), Store()
    store.apply(layout(), START)
    run.form(HOSTS)
    run.train()
    run.form(HOSTS[:3])
    for host in HOSTS:
        while run.lines[host]:
            store.apply(run.lines[host].popleft(), START)
    run.form(HOSTS)
    while run.lines["h1"]:
        store.apply(run.lines["h1"].popleft(), START + 41)
    row = text(table(store.snapshot(), width=200, now=START + 41)[4])
    assert row[0] in "◐◓◑◒"
    assert "41 s" not in row
