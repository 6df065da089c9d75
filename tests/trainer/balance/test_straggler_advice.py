"""What rank 0 advises, over streams of windows with a clock of their own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from motley.profiles.cost import CostModel
from motley.profiles.split_solver import split
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.balance.straggler_advice import EVIDENCE_S, StragglerAdviser
from motley.trainer.contract.generation import Group
from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.host.journal import Journal

BATCH = 256
LINES = {"h1": (2.0, 0.5), "h2": (2.0, 0.7), "h3": (2.0, 1.2), "h4": (2.0, 6.0)}  # ms, of a step with b samples
WINDOW = 5


def members_of(hosts: Mapping[str, Any]) -> list[Member]:
    return [Member(member=i, host=host, local_rank=0, device="cpu") for i, host in enumerate(hosts)]


def said(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == "advice"]


class Stream:
    """Groups of one run, one after the other: each has an adviser and a balancer of its own, the fits go along."""

    def __init__(self, folder: Path, *, seed: int = 0, noise: float = 0.05) -> None:
        self.folder = folder
        self.now = 0.0
        self.noise = noise
        self.random = random.Random(seed)
        self.models = {host: CostModel() for host in LINES}
        self.journal = Journal(folder, host="h1", source="rank 0", clock=lambda: self.now)

    def train(self, hosts: str, seconds: float, sending_ms: Callable[[float], float]) -> None:
        """One group of these hosts; `sending_ms` of the seconds since it began."""
        names = hosts.split()
        members = [m for m in members_of(LINES) if m.host in names]
        away = [host for host in LINES if host not in names]
        adviser = StragglerAdviser(members, BATCH, self.journal, run="first", away=away, clock=lambda: self.now)
        shares = split([LINES[host] for host in names], BATCH)
        began = self.now
        balancer = Balancer(
            BalanceOptions(policy="static"), members, shares, self.journal,
            models=[self.models[host] for host in names], adviser=adviser,
        )  # fmt: skip
        step = 0
        while self.now < began + seconds:
            busy = [[self._busy_ms(host, share) for host, share in zip(names, shares)] for _ in range(WINDOW)]
            ends = [max(one) + sending_ms(self.now - began) for one in busy]
            rows = [
                [MeasuredStep(share, 1.0, one[i], end) for one, end in zip(busy, ends)]
                for i, share in enumerate(shares)
            ]
            step += WINDOW
            self.now += sum(ends) / 1000
            balancer.decide(step, rows, shares)

    def _busy_ms(self, host: str, share: int) -> float:
        a, c = LINES[host]
        return (a + c * share) * self.random.lognormvariate(0.0, self.noise)

    @property
    def advice(self) -> list[dict[str, Any]]:
        return said(self.folder)


def test_a_host_is_named_after_a_minute_with_the_command_to_paste_and_taken_back_once(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.train("h1 h2 h3 h4", 240, lambda at: 200.0 if at < 120 else 1.0)
    named, back = stream.advice
    assert named["data"]["host"] == "h4"  # it computes the least, and the ring is as long for it as for any other
    assert named["level"] == "warning"
    assert EVIDENCE_S <= named["time"] <= EVIDENCE_S + 3
    assert named["text"].startswith("leave out h4: with it ")
    assert named["text"].endswith(": motley drop first h4")
    assert named["data"]["without"] > 1.05 * named["data"]["with"]
    assert (back["data"]["host"], back["level"], back["text"]) == (None, "info", "h4 no longer slows the run: keep it")
    assert back["time"] > 120


def test_nothing_is_said_while_a_host_is_away_or_just_back(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.train("h1 h2 h3 h4", 30, lambda _: 5.0)
    stream.train("h1 h2 h4", 200, lambda _: 300.0)  # the cable of h3 is out; h4 has next to no share
    stream.train("h1 h2 h3 h4", 90, lambda at: 300.0 if at < 20 else 5.0)  # back, with some trouble at first
    assert stream.advice == []


def test_a_stale_fit_is_no_evidence(tmp_path: Path) -> None:
    """A rank that takes twice as long as its fit says: until the fit has followed, nothing is concluded from it."""
    members = members_of(LINES)
    now = 0.0
    journal = Journal(tmp_path, host="h1", source="rank 0", clock=lambda: now)
    adviser = StragglerAdviser(members, BATCH, journal, clock=lambda: now)
    shares = split(list(LINES.values()), BATCH)
    models = [CostModel.guess(a, c, share) for (a, c), share in zip(LINES.values(), shares)]
    for _ in range(40):
        now += 5.0
        busy = [(a + c * share) * (2 if i == 1 else 1) for i, ((a, c), share) in enumerate(zip(LINES.values(), shares))]
        adviser.look([[MeasuredStep(b, 1.0, ms, max(busy) + 300.0)] * WINDOW for b, ms in zip(shares, busy)], models)
    assert said(tmp_path) == []


def test_a_rank_without_work_of_which_the_fit_says_that_nothing_takes_no_time_is_no_trouble(tmp_path: Path) -> None:
    adviser = StragglerAdviser(members_of({"h1": 1, "h2": 1}), BATCH, Journal(tmp_path, host="h1", source="rank 0"))
    models = [CostModel(), CostModel()]
    for model in models:
        for batch, ms in ((64, 10.0), (128, 40.0)):
            model.observe(batch, [ms] * 20)
        assert model.line.a == 0
    # What is left of an epoch may be nothing for a rank.
    adviser.look([[MeasuredStep(64, 1.0, 12.0, 40.0)], [MeasuredStep(0, 0.0, 0.2, 40.0)]], models)
    models[1].observe(0, [0.2] * WINDOW)
    assert said(tmp_path) == []


@pytest.mark.parametrize("seed", range(3))
def test_at_the_edge_of_what_is_worth_it_advice_does_not_flicker(tmp_path: Path, seed: int) -> None:
    """The time of sending varies from step to step by half, about where leaving a host out begins to pay."""
    stream = Stream(tmp_path, seed=seed, noise=0.2)
    stream.train("h1 h2 h3 h4", 300, lambda _: stream.random.uniform(10.0, 45.0))
    assert len(stream.advice) <= 2


def test_the_last_hosts_are_never_advised_away(tmp_path: Path) -> None:
    members = members_of({"h1": 0, "h2": 0})
    spec = Spec(
        run="night", host="h1", leader="h1", leader_address="127.0.0.1", port=29500, token="t", members=tuple(members),
        options=RunOptions(global_batch=BATCH), elastic=ElasticOptions(min_hosts=2), balance=BalanceOptions(),
        data=DataOptions(), env={},
    )  # fmt: skip
    group = Group(generation=1, rank=0, members=(0, 1), store=("127.0.0.1", 1), roll=Roll())
    now = 0.0
    journal = Journal(tmp_path, host="h1", source="rank 0", clock=lambda: now)
    adviser = StragglerAdviser.of(spec, group, journal, clock=lambda: now)
    model = CostModel.guess(1.0, 1.0, 128)
    for _ in range(40):
        now += 5.0
        adviser.look([[MeasuredStep(128, 1.0, 129.0, 900.0)] * WINDOW] * 2, [model, model])
    assert said(tmp_path) == []
