"""From the records of a run to what its trackers are given: figures by step, and marks. Pure.

    >>> points = RunPoints()
    >>> for record in tail.read():
    ...     for one in points.hear(record): ...            # Point or Mark
    >>> points.rest()                                      # at the end of the run: steps that some rank's line lacks of

A step is given out when all its ranks have told of it, as the console shows it. Figures of hosts come once a second:
they tell of machines, and there may be many. Which steps have them depends on the times in the records alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from motley.console.state.event_data import number, one_line
from motley.console.state.step_table import Step, StepTable
from motley.console.tracking.sink import Mark, Point
from motley.remote.experiment.records import grouped
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

HOSTS_EVERY_S = 1.0
MOST_MARKS = 200  # of a run: some tools send a mail for each
MARKED = frozenset(
    {"lost", "dropped", "admitted", "regrouped", "cut_off", "leader", "holding", "restarted", "rank_killed", "gave_up"}
    | {"diverged", "memory", "early_stop", "precision", "policy", "stopping", "rank_failed"}
)
_QUIET = frozenset({"fault", "ended", "phase", "waiting"})  # whatever their level
NAN = math.nan


class RunPoints:
    def __init__(self) -> None:
        self.step = 0  # the newest that was given out
        self.marks_left_out = 0
        self._table = StepTable()
        self._batch: int | None = None  # of the first step
        self._groups: dict[int, frozenset[int]] = {}  # members, by generation
        self._heard: set[int] = set()
        self._marks = 0
        self._hosts_due = 0.0  # on the clock of the records
        self._first: float | None = None
        self._reader: int | None = None  # the member of a script whose figures are taken

    def hear(self, record: Sample | Reading | Usage | Event) -> Iterator[Point | Mark]:
        self._first = record.time if self._first is None else min(self._first, record.time)
        if isinstance(record, Sample):
            self._heard.add(record.member)
            yield from self._points(self._table.add(record, global_batch=self._batch))
        elif isinstance(record, Reading):
            yield from self._reading(record)
        elif isinstance(record, Usage):
            yield from self._usage(record)
        else:
            yield from self._event(record)

    def rest(self) -> Iterator[Point]:
        """The steps that wait for a line which will not come."""
        self._table.unheard |= self._heard.union(*self._groups.values())
        yield from self._points(self._table.settle(self._batch))

    def _event(self, event: Event) -> Iterator[Point | Mark]:
        data = event.data
        if event.kind == "group":
            members = [int(n) for row in grouped(event) if (n := number(row.get("member"))) is not None]
            generation = int(number(data.get("generation")) or 0)
            if members:
                self._groups[generation] = frozenset(members)
                self._table.expect(generation, members)
            yield from self._points(self._table.settle(self._batch))
        elif event.kind == "lost" and (member := number(data.get("member"))) is not None:
            self._table.lose(int(member))
            yield from self._points(self._table.settle(self._batch))
        elif event.kind == "session":  # groups are counted from 0 again, whatever the starts of the script were
            self._table, self._groups = StepTable(), {}
        elif event.kind == "report":
            shares = data.get("shares")
            told = [number(share) for share in shares] if isinstance(shares, list) else []
            self._batch = int(sum(share or 0.0 for share in told)) or self._batch
        elif event.kind == "evaluated":
            yield from _evaluated(event)
        if event.kind in MARKED or (event.level != "info" and event.kind not in _QUIET):
            yield from self._mark(event)

    def _mark(self, event: Event) -> Iterator[Mark]:
        if self._marks >= MOST_MARKS:
            self.marks_left_out += 1
            return
        self._marks += 1
        step = number(event.data.get("step"))
        yield Mark(
            step=self.step if step is None else max(0, int(step)),
            time=event.time,
            title=event.kind.replace("_", " "),
            text=f"{event.host}: {one_line(event.text)}" if event.host else one_line(event.text),
            level=event.level,
        )

    def _points(self, steps: Iterable[Step]) -> Iterator[Point]:
        for step in steps:
            if not step.ranks:
                continue
            self.step = step.step
            time = max(sample.time for sample in step.ranks.values())
            values = _figures(step)
            values["group/ranks"] = float(len(self._groups.get(step.generation, step.ranks)))
            values["group/generation"] = float(step.generation)
            if time >= self._hosts_due:
                self._hosts_due = time + HOSTS_EVERY_S
                values |= _hosts(step)
            yield Point(step=step.step, time=time, values=values)

    def _reading(self, reading: Reading) -> Iterator[Point]:
        """Of a script's ranks the first one that tells of a loss, or of anything while none does."""
        if self._reader is None or (reading.loss is not None and reading.member < self._reader):
            self._reader = reading.member
        if reading.member != self._reader or reading.step < 0:
            return
        values = {"train/loss": reading.loss, "train/steps_per_s": reading.steps_per_s, "train/epoch": reading.epoch}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            self.step = reading.step
            yield Point(step=reading.step, time=reading.time, values=known)

    def _usage(self, usage: Usage) -> Iterator[Point]:
        """A script may tell of no steps: its hosts are told of by the seconds since its first word."""
        seconds = int(usage.time - (self._first or usage.time))
        values = {"cpu_percent": usage.cpu, "memory_mib": usage.mem_mib, "gpu_percent": usage.gpu_util}
        known = {f"usage/{usage.host}/{name}": value for name, value in values.items() if value is not None}
        yield Point(step=seconds, time=usage.time, values=known)


def _figures(step: Step) -> dict[str, float]:
    """Of all ranks together. A rank that had samples and tells of no loss had one that is no number."""
    ranks = step.ranks.values()
    odd = any(sample.loss is None and sample.batch > 0 for sample in ranks)
    values = {
        "train/step_ms": step.ms,
        "train/samples_per_s": step.samples / step.ms * 1000,
        "train/epoch": float(step.epoch),
    }
    if odd or step.loss_samples:
        values["train/loss"] = NAN if odd else step.loss_sum / step.loss_samples
    if step.units is not None and step.unit:
        values[f"train/{step.unit}_per_s"] = step.units / step.ms * 1000
    gains = [sample.gain for sample in ranks if sample.gain is not None]
    if gains:
        values["balance/gain"] = gains[-1]
    return values


def _hosts(step: Step) -> dict[str, float]:
    """By host: its part of the step's samples and how much of the step it waited for others, both 0 to 1, the longest
    and the shortest of its ranks; the memory of its fullest and the mean use of its GPUs."""
    by_host: dict[str, list[Sample]] = {}
    for sample in step.ranks.values():
        by_host.setdefault(sample.host, []).append(sample)
    values: dict[str, float] = {}
    for host, ranks in by_host.items():
        values[f"share/{host}"] = sum(rank.batch for rank in ranks) / step.samples if step.samples else 0.0
        values[f"wait/{host}"] = min(1.0, max(0.0, min(rank.wait_ms for rank in ranks) / step.ms))
        values[f"compute_ms/{host}"] = max(rank.compute_ms for rank in ranks)
        if memory := [rank.mem_mib for rank in ranks if rank.mem_mib is not None]:
            values[f"memory_mib/{host}"] = max(memory)
        if used := [rank.gpu_util for rank in ranks if rank.gpu_util is not None]:
            values[f"gpu_percent/{host}"] = sum(used) / len(used)
    return values


def _evaluated(event: Event) -> Iterator[Point]:
    data = event.data
    step = number(data.get("step"))
    if step is None or step < 0:
        return
    told = [data.get("metrics"), data.get("figures"), {name: data.get(name) for name in ("accuracy", "loss")}]
    values = {
        f"eval/{one_line(name)}": value
        for table in told
        if isinstance(table, dict)
        for name, given in table.items()
        if (value := number(given)) is not None
    }
    if values:
        yield Point(step=int(step), time=event.time, values=values)
