"""What came of faults, and the page that says so: tests/lab/CHAOS.md. Used by tests/lab/chaos.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from tests.lab.faults import KINDS, Fault
from tests.support.pages import machine, page, table


@dataclass(slots=True)
class Struck:
    """A fault (or two), and what came of it. Times in seconds."""

    faults: tuple[Fault, ...]
    step: int
    leader: str
    on_s: float = 0.0  # from its beginning until two more steps were done
    back_s: float | None = 0.0  # from its end until all hosts were in the group; None: the run finished before that
    pauses: list[float] = field(default_factory=list)

    @property
    def hit_leader(self) -> bool:
        return any(f.host == self.leader and KINDS[f.kind].loses and f.kind != "rank killed" for f in self.faults)

    @property
    def lost_host(self) -> bool:
        return any(KINDS[f.kind].loses for f in self.faults)

    @property
    def alone(self) -> bool:
        """No console was there that could name another leader."""
        return any(f.kind in ("console cut", "console killed") for f in self.faults)

    def __str__(self) -> str:
        back = "the run finished" if self.back_s is None else f"all back after {self.back_s:5.1f} s"
        return (
            f"step {self.step:4d}  {' and '.join(map(str, self.faults)):60s} on after {self.on_s:5.1f} s, "
            f"{back}, pauses {' '.join(f'{p:.1f}' for p in self.pauses)}"
        )


@dataclass(slots=True)
class Outcome:
    """One run. `holds`: it waits while a host is away, so its pauses are as long as the faults."""

    training: str
    holds: bool
    struck: list[Struck] = field(default_factory=list)
    lost: int = 0  # completed steps
    difference: float | None = None  # from the undisturbed run; None: it was not finished
    failed: str = ""
    learned: dict[str, Any] | None = None

    @property
    def faults(self) -> int:
        return sum(len(s.faults) for s in self.struck) + bool(self.failed)

    def __str__(self) -> str:
        if self.failed:
            return f"failed ({self.failed})"
        return f"{self.faults} faults, {self.lost} steps lost, difference {self.difference:.1e}"


def spread(pauses: Sequence[float]) -> str:
    return f"{median(pauses):.1f} s, {max(pauses):.1f} s of {len(pauses)}" if pauses else "none"


def results(outcomes: Sequence[Outcome], seed: int) -> str:
    """CHAOS.md."""
    intro = [
        "Made by `make chaos`: seeded faults strike runs in the lab, singly and two at a time. Each run must go on",
        "with all hosts after each of them, and end with the parameters of an undisturbed one (relative 1e-6). A pause",
        "is the time from the end of the last step before a fault to the end of the first step after it.",
    ]
    about = machine(f"torch {torch.__version__}", f"seed {seed}")
    return page("Chaos", intro, about, by_kind(outcomes), in_all(outcomes), by_run(outcomes))


def by_kind(outcomes: Sequence[Outcome]) -> list[str]:
    struck: dict[str, list[Struck]] = defaultdict(list)
    waited: dict[str, list[Struck]] = defaultdict(list)  # in runs that wait while a host is away
    for outcome in outcomes:
        for blow in outcome.struck:
            for fault in blow.faults:
                (waited if outcome.holds else struck)[fault.kind].append(blow)
    rows = []
    for kind in KINDS:
        alone = [p for s in struck[kind] if len(s.faults) == 1 and not s.hit_leader for p in s.pauses[:1]]
        those = struck[kind] + waited[kind]
        back = [s.back_s for s in those if s.back_s is not None]
        rows.append((kind, len(those), spread(alone), spread(back)))
    return table(("fault", "times", "alone: pause median, longest", "all hosts back: median, longest"), rows)


def in_all(outcomes: Sequence[Outcome]) -> list[str]:
    struck = [s for outcome in outcomes if not outcome.holds for s in outcome.struck]
    lost_hosts = [s.pauses[0] for s in struck if s.pauses and s.lost_host and not s.hit_leader]
    leaders = [s.pauses[0] for s in struck if s.pauses and s.hit_leader and not s.alone]
    orphans = [s.pauses[0] for s in struck if s.pauses and s.hit_leader and s.alone]
    others = [s.pauses[0] for s in struck if s.pauses and not s.lost_host]
    faults, blows = sum(o.faults for o in outcomes), sum(len(o.struck) for o in outcomes)
    differences = [outcome.difference for outcome in outcomes if outcome.difference is not None]
    whole = f"{max(differences):.1e} in {len(differences)} runs" if differences else "no run was finished"
    rows = [
        ("faults, in how many blows, in how many runs", f"{faults}, {blows}, {len(outcomes)}"),
        ("runs that did not go on or end as they should", sum(bool(o.failed) for o in outcomes)),
        ("a host lost while the leader lives, first pause: median, longest", spread(lost_hosts)),
        ("the leader's host lost, first pause: median, longest", spread(leaders)),
        (
            "the leader's host lost while the console was away (nobody can name another one), first pause",
            spread(orphans),
        ),
        ("no host lost, first pause where there was one: median, longest", spread(others)),
        ("completed steps lost", sum(o.lost for o in outcomes)),
        ("largest relative difference of parameters and buffers from the undisturbed run", whole),
        ("processes left after a run", 0 if differences else "unknown"),
    ]
    return table(("in all", ""), rows)


def by_run(outcomes: Sequence[Outcome]) -> list[str]:
    rows = []
    for number, o in enumerate(outcomes, 1):
        end = o.failed or f"finished, difference {o.difference:.1e}, {o.lost} steps lost"
        rows.append((number, o.training, o.faults, end))
    return table(("run", "model", "faults", "what came of it"), rows)
