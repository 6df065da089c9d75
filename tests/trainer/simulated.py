"""A run in numbers: ranks whose steps take `a + c b` and scatter, the balancer that shares out their batch, no clock.

Times are drawn from a seed, so a run is the same every time, and the same noise can be met with equal shares.

    >>> run = simulate(folder, seed=1, lines=[(4.0, 0.5)] * 4, noise=steady(0.2), steps=500)
    >>> run.changes, run.seconds / run.equal_seconds
    (1, 1.003)
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motley.profiles.split_solver import equal_split
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.spec import BalanceOptions, Member
from motley.trainer.host.journal import Journal

WINDOW = 5
HEARD_AFTER = 2  # steps from the end of a window to the first that has the shares which it led to

Noise = Callable[[random.Random, int], Iterator[list[float]]]  # of each step: a factor on every rank's time


def steady(deviation: float) -> Noise:
    """Each step of each rank for itself."""

    def draw(rng: random.Random, ranks: int) -> Iterator[list[float]]:
        while True:
            yield [max(0.3, rng.gauss(1, deviation)) for _ in range(ranks)]

    return draw


def drifting(deviation: float, steps: float) -> Noise:
    """Half of the variance as above, half of it a disturbance that fades in so many steps (an AR(1) process)."""

    def draw(rng: random.Random, ranks: int) -> Iterator[list[float]]:
        own = deviation / math.sqrt(2)
        keep = math.exp(-1 / steps)
        drift = [rng.gauss(0, own) for _ in range(ranks)]
        while True:
            drift = [keep * x + math.sqrt(1 - keep * keep) * rng.gauss(0, own) for x in drift]
            yield [max(0.3, 1 + x + rng.gauss(0, own)) for x in drift]

    return draw


def contended(deviation: float, *, slower: float, every: float, lasts: float) -> Noise:
    """Now and then somebody else uses one of the machines for a while."""

    def draw(rng: random.Random, ranks: int) -> Iterator[list[float]]:
        left = [0] * ranks
        while True:
            for rank in range(ranks):
                if left[rank]:
                    left[rank] -= 1
                elif rng.random() < 1 / (every * ranks):
                    left[rank] = math.ceil(rng.expovariate(1 / lasts))
            yield [max(0.3, rng.gauss(1, deviation)) * (slower if n else 1.0) for n in left]

    return draw


def alike(deviation: float, own: float) -> Noise:
    """Ranks that share a machine with somebody: what slows one slows all, in the same step; little is each rank's."""

    def draw(rng: random.Random, ranks: int) -> Iterator[list[float]]:
        while True:
            common = max(0.3, rng.gauss(1, deviation))
            yield [common * max(0.3, rng.gauss(1, own)) for _ in range(ranks)]

    return draw


@dataclass
class Outcome:
    changes: list[int] = field(default_factory=list)  # the step from which each holds
    seconds: float = 0.0
    equal_seconds: float = 0.0  # what the same noise would have made of equal shares
    gain: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    shares: tuple[int, ...] = ()
    shares_at: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def errors(self) -> list[float]:
        """Of the decisions: realised against predicted step time."""
        return [
            abs(e["data"]["realised_ms"] / e["data"]["predicted_ms"] - 1)
            for e in self.events
            if e["kind"] == "realised"
        ]


def simulate(
    folder: Path,
    *,
    seed: int,
    lines: Sequence[tuple[float, float]],
    noise: Noise,
    steps: int,
    total: int = 256,
    sending_ms: float = 6.0,
    slower: tuple[int, int, float] | None = None,
) -> Outcome:
    """`slower`: from which step on which rank takes so many times as long."""
    rng = random.Random(seed)
    ranks = len(lines)
    members = [Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(ranks)]
    shares = now = equal = equal_split(total, ranks)
    balancer = Balancer(BalanceOptions(), members, shares, Journal(folder, host="box0", source="rank 0"))
    outcome = Outcome()
    rows: list[list[MeasuredStep]] = [[] for _ in members]
    heard = 0
    for step, factors in zip(range(1, steps + 1), noise(rng, ranks)):
        if step == heard:
            now = shares
        if slower and step >= slower[0]:
            factors[slower[1]] *= slower[2]
        sending = sending_ms * rng.uniform(0.8, 1.3)
        busy = [(a + c * b) * f for (a, c), b, f in zip(lines, now, factors)]
        step_ms = max(busy) + sending
        outcome.seconds += step_ms / 1000
        outcome.equal_seconds += (max((a + c * b) * f for (a, c), b, f in zip(lines, equal, factors)) + sending) / 1000
        outcome.shares_at.append(now)
        for rank, b, ms in zip(rows, now, busy):
            rank.append(MeasuredStep(batch=b, loss_sum=1.0, busy_ms=ms, step_ms=step_ms))
        if step % WINDOW == 0:
            after = balancer.decide(step, rows, now)
            rows = [[] for _ in members]
            if after != now:
                outcome.changes.append(step + 1)
                shares, heard = after, step + HEARD_AFTER + 1
    outcome.gain, outcome.shares = balancer.gain, now
    outcome.events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return outcome
