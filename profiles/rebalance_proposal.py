"""Whether to move samples between ranks, where to, and why: one pure function.

Rank 0 calls it once a window, with the cost models that all ranks' times were fed to, and records the answer:

    >>> proposal = propose(models, shares=(64, 64), total=128, names=("box1", "box3"))
    >>> proposal.moves, proposal.shares, proposal.why
    (True, (101, 27), 'box3 took 96 ms for 64 samples, box1 31 ms for 64')

Times here are to the last local gradient; communication comes after it, is the same for every split, and is no part
of them. A move costs nothing but attention, so the test is only whether it would really help: the predicted gain
must exceed `min_gain`, and what the uncertainty of the fits explains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from profiles.cost import CostModel
from profiles.split import split

CAUTION = 1.0  # an uncertain rank is taken to be slower by so many standard errors: late costs more than early


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The answer: the shares to go on with, and the figures behind it."""

    moves: bool
    shares: tuple[int, ...]
    current_ms: float | None  # of the slowest rank with the shares as they are; None before all are measured
    predicted_ms: float | None  # with the best split found, whether or not it is worth the move
    noise_ms: float | None  # a gain up to this much may be chance
    why: str

    @property
    def gain(self) -> float:
        """The part of the slowest rank's time that the best split found would save."""
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
) -> Proposal:
    """Keep `shares`, or move to the best split that the models know of.

    `eager` asks for less proof, as while a machine is fresh: for a caller that has moved rarely of late.

    Shares that do not fit (another total or number of ranks, a cap or minimum broken since) are replaced whatever
    the gain; a rank not measured yet then counts as the average of the others. Raises `SplitError` when no split fits.
    """
    now = tuple(shares)
    names = names or [f"rank {i}" for i in range(len(models))]
    best = split(_costs(models, now, total), total, caps=caps, minimums=minimums)
    missing = [name for name, model in zip(names, models) if not model.known]
    predicted_ms = None if missing else max(model.predict(b).ms for model, b in zip(models, best))
    misfit = _misfit(now, total, caps, minimums, names)
    if misfit or predicted_ms is None:
        why = misfit or f"no measurement of {', '.join(missing)} yet"
        to = best if misfit else now
        return Proposal(
            moves=bool(misfit), shares=to, current_ms=None, predicted_ms=predicted_ms, noise_ms=None, why=why
        )
    estimates = [model.predict(b) for model, b in zip(models, now)]
    slowest = max(range(len(now)), key=lambda i: estimates[i].ms)
    fastest = min(range(len(now)), key=lambda i: estimates[i].ms)
    current_ms = estimates[slowest].ms
    fresh = eager or any(model.fresh for model in models)
    noise_ms = luck(len(now), fresh) * estimates[slowest].std_ms
    gain_ms = current_ms - predicted_ms
    moves = False
    if best == now or gain_ms <= min_gain * current_ms:
        why = f"the best split found gains {max(gain_ms, 0.0) / current_ms:.1%}, a move needs {min_gain:.1%}"
    elif gain_ms <= noise_ms:
        why = f"the best split found gains {gain_ms:.3g} ms, noise alone explains {noise_ms:.3g} ms"
    else:
        moves = True
        why = f"{names[slowest]} took {current_ms:.3g} ms for {now[slowest]} samples"
        if slowest != fastest:
            why += f", {names[fastest]} {estimates[fastest].ms:.3g} ms for {now[fastest]}"
        why += "".join(_changed(name, model) for name, model in zip(names, models))
    return Proposal(
        moves=moves,
        shares=best if moves else now,
        current_ms=current_ms,
        predicted_ms=predicted_ms,
        noise_ms=noise_ms,
        why=why,
    )


def luck(ranks: int, fresh: bool) -> float:
    """Standard errors by which the slowest of equally fast ranks may seem slower than it is.

    The largest of n normal deviates is about sqrt(2 ln n); a quarter more, since we look again and again. While a
    machine is fresh, waiting for proof costs more than a needless move, so 0.3 of it is enough then.
    """
    return (0.3 if fresh else 1.25) * math.sqrt(2 * math.log(max(ranks, 1)))


def _costs(models: Sequence[CostModel], shares: Sequence[int], total: int) -> list[tuple[float, float]]:
    """The lines to split by, each raised by its uncertainty at the share it has now, or at an equal one."""
    equal = max(1, total // max(1, len(models)))
    costs: list[tuple[float, float] | None] = []
    for i, model in enumerate(models):
        if model.known:
            estimate = model.predict(shares[i] if i < len(shares) and shares[i] else equal)
            factor = 1 + CAUTION * min(estimate.std_ms / estimate.ms, 1.0)
            costs.append((model.line.a * factor, model.line.c * factor))
        else:
            costs.append(None)
    known = [cost for cost in costs if cost is not None] or [(0.0, 1.0)]
    average = (sum(a for a, _ in known) / len(known), sum(c for _, c in known) / len(known))
    return [average if cost is None else cost for cost in costs]


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
