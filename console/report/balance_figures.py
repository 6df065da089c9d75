"""What unequal shares have saved against equal ones, by what the records know: see `report.Balancing`. Pure."""

from __future__ import annotations

from statistics import median
from typing import Any

from motley.console.report.gathered import Gathered
from motley.console.report.report import Balancing
from motley.console.state.event_data import number

FEWEST = 3  # steps under equal shares


def balancing_of(summary: dict[str, Any], found: Gathered, *, script: bool, policy: str) -> Balancing:
    gain = number(summary.get("gain")) if "gain" in summary else found.gain
    saved_s = number(summary.get("saved_s")) if "saved_s" in summary else found.saved_s
    equal_ms, later_ms = _measured(found)
    if gain is not None:
        how = (
            "by the time that each rank was found to take for so many samples (a line that is fitted as the run goes): "
            "a step of equal shares would take as long as the slowest rank's line says; the difference is summed up "
            "over all steps"
        )
        if equal_ms is not None:
            how += ". Measured: the median step before the first change of the shares, by that of the last half"
    elif equal_ms is not None:
        how = "measured alone: the median step before the first change of the shares, by that of the last half after it"
    elif script:
        how = "not known: a script's batch is its own"
    elif len({step for one in found.kept[-1:] for step in one.parts}) == 1:
        how = "nothing: one rank has it all"
    elif policy == "static":
        how = "not known: with static shares nobody measures what others would take"
    else:
        how = "not known: too few steps were measured, and the run did not begin with equal shares that were changed"
    return Balancing(gain=gain, saved_s=saved_s, equal_ms=equal_ms, later_ms=later_ms, how=how)


def _measured(found: Gathered) -> tuple[float | None, float | None]:
    """Median milliseconds of a step under equal shares, and later: only where the run began with them."""
    shares = found.shares
    if len(shares) < 2 or max(shares) - min(shares) > 1 or not found.decisions:
        return None, None
    change = min(found.decisions)
    generation = found.kept[0].generation if found.kept else 0
    equal = [step.ms for step in found.kept[1:] if step.step < change and step.generation == generation]
    after = [step.ms for step in found.kept if step.step >= change and step.generation == generation]
    if len(equal) < FEWEST or len(after) < FEWEST:
        return None, None
    return median(equal), median(after[len(after) // 2 :])
