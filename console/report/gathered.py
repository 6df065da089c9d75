"""One pass over the records of an experiment: what a report is made from. Data of hosts: what is odd is left out.

gathered = gather(past.records())
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Union, cast

from motley.console.report.kept_steps import KeptStep, KeptSteps
from motley.console.report.report import Evaluated, Happened
from motley.console.report.step_lines import StepLine
from motley.console.state.event_data import decision_of, number, one_line
from motley.console.state.script_figures import ScriptFigures
from motley.console.state.snapshot import Decision
from motley.remote.diagnosis.failures import Failures
from motley.remote.experiment.records import grouped
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

MANY = 4096  # records that are looked at together
FIGURES = 4  # that follow from a loss
# What went wrong and what was done about it, whatever its level.
TOLD = frozenset(
    {"lost", "dropped", "admitted", "regrouped", "cut_off", "leader", "holding", "restarted", "rank_killed", "gave_up"}
    | {"diverged", "memory", "early_stop", "precision", "policy", "stopping", "rank_failed"}
)
_QUIET = frozenset({"fault", "ended", "phase"})  # of these the failures tell


@dataclass(slots=True)
class Gathered:
    """`first` and `last`: times of the first and last record; `at_end` of the last `ended` event, its state with it."""

    first: float | None = None
    last: float | None = None
    kept: list[KeptStep] = field(default_factory=list)
    given_up: list[KeptStep] = field(default_factory=list)
    unit: str = ""
    shares: tuple[int, ...] = ()  # of the first step
    steps_total: int | None = None
    steps_per_epoch: int | None = None
    began_at: int = 0  # the step that it went on from
    task: str = ""
    gain: float | None = None
    saved_s: float | None = None
    decisions: dict[int, Decision] = field(default_factory=dict)  # by step
    evaluated: dict[int, tuple[Evaluated, float]] = field(default_factory=dict)  # by step; and its seconds
    evaluations_s: float = 0.0
    checkpoints_s: float = 0.0
    pauses_s: float = 0.0
    happened: list[Happened] = field(default_factory=list)
    groups: int = 0
    session: bool = False
    devices: dict[str, dict[int, str]] = field(default_factory=dict)  # by host and member
    memory: dict[str, float] = field(default_factory=dict)  # MiB, the highest, by host
    cpu: dict[str, float] = field(default_factory=dict)
    read: ScriptFigures = field(default_factory=ScriptFigures)
    readings: int = 0
    read_at: list[tuple[float, float]] = field(default_factory=list)  # (step, time), thinned
    failures: Failures = field(default_factory=Failures)
    ended: dict[str, str] = field(default_factory=dict)  # state by host

    def names(self, members: Iterable[int]) -> tuple[str, ...]:
        hosts = {member: host for host, own in self.devices.items() for member in own}
        return tuple(hosts.get(member, "?") for member in members)


def gather(records: Iterable[Sample | StepLine | Reading | Usage | Event], global_batch: int | None = None) -> Gathered:
    """`global_batch`: what cluster.toml says, for steps of which no rank says how many samples they had."""
    found = Gathered()
    steps = KeptSteps()
    in_order: tuple[int, ...] = ()  # members, as the newest group has them
    first, last = math.inf, -math.inf
    left = iter(records)
    while some := list(islice(left, MANY)):
        times = [record.time for record in some]
        first, last = min(first, min(times)), max(last, max(times))
        for kind, same in groupby(some, key=type):
            if kind is StepLine or kind is Sample:
                _lines(found, steps, cast(list[Union[Sample, StepLine]], list(same)))
                continue
            for record in same:
                if isinstance(record, Reading):
                    _reading(found, record)
                elif isinstance(record, Usage):
                    _highest(found.memory, record.host, record.mem_mib)
                    _highest(found.cpu, record.host, record.cpu)
                elif isinstance(record, Event):
                    if record.kind == "group":
                        in_order = _group(found, steps, record)
                    _event(found, record, in_order)
    if first <= last:
        found.first, found.last = first, last
    if found.session or not found.readings:
        found.kept, found.given_up = steps.settle(sum(found.shares) or global_batch)
    found.happened = _folded(found.happened, found.first or 0.0)
    return found


def _lines(found: Gathered, steps: KeptSteps, lines: Sequence[Sample | StepLine]) -> None:
    found.session = True
    steps.add(lines)
    found.unit = found.unit or next((line.unit for line in lines if line.unit), "")
    for host, mem_mib in dict.fromkeys((line.host, line.mem_mib) for line in lines):
        _highest(found.memory, host, mem_mib)
    for line in reversed(lines):
        if line.gain is not None:
            found.gain, found.saved_s = line.gain, line.saved_s
            break


def _reading(found: Gathered, reading: Reading) -> None:
    found.readings += 1
    found.read.add(reading, reading.time)
    if not found.read_at or reading.step > found.read_at[-1][0]:
        found.read_at.append((reading.step, reading.time))
        if len(found.read_at) > 2000:
            del found.read_at[1::2]


def _group(found: Gathered, steps: KeptSteps, event: Event) -> tuple[int, ...]:
    members: list[tuple[int, int]] = []
    for row in grouped(event):
        member, rank = number(row.get("member")), number(row.get("rank"))
        if member is not None:
            members.append((int(rank or 0), int(member)))
            host = one_line(row.get("host", "?"))
            found.devices.setdefault(host, {})[int(member)] = one_line(row.get("device", ""))
    generation = number(event.data.get("generation"))
    if members and generation is not None:
        steps.expect(int(generation), (member for _, member in members))
    found.groups += 1
    return tuple(member for _, member in sorted(members))


def _event(found: Gathered, event: Event, members: tuple[int, ...]) -> None:
    data = event.data
    found.failures.hear(event)
    if event.kind == "report":
        shares = data.get("shares")
        told = [number(share) for share in shares] if isinstance(shares, list) else []
        found.shares = tuple(int(share or 0) for share in told)
        found.steps_total = _whole(data.get("steps_total")) or found.steps_total
        found.steps_per_epoch = _whole(data.get("steps_per_epoch")) or found.steps_per_epoch
        found.began_at = _whole(data.get("step")) or 0
        found.task = event.text.partition(":")[0]
    elif event.kind == "decision":
        decision = decision_of(event, found.names(members))
        found.decisions[decision.step] = decision
    elif event.kind == "realised":
        known = found.decisions.get(_whole(data.get("step")) or -1)
        if known is not None:
            found.decisions[known.step] = decision_of(event, known.names, known=known)
    elif event.kind == "evaluated":
        _evaluated(found, event)
    elif event.kind == "checkpoint":
        found.checkpoints_s += max(0.0, number(data.get("seconds")) or 0.0)
    elif event.kind == "regrouped":
        found.pauses_s += max(0.0, number(data.get("pause_s")) or 0.0)
    elif event.kind == "session":
        found.session = True
    elif event.kind == "ended":
        found.ended[event.host] = one_line(data.get("state"))
    worth = event.kind in TOLD or (event.level != "info" and event.kind not in _QUIET)
    if worth and event.text:
        first = next(iter(event.text.splitlines()), "")
        found.happened.append(Happened(seconds=event.time, host=event.host, text=first, level=event.level))


def _evaluated(found: Gathered, event: Event) -> None:
    """One of a step that the run went back from counts no more once it is made again."""
    data = event.data
    step = _whole(data.get("step")) or 0
    seconds = max(0.0, number(data.get("seconds")) or 0.0)
    found.evaluations_s += seconds
    table = data.get("figures")
    figures = [(one_line(name), number(value)) for name, value in table.items()] if isinstance(table, dict) else []
    one = Evaluated(
        step=step,
        epoch=number(data.get("epoch")),
        seconds=event.time,
        accuracy=number(data.get("accuracy")),
        loss=number(data.get("loss")),
        follows=tuple((name, value) for name, value in figures[:FIGURES] if value is not None),
    )
    found.evaluated[step] = one, seconds


def _folded(happened: list[Happened], first: float) -> list[Happened]:
    """With times since the first record; what is said again and again in one line."""
    found: list[Happened] = []
    for one in sorted(happened, key=lambda one: one.seconds):
        before = found[-1] if found else None
        if before is not None and (before.host, before.text) == (one.host, one.text):
            found[-1] = replace(before, times=before.times + 1)
        else:
            found.append(replace(one, seconds=one.seconds - first))
    return found


def _highest(table: dict[str, float], host: str, value: float | None) -> None:
    if value is not None:
        table[host] = max(value, table.get(host, value))


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)
