"""Each rank's part of the run's figures, rounded so that the parts of all ranks add up to the figure. Pure functions.

percents(snapshot)[0], samples(snapshot)[0]      # of member 0
('50%', '1,472')
"""

from __future__ import annotations

from collections.abc import Mapping

from motley.console.state.snapshot import Snapshot
from motley.console.view import figures


def percents(snapshot: Snapshot) -> dict[int, str]:
    """By member: whole percents of the step's samples that add up to 100, with the part of a rank that is not heard."""
    shares = _shares(snapshot)
    whole = figures.apportioned([*shares.values(), max(0.0, 1 - sum(shares.values()))], 100)
    return {member: f"{part}%" for member, part in zip(shares, whole, strict=False)}


def samples(snapshot: Snapshot) -> dict[int, str]:
    """By member: samples a second."""
    return _rates(snapshot.samples_per_s, _shares(snapshot))


def units(snapshot: Snapshot) -> dict[int, str]:
    """By member: what the task counts besides samples, a second."""
    total = snapshot.units_per_s or 1.0
    told = {rank.member: rank.units_per_s / total for rank in snapshot.ranks if rank.units_per_s is not None}
    return _rates(snapshot.units_per_s, told)


def _shares(snapshot: Snapshot) -> dict[int, float]:
    return {rank.member: rank.share for rank in snapshot.ranks if rank.share is not None}


def _rates(total: float | None, shares: Mapping[int, float]) -> dict[int, str]:
    """By member: parts of the header's figure that add up to it, one digit finer where a rank does little."""
    if total is None or not shares:
        return {}
    least = min((share * total for share in shares.values() if share > 0), default=0.0)
    digits = figures.digits(total) + (least < 10 and total >= 10)
    units = 10**digits
    parts = figures.apportioned([*shares.values(), max(0.0, 1 - sum(shares.values()))], round(total * units))
    return {member: f"{part / units:,.{digits}f}" for member, part in zip(shares, parts, strict=False)}
