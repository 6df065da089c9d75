"""Which number of threads a device is measured, and then trained, with: a few counts tried on steps of one size.

`trainer.verbs.calibrate` asks before it measures anything else.

    >>> choose_threads(asked, bench, 64, say, apply=torch.set_num_threads)["threads"]
    1
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Protocol

from motley.profiles.cores import physical_cores, usable_cores
from motley.profiles.thread_counts import candidates, fastest, rates
from motley.trainer.contract.calibration import Calibration
from motley.trainer.host import rank_environment

BUDGET_S = 4.0  # of steps that count
WARM_UP = 3  # steps
ROUNDS, BLOCK = 6, 2  # each count takes its turn in every round, so that all meet the same disturbances
LEAST_ROUNDS = 2


class Steps(Protocol):
    """What can do a step of so many samples: (compute, whole step) in ms."""

    def step(self, batch: int, /) -> tuple[float, float]: ...
    def warm_up(self, batch: int, steps: int, /) -> bool: ...


def choose_threads(
    asked: Calibration,
    bench: Steps,
    batch: int,
    say: Callable[[dict[str, Any]], None],
    *,
    apply: Callable[[int], object],
    given: int | None = None,
) -> dict[str, Any]:
    """The number of threads that the rest is measured with, in place from now on, as the verb answers it.

    `apply` sets one; `given`: what a script has set by itself.
    """
    if asked.device != "cpu":
        return result_of({}, None, batch)
    counts = (given,) if given and not asked.options.threads else counts_for(asked, os.environ.get("OMP_NUM_THREADS"))
    found: dict[int, float] = {}
    apply(counts[-1])
    if len(counts) > 1 and bench.warm_up(batch, WARM_UP):
        say({"note": f"trying {', '.join(map(str, counts))} threads"})
        found = step_ms_by_threads(bench, counts, batch, apply)
    kept = fastest(found) if found else counts[-1]
    apply(kept)
    return result_of(found, kept, batch)


def counts_for(asked: Calibration, environment: str | None) -> tuple[int, ...]:
    """Those to try on a CPU; a single one where cluster.toml, or the user's own OMP_NUM_THREADS, says how many."""
    given = int(environment) if environment and environment.isdecimal() else 1
    if asked.options.threads:
        return (asked.options.threads,)
    ours = str(rank_environment.threads_of_a_rank(asked.devices))
    if asked.emulated or "OMP_NUM_THREADS" in asked.env or environment != ours:
        return (given,)
    return candidates(usable_cores(), cores=physical_cores(), ranks=asked.devices)


def step_ms_by_threads(
    bench: Steps,
    counts: Sequence[int],
    batch: int,
    apply: Callable[[int], object],
    *,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> dict[int, float]:
    """What a step of `batch` samples takes with each count, in ms: rounds of short blocks, until the time is used up.

    Every other round goes the other way. The first step after a change does not count: its threads, and kernels of
    their own, are made anew.
    """
    took: dict[int, list[float]] = {count: [] for count in counts}
    began = clock()
    for done in range(ROUNDS):
        if done >= LEAST_ROUNDS and (clock() - began) * (done + 1) / done > budget_s:
            break
        for count in reversed(counts) if done % 2 == 0 else counts:
            apply(count)
            bench.step(batch)
            took[count] += [bench.step(batch)[1] for _ in range(BLOCK)]
    return {count: _typical(times) for count, times in took.items()}


def result_of(ms: Mapping[int, float], kept: int | None, batch: int) -> dict[str, Any]:
    """What the verb answers: the count, None on a GPU; and samples a second of those that were tried, if any.

    >>> result_of({1: 40.0, 2: 100.0}, 1, 64)["thread_rates"]
    [{'threads': 1, 'samples_per_s': 1600.0}, {'threads': 2, 'samples_per_s': 640.0}]
    """
    tried = rates(ms, batch)
    return {
        "threads": kept,
        "thread_rates": [{"threads": count, "samples_per_s": rate} for count, rate in tried.items()],
    }


def _typical(times: Sequence[float]) -> float:
    """The mean without what was disturbed: under a quota short steps are quick or held up, and both count."""
    middle = median(times)
    return fmean(x for x in times if x <= 3 * middle)
