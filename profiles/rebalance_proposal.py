"""Whether to move samples between ranks, where to, and why: one pure function.

Rank 0 calls it once a window, with the cost models that all ranks' times were fed to, and records the answer:

    >>> proposal = propose(models, shares=(64, 64), total=128, names=("box1", "box3"))
    >>> proposal.moves, proposal.shares, proposal.why
    (True, (101, 27), 'box3 took 96 ms for 64 samples, box1 31 ms for 64')

The split is found from the times to the last local gradient. What is said of it are times of whole steps, with the
communication that comes after: it is the same for every split, so `rest_ms` is what it was measured to be. All wait for
the slowest of each step, so they are the longer the more ranks scatter beside each other. With a split that was found,
and not tried yet, how uncertain their lines are counts like that: the best split of lines is that of their errors, too.
A move costs nothing but attention, so the test is only whether it would really help: the predicted gain must exceed
`min_gain`, and what the uncertainty of the fits explains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from motley.profiles.cost import CostModel
from motley.profiles.shrinkage import shrink
from motley.profiles.split_solver import split
from motley.profiles.step_time import slowest_ms

DOUBTED = 1.5  # above, fresh machines are no excuse for little proof
CERTAIN_GAIN = (
    0.3  # of the slowest rank's time: a host that became so much slower is followed whatever came of earlier moves
)
MUCH = 0.15  # a gain that little proof is enough for
MOST_DRAWN = 2.0  # times as much, by doubt
COMMON = 0.6  # of its error draws a rank towards the others: it is told sooner that one has changed
CAUTION = 1.0  # an uncertain rank is taken to be slower by so many standard errors: late costs more than early


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The answer: the shares to go on with, and the figures behind it."""

    moves: bool
    shares: tuple[int, ...]
    current_ms: float | None  # of a step with the shares as they are; None before all ranks are measured
    predicted_ms: float | None  # with the best split found, whether or not it is worth the move
    noise_ms: float | None  # a gain up to this much may be chance
    why: str

    @property
    def gain(self) -> float:
        """The part of a step's time that the best split found would save."""
        if self.current_ms is None or self.predicted_ms is None:
            return 0.0
        return 1 - self.predicted_ms / self.current_ms


def propose(
    models: Sequence[CostModel],
    shares: Sequence[int],
    total: int,
    caps: Sequence[int | None] | None = None,
    minimums: Sequence[int] | None = None,
    min_gain: float = 0.03,
    *,
    names: Sequence[str] | None = None,
    eager: bool = False,
    doubt: float = 1.0,
    rest_ms: float = 0.0,
    scatter: Sequence[float] | None = None,
) -> Proposal:
    """Keep `shares`, or move to the best split that the models know of.

    `eager` asks for less proof, as while a machine is fresh: for a caller that has moved rarely of late.
    `doubt` above 1 asks for more of it: for one whose last moves did not bring what they promised.
    `rest_ms`: what a step takes besides the slowest rank's own work.
    `scatter`: standard deviation of a step of each rank beside the others, as a part of its time; without it, all the
    noise that its model knows of.

    Shares that do not fit (another total or number of ranks, a cap or minimum broken since) are replaced whatever
    the gain; a rank not measured yet then counts as the average of the others. Raises `SplitError` when no split fits.
    """
    now = tuple(shares)
    names = names or [f"rank {i}" for i in range(len(models))]
    ranks = _ranks(models, now, total, doubt)
    best = split([rank.cautious for rank in ranks], total, caps=caps, minimums=minimums)
    missing = [name for name, model in zip(names, models) if not model.known]
    scatter = scatter or [rank.noise for rank in ranks]
    unsure = [math.hypot(part, rank.error) for part, rank in zip(scatter, ranks)]
    predicted_ms = None if missing else _step_ms(ranks, best, unsure, rest_ms)
    misfit = _misfit(now, total, caps, minimums, names)
    if misfit or predicted_ms is None:
        why = misfit or f"no measurement of {', '.join(missing)} yet"
        to = best if misfit else now
        return Proposal(
            moves=bool(misfit), shares=to, current_ms=None, predicted_ms=predicted_ms, noise_ms=None, why=why
        )
    times = [rank.ms(b) for rank, b in zip(ranks, now)]
    slowest = max(range(len(now)), key=lambda i: times[i])
    fastest = min(range(len(now)), key=lambda i: times[i])
    # Two step times scatter alike: what a move gains is the difference of the means.
    gain_ms = times[slowest] - max(rank.ms(b) for rank, b in zip(ranks, best))
    gain = gain_ms / max(times[slowest] + rest_ms, 1e-9)
    fresh = gain > MUCH and doubt <= DOUBTED and (eager or any(model.fresh for model in models))
    noise_ms = luck(len(now), fresh) * ranks[slowest].error * times[slowest]
    noise_ms = max(noise_ms, min(noise_ms * doubt, CERTAIN_GAIN * times[slowest]))
    moves = False
    if best == now or gain <= min_gain:
        why = f"the best split found gains {max(gain, 0.0):.1%}, a move needs {min_gain:.1%}"
    elif gain_ms <= noise_ms:
        why = f"the best split found gains {gain_ms:.3g} ms, noise alone explains {noise_ms:.3g} ms"
    else:
        moves = True
        why = f"{names[slowest]} took {times[slowest]:.3g} ms for {now[slowest]} samples"
        if slowest != fastest:
            why += f", {names[fastest]} {times[fastest]:.3g} ms for {now[fastest]}"
        why += "".join(_changed(name, model) for name, model in zip(names, models))
    return Proposal(
        moves=moves,
        shares=best if moves else now,
        current_ms=_step_ms(ranks, now, scatter, rest_ms),
        predicted_ms=predicted_ms,
        noise_ms=noise_ms,
        why=why,
    )


def step_ms(
    models: Sequence[CostModel], shares: Sequence[float], scatter: Sequence[float], rest_ms: float = 0.0
) -> float:
    """The median time of a step with these shares. Raises ValueError before every rank is known."""
    return _step_ms([_Rank(m.line.a, m.line.c, 0.0, m.noise) for m in models], shares, scatter, rest_ms)


@dataclass(frozen=True, slots=True)
class _Rank:
    """What is believed of one: its line, the relative error of that, and how much one step scatters about it."""

    a: float
    c: float
    error: float
    noise: float

    def ms(self, batch: float) -> float:
        return self.a + self.c * batch

    @property
    def cautious(self) -> tuple[float, float]:
        """The line to split by, raised by its uncertainty."""
        factor = 1 + CAUTION * min(self.error, 1.0)
        return self.a * factor, self.c * factor


def _step_ms(ranks: Sequence[_Rank], shares: Sequence[float], scatter: Sequence[float], rest_ms: float) -> float:
    means = [rank.ms(share) for rank, share in zip(ranks, shares)]
    return slowest_ms(means, [mean * part for mean, part in zip(means, scatter)]) + rest_ms


def luck(ranks: int, fresh: bool) -> float:
    """Standard errors by which the slowest of equally fast ranks may seem slower than it is.

    The largest of n normal deviates is about sqrt(2 ln n); a quarter more, since we look again and again. While a
    machine is fresh, waiting for proof costs more than a needless move, so 0.3 of it is enough then.
    """
    return (0.3 if fresh else 1.25) * math.sqrt(2 * math.log(max(ranks, 1)))


def _ranks(models: Sequence[CostModel], shares: Sequence[int], total: int, doubt: float) -> list[_Rank]:
    """Each rank as its own measurements and those of the others have it; one not measured yet is their average."""
    equal = max(1, total // max(1, len(models)))
    estimates = [
        model.predict(shares[i] if i < len(shares) and shares[i] else equal)
        for i, model in enumerate(models)
        if model.known
    ]
    errors = [estimate.std_ms / estimate.ms for estimate in estimates]
    known = [model for model in models if model.known]
    shifts = shrink(
        [math.log(model.line.at(equal).ms) for model in known],
        [error * (min(doubt, MOST_DRAWN) if doubt > DOUBTED else COMMON) for error in errors],
    )
    ranks = [
        _Rank(model.line.a * math.exp(shift), model.line.c * math.exp(shift), error * times, model.noise)
        for model, error, (shift, times) in zip(known, errors, shifts)
    ]
    usual = [rank.cautious for rank in ranks] or [(0.0, 1.0)]
    average = _Rank(sum(a for a, _ in usual) / len(usual), sum(c for _, c in usual) / len(usual), 0.0, 0.0)
    each = iter(ranks)
    return [next(each) if model.known else average for model in models]


def _misfit(
    shares: tuple[int, ...],
    total: int,
    caps: Sequence[int | None] | None,
    minimums: Sequence[int] | None,
    names: Sequence[str],
) -> str:
    """Why the shares can't stay as they are; empty when they can."""
    if len(shares) != len(names):
        return f"there are {len(names)} ranks now, {len(shares)} before"
    if sum(shares) != total:
        return f"the batch is {total} samples now, {sum(shares)} before"
    for name, b, cap in zip(names, shares, caps or ()):
        if cap is not None and b > cap:
            return f"{name} can take {cap} samples at most, it had {b}"
    for name, b, least in zip(names, shares, minimums or ()):
        if b < least:
            return f"{name} takes {least} samples at least, it had {b}"
    return ""


def _changed(name: str, model: CostModel) -> str:
    change = model.change
    if change is None:
        return ""
    factor, word = (change.factor, "slower") if change.factor > 1 else (1 / change.factor, "faster")
    return f"; {name} became {factor:.1f} times {word}"
