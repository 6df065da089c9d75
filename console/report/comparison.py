"""Runs beside each other: settings that differ, figures with the best marked, curves over the same axis. Pure.

>>> comparison = compare([report_a, report_b], baseline="a", by="epoch")
>>> comparison.settings
(Differing(key='run.learning_rate', values=('0.1', '0.03')),)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from motley.console.report.read_report import seconds_at
from motley.console.report.report import Points, Report
from motley.console.report.tables import Table
from motley.console.view.figures import NONE, count, duration, loss, milliseconds, percent, rate
from motley.remote.errors import UsageError
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, RunOptions

By = Literal["step", "epoch", "time"]
MOST_COLUMNS = 5  # runs
_DEFAULTS = {"run": RunOptions, "balance": BalanceOptions, "elastic": ElasticOptions, "data": DataOptions}


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """A setting that is not the same in all runs; `values` in their order, in JSON. Empty: not set, and no default."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of every run; None: not known. `best` holds the places of the best ones, none where all are alike or
    only one is known. `change`: against the baseline, 0.1 is a tenth more."""

    name: str
    values: tuple[float | None, ...]
    best: tuple[int, ...] = ()
    change: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """`points`: of each run (x, value), x as `Comparison.by` says: steps, epochs, or seconds since its first record."""

    name: str
    points: tuple[Points, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    names: tuple[str, ...]
    states: tuple[str, ...]
    baseline: int  # its place
    by: By
    settings: tuple[Differing, ...] = ()
    figures: tuple[Figure, ...] = ()
    curves: tuple[Curves, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    of: Callable[[Report], float | None]
    shown: Callable[[float | None], str]
    better: int  # 1: the more the better, -1: the less, 0: neither


_KINDS = (
    _Kind("samples/s", lambda r: r.samples_per_s, rate, 1),
    _Kind("units/s", lambda r: r.units_per_s, rate, 1),
    _Kind("steps/s", lambda r: r.steps_per_s, rate, 1),
    _Kind("step ms", lambda r: r.step_ms, milliseconds, -1),
    _Kind("last loss", lambda r: r.final_loss, loss, -1),
    _Kind("held-out loss", lambda r: _best([e.loss for e in r.evaluations], min), loss, -1),
    _Kind("accuracy", lambda r: _best([e.accuracy for e in r.evaluations], max), percent, 1),
    _Kind("perplexity", lambda r: _best([dict(e.follows).get("perplexity") for e in r.evaluations], min), rate, -1),
    _Kind("goodput", lambda r: r.goodput.part, percent, 1),
    _Kind("gain", lambda r: r.balancing.gain, lambda value: NONE if value is None else f"{value:.2f}", 0),
    _Kind("steps", lambda r: float(r.steps), lambda value: NONE if value is None else count(int(value)), 0),
    _Kind("took", lambda r: r.seconds, duration, 0),
)


def compare(reports: Sequence[Report], *, baseline: str | None = None, by: By = "step") -> Comparison:
    """`baseline`: the name of one of them, by default the first. Raises UsageError for fewer than two runs, or a
    baseline that is none of them."""
    if len(reports) < 2:
        raise UsageError("motley compare takes two runs or more: motley compare RUN RUN")
    names = labels(reports)
    pinned = next((i for i, r in enumerate(reports) if baseline in (r.run, r.folder, names[i])), None)
    if baseline is not None and pinned is None:
        raise UsageError(f"--baseline {baseline} is none of the runs that are compared: {', '.join(names)}")
    place = pinned or 0
    notes = [f"{name}: {note}" for name, report in zip(names, reports) for note in report.notes]
    if by == "epoch":
        notes += [
            f"{name}: how many steps an epoch has is not known, so it has no curve by epoch"
            for name, report in zip(names, reports)
            if not report.steps_per_epoch
        ]
    if len({report.unit for report in reports}) > 1:
        notes.append("the runs do not count the same besides samples: compare samples/s")
    figures = (_figure(kind, reports, place) for kind in _KINDS)
    return Comparison(
        names=names,
        states=tuple(report.state for report in reports),
        baseline=place,
        by=by,
        settings=differing(reports),
        figures=tuple(figure for figure in figures if any(value is not None for value in figure.values)),
        curves=_curves(reports, by),
        notes=tuple(notes),
    )


def labels(reports: Sequence[Report]) -> tuple[str, ...]:
    """Their names; where two have the same, their folders."""
    names = [report.run for report in reports]
    return tuple(report.folder if names.count(report.run) > 1 else report.run for report in reports)


def differing(reports: Sequence[Report]) -> tuple[Differing, ...]:
    """A key that is not set counts with its default."""
    tables = [{**report.settings, "hosts": [host.name for host in report.hosts]} for report in reports]
    rows = []
    for key in dict.fromkeys(key for table in tables for key in table):
        values = tuple(_text(table[key]) if key in table else default_of(key) for table in tables)
        if len(set(values)) > 1:
            rows.append(Differing(key=key, values=values))
    return tuple(rows)


def default_of(key: str) -> str:
    """Of `run.epochs` and the like in JSON; empty where there is none.

    >>> default_of("run.seed")
    '0'
    """
    section, _, name = key.partition(".")
    kind = _DEFAULTS.get(section)
    field = next((f for f in dataclasses.fields(kind) if f.name == name), None) if kind is not None else None
    if field is None:
        return ""
    if field.default is not dataclasses.MISSING:
        return _text(field.default)
    return _text(field.default_factory()) if field.default_factory is not dataclasses.MISSING else ""


def settings_table(comparison: Comparison) -> Table:
    rows = tuple((row.key, *(value or NONE for value in row.values)) for row in comparison.settings)
    return Table(title="settings that differ", columns=("setting", *comparison.names), rows=rows)


def figures_table(comparison: Comparison) -> Table:
    """A column a run, a row a figure, with what it is more or less than the baseline; the best marked. Of many runs a
    row each."""
    kinds = {kind.name: kind for kind in _KINDS}
    names = [f"{n} (baseline)" if i == comparison.baseline else n for i, n in enumerate(comparison.names)]
    shown = [
        [
            kinds[figure.name].shown(value) + (_change(figure, place, comparison.baseline) if figure.best else "")
            for place, value in enumerate(figure.values)
        ]
        for figure in comparison.figures
    ]
    grid = [["state", *(figure.name for figure in comparison.figures)]]
    grid += [
        [comparison.states[place] or NONE, *(row[place] for row in shown)] for place in range(len(comparison.names))
    ]
    marked = {(1 + row, 1 + place) for row, figure in enumerate(comparison.figures) for place in figure.best}
    if len(names) > MOST_COLUMNS:
        rows = tuple((name, *cells) for name, cells in zip(names, grid[1:]))
        columns, marked = ("run", *grid[0]), {(column - 1, row + 1) for row, column in marked}
    else:
        rows, columns = tuple(zip(*grid)), ("", *names)
    right = frozenset(range(1, len(columns)))
    return Table(title="figures", columns=columns, rows=rows, right=right, marked=frozenset(marked))


def _figure(kind: _Kind, reports: Sequence[Report], baseline: int) -> Figure:
    values = tuple(kind.of(report) for report in reports)
    known = [value for value in values if value is not None]
    best: tuple[int, ...] = ()
    if kind.better and len(known) > 1 and len(set(known)) > 1:
        top = max(known) if kind.better > 0 else min(known)
        best = tuple(place for place, value in enumerate(values) if value == top)
    base = values[baseline]
    change = tuple((value - base) / base if value is not None and base else None for value in values)
    return Figure(name=kind.name, values=values, best=best, change=change)


def _change(figure: Figure, place: int, baseline: int) -> str:
    change = figure.change[place]
    return "" if place == baseline or change is None else f" ({change * 100:+.0f} %)"


def _curves(reports: Sequence[Report], by: By) -> tuple[Curves, ...]:
    held_out = [
        tuple((float(one.step), one.loss) for one in report.evaluations if one.loss is not None) for report in reports
    ]
    accuracy = [
        tuple((float(e.step), e.accuracy) for e in report.evaluations if e.accuracy is not None) for report in reports
    ]
    counted = (
        next(iter({report.counted for report in reports})) if len({r.counted for r in reports}) == 1 else "counted"
    )
    kinds = [
        ("loss", [report.losses for report in reports]),
        ("held-out loss", held_out),
        ("accuracy", accuracy),
        (f"{counted}/s", [report.throughput for report in reports]),
    ]
    found = [
        Curves(name=name, points=tuple(placed(points, report, by) for points, report in zip(curves, reports)))
        for name, curves in kinds
    ]
    return tuple(one for one in found if any(len(points) > 1 for points in one.points))


def placed(points: Points, report: Report, by: By) -> Points:
    """The same values with their steps turned into epochs, or into seconds since the run's first record."""
    if by == "step":
        return points
    if by == "epoch":
        return tuple((x / report.steps_per_epoch, y) for x, y in points) if report.steps_per_epoch else ()
    found: list[tuple[float, float]] = []
    for step, y in points:
        at = seconds_at(report.when, step)
        if at is not None:
            found.append((max(at, found[-1][0]) if found else at, y))  # a clock that was set back
    return tuple(found)


def _best(values: Sequence[float | None], choose: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 and 1 are one setting
    return json.dumps(value, ensure_ascii=False, default=str)
