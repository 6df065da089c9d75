"""A run in numbers whose samples differ in what they cost: real rows shared out by the balancer, no clock.

A rank's step takes `a + c w` for the work w of its rows, in rows of mean cost, and scatters. Who takes which rows is
what a run's `BatchSampler` says.

>>> rows_of_run(folder, seed=1, by_work=True, steps=300).busy(since=100)
0.97
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from motley.profiles.split_solver import equal_split
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep, StepWork
from motley.trainer.contract.spec import BalanceOptions, Member
from motley.trainer.host.journal import Journal
from motley.trainer.llm.row_cost import row_cost
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.simulated import HEARD_AFTER, WINDOW

ROWS, SHORTEST, LONGEST, PER_PAIR = 4000, 32, 2048, 3096
SPEEDS = (1.0, 0.5, 0.25)
FIXED_MS, ROW_MS = 2.0, 10.0  # of a step, and of a row of mean cost, at speed 1
SCATTER = 0.02


@dataclass
class Rows:
    speeds: tuple[float, ...]
    work: list[float] = field(default_factory=list)  # of each step, in rows of mean cost
    took_ms: list[float] = field(default_factory=list)
    equal_ms: list[float] = field(default_factory=list)  # the same steps with equal numbers of rows
    shares: list[tuple[int, ...]] = field(default_factory=list)
    gain: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def busy(self, since: int) -> float:
        """Work done over what all ranks would do alone in that time, from a step on."""
        return sum(self.work[since:]) * ROW_MS / (sum(self.took_ms[since:]) * sum(self.speeds))


def rows_of_run(
    folder: Path,
    *,
    seed: int,
    by_work: bool,
    steps: int,
    batch: int = 64,
    speeds: tuple[float, ...] = SPEEDS,
    slower: tuple[int, int, float] | None = None,
) -> Rows:
    """`slower`: from which step on which rank is so many times as slow."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (ROWS,), generator=generator)
    work = row_cost(lengths, PER_PAIR)
    batches = BatchSampler(count=ROWS, global_batch=batch, seed=seed, work=work if by_work else None)
    known = BatchSampler(count=ROWS, global_batch=batch, seed=seed, work=work)
    ranks = range(len(speeds))
    members = [Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in ranks]
    shares = now = equal = equal_split(batch, len(speeds))
    balancer = Balancer(BalanceOptions(), members, shares, Journal(folder, host="box0", source="rank 0"))
    run, heard = Rows(speeds), 0
    window: list[list[MeasuredStep]] = [[] for _ in ranks]
    by_rows = BatchSampler(count=ROWS, global_batch=batch, seed=seed)
    for step in range(steps):
        now = shares if step + 1 == heard else now
        factors = [max(0.5, rng.gauss(1, SCATTER)) / speed for speed in speeds]
        if slower and step >= slower[0]:
            factors[slower[1]] *= slower[2]
        taken = [batches.ids(step, now, rank) for rank in ranks]
        has = [known.work_of(ids) for ids in taken]
        busy = [(FIXED_MS + ROW_MS * w) * f for w, f in zip(has, factors)]
        without = [known.work_of(by_rows.ids(step, equal, rank)) for rank in ranks]
        run.work.append(sum(has))
        run.took_ms.append(max(busy))
        run.equal_ms.append(max((FIXED_MS + ROW_MS * w) * f for w, f in zip(without, factors)))
        run.shares.append(now)
        for rank, rows in enumerate(window):
            part = StepWork(batches.planned(step, now, rank), has[rank]) if by_work else None
            rows.append(MeasuredStep(len(taken[rank]), 1.0, busy[rank], max(busy), part=part))
        if (step + 1) % WINDOW == 0:
            after = balancer.decide(step + 1, window, now)
            window = [[] for _ in ranks]
            if after != now:
                shares, heard = after, step + 1 + HEARD_AFTER + 1
    run.gain = balancer.gain
    run.events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return run
