"""How long a step of given devices takes, from their profiles: pure functions for `profiles.plan`.

    >>> predict([fast, slow], 256, gradient_bytes=264_616).samples_per_s
    1571.8

**Computing.** Each device takes `a + c b` to its last local gradient; the split of the batch makes the slowest as fast
as can be (`profiles.split_solver`). A device that its share does not fit into takes several passes, each of which costs
`a`.

**Sending.** Gradients are added up around a ring: 2 (n - 1) rounds of a n-th each, every round as slow as the slowest
connection of the ring (Patarasuk and Yuan 2009). Two hosts talk over both their
links: the slower one limits, latencies add up.

**Overlap.** DDP sends buckets, the last layers' first: 1 MiB, then 25 MiB each, half of that on the way with fp16. A
bucket is ready when backward, two thirds of the computing, has come that far; buckets are sent one after the other. Of
several passes only the last one sends. A loop of the user's own sends all of them when backward is over. The step ends
when the last bucket has arrived and the weights are updated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from motley.profiles.cost_line import Line
from motley.profiles.split_solver import split
from motley.profiles.store import LinkSpeed

Compress = Literal["none", "fp16"]

FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20
FORWARD = 1 / 3
EFFICIENCY = 0.95  # of a link that gloo makes use of
WIDTH: dict[Compress, float] = {"none": 1.0, "fp16": 0.5}  # bytes on the way for each byte of a gradient
LEAST_STRAGGLING, MOST_STRAGGLING = 0.8, 1.25  # what is beyond does not grow with the batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One device that could take part."""

    host: str
    device: str
    line: Line  # time to the last local gradient
    step_line: Line  # the whole step alone: samples fetched and weights updated, too
    link: LinkSpeed | None = None  # to the other hosts; None: the leader, whose link is not what limits
    cap: int | None = None  # samples of a step, as cluster.toml says
    pass_limit: int | None = None  # samples of one pass, as its memory allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One step. `busy_ms` is the slowest device's own work, `sending_ms` the whole of the ring, overlapped or not."""

    step_ms: float
    busy_ms: float
    sending_ms: float
    samples_per_s: float
    shares: tuple[int, ...]
    accumulate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """How steps of `ranks` devices together differ from what profiles of each alone let expect, as a rehearsal showed.

    `sending`: factor on what the ring adds to a step, for hosts that have to find time for it. `straggling`: factor on
    the slowest device's own work; the slowest of several is later than any is on average.
    """

    sending: float = 1.0
    straggling: float = 1.0
    ranks: int = 2
    overlap: bool = True  # gradients are sent while others are computed; a loop of the user's own sends them afterwards

    def straggling_of(self, ranks: int) -> float:
        """With so many ranks: the largest of n deviates grows as sqrt(ln n)."""
        return 1 + (self.straggling - 1) * math.sqrt(math.log(max(ranks, 1)) / math.log(max(self.ranks, 2)))


def predict(
    candidates: Sequence[Candidate],
    batch: int,
    gradient_bytes: int,
    compress: Compress = "none",
    together: Together = Together(),
) -> Prediction:
    """Raises SplitError when the devices' caps leave no room for the batch."""
    costs = [(c.step_line.a, c.step_line.c) for c in candidates]
    shares = split(costs, batch, caps=[c.cap for c in candidates])
    accumulate = max(_passes(c, b) for c, b in zip(candidates, shares))
    return _step(candidates, shares, accumulate, gradient_bytes, together, WIDTH[compress])


def learned(
    candidates: Sequence[Candidate], shares: Sequence[int], gradient_bytes: int, step_ms: float, sending_ms: float
) -> Together:
    """From a rehearsal: `step_ms` of a step with these shares, of which `sending_ms` was nobody's own work.

    Where hosts spend most of a step sending, that disturbs their own work by a time, not by a factor: a step of eight
    times the batch is disturbed no more. So the factor is bounded, and the rest counts as sending.
    """
    expected = _step(candidates, shares, 1, gradient_bytes, Together())
    straggling = (step_ms - sending_ms) / expected.busy_ms
    straggling = min(max(straggling, LEAST_STRAGGLING), MOST_STRAGGLING)
    adds_ms = max(step_ms - expected.busy_ms * straggling, 0.0)
    sending = adds_ms / max(expected.step_ms - expected.busy_ms, 1e-3)
    return Together(sending=sending, straggling=straggling, ranks=len(candidates))


def _step(
    candidates: Sequence[Candidate],
    shares: Sequence[int],
    accumulate: int,
    gradient_bytes: int,
    together: Together,
    width: float = 1.0,
) -> Prediction:
    compute = [c.line.a * _passes(c, b) + c.line.c * b for c, b in zip(candidates, shares)]
    busy = [
        c.step_line.a - c.line.a + (c.step_line.c - c.line.c) * b + ms for c, b, ms in zip(candidates, shares, compute)
    ]
    slowest = max(range(len(busy)), key=lambda i: busy[i])
    rest_ms = max(0.0, busy[slowest] - compute[slowest])
    last_ms = compute[slowest] / _passes(candidates[slowest], shares[slowest]) if together.overlap else 0.0
    adds_ms = summed_at_ms(compute[slowest], candidates, gradient_bytes, width, last_ms) - compute[slowest]
    step_ms = (compute[slowest] + rest_ms) * together.straggling_of(len(candidates)) + adds_ms * together.sending
    return Prediction(
        step_ms=step_ms,
        busy_ms=busy[slowest],
        sending_ms=ring_ms(candidates, gradient_bytes * width),
        samples_per_s=sum(shares) / step_ms * 1000,
        shares=tuple(shares),
        accumulate=accumulate,
    )


def summed_at_ms(
    compute_ms: float,
    candidates: Sequence[Candidate],
    gradient_bytes: float,
    width: float = 1.0,
    last_ms: float | None = None,
) -> float:
    """When the last bucket has arrived everywhere, from the start of the step; `last_ms` is that of the last pass."""
    if gradient_bytes <= 0:
        return compute_ms
    backward_ms = (compute_ms if last_ms is None else last_ms) * (1 - FORWARD)
    first = min(FIRST_BUCKET, gradient_bytes)
    rest = gradient_bytes - first
    buckets = [first, *([BUCKET] * int(rest // BUCKET)), rest % BUCKET]
    ready = done = 0.0
    for size in buckets:
        ready += size
        done = max(done, compute_ms - backward_ms * (1 - ready / gradient_bytes))
        done += ring_ms(candidates, size * width)
    return done


def ring_ms(candidates: Sequence[Candidate], size: float) -> float:
    """An all-reduce of `size` bytes. Devices of one host have no network between them."""
    count = len(candidates)
    if len({c.host for c in candidates}) < 2 or size <= 0:
        return 0.0
    mbit, latency_ms = math.inf, 0.0
    for here, there in zip(candidates, [*candidates[1:], candidates[0]]):
        if here.host != there.host:
            links = [c.link for c in (here, there) if c.link is not None]
            mbit = min(mbit, *(link.mbit for link in links), math.inf)
            latency_ms = max(latency_ms, sum(link.latency_ms for link in links))
    rounds = 2 * (count - 1)
    return rounds * (size / count * 8 / (mbit * EFFICIENCY * 1000) + latency_ms)


def _passes(candidate: Candidate, share: int) -> int:
    return -(-share // candidate.pass_limit) if candidate.pass_limit and share else 1
