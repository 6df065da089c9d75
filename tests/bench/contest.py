"""Runs that take turns by the second, so that they meet the same disturbances of the machine.

All contestants are started on the same hosts, one after the other. Rank 0 of each is then stopped, so the others of
its group wait for it. After that one after the other goes on for a while, round by round, in a new order each time. A
contestant's speed in a round is counted from the steps that ended well inside its turn. What is compared are the
ratios of the rounds.

    >>> contest({"dynamic": start_run, "script": start_script}, batch=256, rounds=12)
    {'dynamic': [1650.2, 1702.9, ...], 'script': [1698.0, 1731.5, ...]}
"""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Protocol

TURN_S, SETTLE_S, START_S = 9.0, 1.5, 90.0
WARM_STEPS = 40  # before the first round: shares and caches settle
T_95 = {3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26, 12: 2.20, 16: 2.13, 20: 2.09}  # by number of ratios


class Contestant(Protocol):
    """A run under way."""

    def rank_0(self) -> int | None:
        """The process to stop and to continue; None before it is there."""

    def step_ends(self) -> list[float]:
        """When each step so far ended, in seconds since the epoch."""

    def end(self) -> None:
        """Nothing of it is left."""


def contest(
    starts: Mapping[str, Callable[[], Contestant]],
    *,
    batch: int,
    rounds: int,
    done: Callable[[str, int], float] | None = None,
    turn_s: float = TURN_S,
    start_s: float = START_S,
    at_once: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, list[float]]:
    """Samples/s of each contestant in each round. They are ended after the last one. `start_s`: what they may take to
    their first steps; `turn_s`: of one of them in one round.

    `done`: what a contestant has done with the step of a number, from 0 on, where steps differ in that; then it is so
    much a second.

    `at_once`: further turns, in which several contestants go on at the same time; what they do is added up.
    """
    counts = done or (lambda _name, _step: float(batch))
    turns = {**{name: (name,) for name in starts}, **(at_once or {})}
    contestants: dict[str, Contestant] = {}
    try:
        for name, start in starts.items():
            contestants[name] = start()
            _warm_up(name, contestants[name], start_s)
        found: dict[str, list[float]] = {name: [] for name in turns}
        order, generator = list(turns), random.Random(0)
        for number in range(rounds):
            generator.shuffle(order)
            for name in order:
                these = [(contestants[one], functools.partial(counts, one)) for one in turns[name]]
                found[name].append(_turn(these, turn_s))
            print(f"round {number + 1}:", ", ".join(f"{n} {rates[-1]:,.0f}" for n, rates in found.items()), flush=True)
        return found
    finally:
        for contestant in contestants.values():
            _signal(contestant, signal.SIGCONT)
            contestant.end()


def ratios(left: list[float], right: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(left, right, strict=True)]


def interval(ratios: list[float]) -> str:
    """Mean, and the half-width of its 95 % interval (t, n - 1)."""
    half = T_95[len(ratios)] * stdev(ratios) / len(ratios) ** 0.5
    return f"{mean(ratios):.3f} ± {half:.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} turns)"


def _warm_up(name: str, contestant: Contestant, start_s: float) -> None:
    deadline = time.monotonic() + start_s
    while len(contestant.step_ends()) < WARM_STEPS:
        assert time.monotonic() < deadline, f"{name} has made {len(contestant.step_ends())} steps in {start_s:.0f} s"
        time.sleep(0.2)  # other processes' doing: there is nothing to await
    _signal(contestant, signal.SIGSTOP)


def _turn(contestants: Sequence[tuple[Contestant, Callable[[int], float]]], turn_s: float) -> float:
    """What was done a second, in the turn's settled part."""
    for contestant, _ in contestants:
        _signal(contestant, signal.SIGCONT)
    began = time.time()
    time.sleep(turn_s)
    for contestant, _ in contestants:
        _signal(contestant, signal.SIGSTOP)
    ended = time.time()
    return sum(_rate(contestant, done, began + SETTLE_S, ended) for contestant, done in contestants)


def _rate(contestant: Contestant, done: Callable[[int], float], began: float, ended: float) -> float:
    inside = [(at, step) for step, at in enumerate(contestant.step_ends()) if began <= at <= ended]
    return sum(done(step) for _, step in inside[1:]) / (inside[-1][0] - inside[0][0])


def _signal(contestant: Contestant, number: signal.Signals) -> None:
    pid = contestant.rank_0()
    if pid is not None:
        os.kill(pid, number)
