"""What is done to hosts, links, disks and consoles of a run in the lab, and undone again. Seeded.

>>> fault = draw(random.Random(7), hosts=["box1", "box2", "box3"])
>>> fault
Fault(kind='cable pulled', host='box2', seconds=4.0)
>>> begin(run, fault); ...; heal(run, fault)
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.lab.lab import Lab


class Run(Protocol):
    """A run under way, as far as faults need it."""

    lab: Lab

    def pid(self, host: str, word: str) -> int | None:
        """Of the process on a host whose command line holds the word; None when there is none."""

    def kill_console(self) -> None: ...

    def new_console(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: str
    host: str  # "" for those of the console
    seconds: float  # from `begin` to `heal`

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host else ""
        return f"{self.kind}{where}" + (f" for {self.seconds:g} s" if self.seconds else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`weight`: how often it is drawn; `seconds`: of which its length is drawn.

    `loses`: the host leaves the group. `spares`: every rank lives on with its own state, and the leader stays.
    """

    begin: Callable[[Run, str], None]
    heal: Callable[[Run, str], None] = lambda _run, _host: None
    seconds: tuple[float, ...] = (0.0,)
    of_console: bool = False
    alone: bool = False  # no other fault at the same time
    weight: int = 2
    loses: bool = False
    spares: bool = True


def _kill(*words: str) -> Callable[[Run, str], None]:
    """A process whose command line has one of the words."""

    def begin(run: Run, host: str) -> None:
        for pid in filter(None, (run.pid(host, f"\0{word}\0") for word in words)):
            os.kill(pid, signal.SIGKILL)

    return begin


def _back(run: Run, host: str) -> None:
    run.lab.bring_back(host)


def _half(run: Run, host: str) -> list[str]:
    """The host and its neighbour."""
    names = list(run.lab.hosts)
    return [host, names[(names.index(host) + 1) % len(names)]]


def _halve(run: Run, host: str) -> None:
    box = run.lab[host]
    assert box.cores is not None
    box.set_quota(box.cores / 2)


def _whole(run: Run, host: str) -> None:
    box = run.lab[host]
    assert box.cores is not None
    box.set_quota(box.cores * 2)


KINDS: dict[str, Kind] = {
    "rank killed": Kind(begin=_kill("rank"), weight=3, loses=True, spares=False),
    "supervisor killed": Kind(begin=_kill("supervise", "rejoin"), loses=True, spares=False),
    "coordinator killed": Kind(begin=_kill("coordinate"), weight=1),
    "fork server killed": Kind(begin=_kill("forkserver"), weight=1),
    "host crashed": Kind(
        begin=lambda run, host: run.lab[host].crash(), heal=_back, seconds=(3.0, 6.0), loses=True, spares=False
    ),
    "power cut": Kind(
        begin=lambda run, host: run.lab[host].power_cut(), heal=_back, seconds=(3.0, 6.0), loses=True, spares=False
    ),
    "cable pulled": Kind(
        begin=lambda run, host: run.lab[host].unplug(),
        heal=_back,
        seconds=(1.0, 2.0, 4.0, 4.0, 8.0, 8.0, 15.0, 60.0),
        weight=4,
        loses=True,
    ),
    "cut in two": Kind(
        begin=lambda run, host: run.lab.cut_in_two(_half(run, host)),
        heal=lambda run, host: run.lab.join_again(_half(run, host)),
        seconds=(4.0, 8.0),
        alone=True,
        weight=1,
        loses=True,
        spares=False,
    ),
    "host frozen": Kind(
        begin=lambda run, host: run.lab[host].freeze(), heal=_back, seconds=(1.0, 3.0, 5.0, 10.0), weight=3, loses=True
    ),
    "sshd restarted": Kind(begin=lambda run, host: run.lab[host].restart_sshd(), weight=1),
    "disk full": Kind(
        begin=lambda run, host: run.lab[host].fill_disk(),
        heal=lambda run, host: run.lab[host].free_disk(),
        seconds=(2.0, 4.0),
    ),
    "console cut": Kind(
        begin=lambda run, _: run.lab.unplug_master(),
        heal=lambda run, _: run.lab.plug_master(),
        seconds=(2.0, 8.0),
        of_console=True,
    ),
    "console killed": Kind(
        begin=lambda run, _: run.kill_console(),
        heal=lambda run, _: run.new_console(),
        seconds=(0.0, 3.0),
        of_console=True,
        weight=1,
    ),
    "quota halved": Kind(begin=_halve, heal=_whole, seconds=(3.0, 6.0)),
    "link at 10 Mbit/s": Kind(
        begin=lambda run, host: run.lab[host].set_link(10.0),
        heal=lambda run, host: run.lab[host].set_link(None),
        seconds=(3.0, 6.0),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be drawn: no fault longer than `longest_s`; only those that spare the ranks' own state."""

    longest_s: float = 60.0
    sparing: bool = False

    def allow(self, fault: Fault, leader: str) -> bool:
        """A leader that is away for long is replaced, and takes the others' state when it is back."""
        kind = KINDS[fault.kind]
        return not self.sparing or (kind.spares and not (kind.loses and fault.host == leader))


def draw(generator: random.Random, hosts: Sequence[str], *, leader: str, limits: Limits) -> Fault:
    """One fault. The coordinator is where the leader is."""
    names = list(KINDS)
    while True:
        kind = generator.choices(names, [KINDS[name].weight for name in names])[0]
        seconds = generator.choice([s for s in KINDS[kind].seconds if s <= limits.longest_s])
        host = "" if KINDS[kind].of_console else leader if kind == "coordinator killed" else generator.choice(hosts)
        fault = Fault(kind=kind, host=host, seconds=seconds)
        if limits.allow(fault, leader):
            return fault


def draw_some(generator: random.Random, hosts: Sequence[str], *, leader: str, limits: Limits) -> tuple[Fault, ...]:
    """One fault, or (a third of the time) two that meet, never twice the same host."""
    first = draw(generator, hosts, leader=leader, limits=limits)
    if KINDS[first.kind].alone or generator.random() > 1 / 3:
        return (first,)
    while True:
        second = draw(generator, hosts, leader=leader, limits=limits)
        if second.host != first.host and not KINDS[second.kind].alone:
            return first, second


def begin(run: Run, fault: Fault) -> None:
    KINDS[fault.kind].begin(run, fault.host)


def heal(run: Run, fault: Fault) -> None:
    KINDS[fault.kind].heal(run, fault.host)
