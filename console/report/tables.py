"""A report in words: facts and tables of text, the same for the terminal and the page. Pure; nothing is escaped here.

>>> facts(report)[0]
('task', 'simple_cnn/digits')
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from motley.console.report.report import Evaluated, Report
from motley.console.state.snapshot import Decision
from motley.console.view.figures import (
    NONE,
    TIMES,
    count,
    duration,
    gain,
    loss,
    memory,
    milliseconds,
    percent,
    quantity,
    rate,
)

MOST_ROWS = 40  # of a table; of longer ones the first and the last
SHOWN_RANKS = 8  # of a decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`right`: the columns of figures. `left_out`: rows between the first and the last ones."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    left_out: int = 0
    marked: frozenset[tuple[int, int]] = frozenset()  # (row, column) of the best ones


def headline(report: Report) -> str:
    """`night: finished after 12 of 12 steps`."""
    state = report.state or "how it ended is not known"
    total = f" of {report.steps_total:,}" if report.steps_total else ""
    unsure = ", as far as is known here," if report.going_on else ""
    return f"{report.run}: {state}{unsure} after {report.steps:,}{total} steps"


def facts(report: Report) -> list[tuple[str, str]]:
    """What it was and what it came to; what does not belong to such a run is left out."""
    first, last = (report.evaluations[0], report.evaluations[-1]) if report.evaluations else (None, None)
    rows = [
        ("script" if report.script else "task", report.task or NONE),
        ("hosts", f"{len(report.hosts)}, with {sum(host.ranks for host in report.hosts)} ranks"),
        ("began", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(report.started)) if report.started else NONE),
        ("took", duration(report.seconds)),
        ("goes on from", report.resumed_from),
        ("shares", "" if report.script else report.policy),
        ("batch", f"{count(report.global_batch)} samples" if report.global_batch and not report.script else ""),
        ("epochs", count(report.epochs) if report.epochs is not None else ""),
        ("samples", count(report.samples) if report.samples else ""),
        ("throughput", f"{rate(report.rate)} {report.counted}/s" if report.rate is not None else NONE),
        ("in samples", f"{rate(report.samples_per_s)} samples/s" if report.unit and report.samples_per_s else ""),
        ("a step took", f"{milliseconds(report.step_ms)} ms" if report.step_ms is not None else ""),
        ("last loss", loss(report.final_loss)),
        *([("held out", f"{evaluated(last)} after epoch {quantity(last.epoch)}")] if last and last.epoch != 0 else []),
        *([("before training", evaluated(first))] if first and first.epoch == 0 else []),
    ]
    return [(name, value) for name, value in rows if value]


def evaluated(one: Evaluated) -> str:
    """`accuracy 85.5 %, loss 0.950`; of a language model `loss 2.700, perplexity 14.88`."""
    parts = [f"accuracy {percent(one.accuracy)}"] if one.accuracy is not None else []
    parts += [f"loss {loss(one.loss)}"] if one.loss is not None else []
    return ", ".join([*parts, *(f"{name} {quantity(value)}" for name, value in one.follows)]) or NONE


def balance_lines(report: Report) -> list[str]:
    """What balancing saved, how that is known, or why it is not."""
    figures = report.balancing
    lines = []
    if figures.gain is not None:
        saved = f"; it has saved {duration(figures.saved_s)} in all" if figures.saved_s is not None else ""
        lines.append(f"{gain(figures.gain)} as fast as with equal shares, at the end{saved}")
    if figures.measured_gain is not None:
        lines.append(
            f"measured: a step took {milliseconds(figures.equal_ms)} ms with equal shares, "
            f"{milliseconds(figures.later_ms)} ms later ({gain(figures.measured_gain)})"
        )
    return [*lines, f"How it is computed: {figures.how}." if lines else f"{figures.how}."]


def goodput_lines(report: Report) -> list[str]:
    """What part of the time led to steps that were kept, and where the rest went."""
    figures = report.goodput
    if figures.part is None:
        return ["not known: of no step is it known here how long it took"]
    rows = [
        ("steps that were kept", figures.kept_s),
        ("steps made again" + (f" ({figures.again_steps:,})" if figures.again_steps else ""), figures.again_s),
        ("evaluations", figures.evaluations_s),
        ("checkpoints", figures.checkpoints_s),
        ("pauses of regroups", figures.pauses_s),
        ("before the first step", figures.before_s),
        ("the rest", figures.rest_s),
    ]
    told = [f"{name} {value:.1f} s" for name, value in rows if value is not None and value >= 0.05]
    return [f"{percent(figures.part)} of {duration(figures.all_s)} led to steps that were kept", "; ".join(told)]


def hosts_table(report: Report) -> Table:
    unit = report.counted
    columns = ["host", "device", "share", f"{unit}/s", "compute ms", "waits", "memory", "CPU", "steps", "state"]
    rows = [
        (
            host.name,
            _devices(host.devices),
            percent(host.share),
            rate(host.units_per_s if report.unit else host.samples_per_s),
            milliseconds(host.compute_ms),
            percent(host.wait, 0),
            memory(host.mem_mib),
            NONE if host.cpu is None else f"{host.cpu:.0f} %",
            count(host.steps or None),
            host.state or NONE,
        )
        for host in report.hosts
    ]
    return without_empty(Table(title="hosts", columns=tuple(columns), rows=tuple(rows), right=frozenset(range(2, 9))))


def decisions_table(report: Report) -> Table:
    rows = [
        (
            count(one.step),
            moved(one),
            milliseconds(one.current_ms),
            milliseconds(one.predicted_ms),
            milliseconds(one.realised_ms),
            off(one),
            one.why,
        )
        for one in report.decisions
    ]
    columns = ("step", "samples a rank", "ms before", "predicted", "realised", "off by", "why")
    return shortened(
        Table(title="changes of the shares", columns=columns, rows=tuple(rows), right=frozenset({0, 2, 3, 4, 5}))
    )


def moved(one: Decision) -> str:
    """`desktop 64→99, laptop 64→40`."""
    names = [*one.names, *("?",) * len(one.after)]
    before = [*one.before, *(0,) * len(one.after)]
    told = [f"{name} {old}→{new}" for name, old, new in zip(names, before, one.after) if old != new]
    more = f" and {len(told) - SHOWN_RANKS} more" if len(told) > SHOWN_RANKS else ""
    return ", ".join(told[:SHOWN_RANKS]) + more


def off(one: Decision) -> str:
    """How far the realised step is from the predicted one, of the predicted one."""
    if not one.predicted_ms or one.realised_ms is None:
        return NONE
    by = (one.realised_ms - one.predicted_ms) / one.predicted_ms * 100
    return f"{round(by):+d} %" if math.isfinite(by) else NONE


def regroups_table(report: Report) -> Table:
    rows = [
        (
            count(one.step_before),
            one.host,
            one.cause,
            count(max(0, one.step_before - one.step_after))
            if one.step_before is not None and one.step_after is not None
            else NONE,
            NONE if one.pause_s is None else f"{one.pause_s:.1f} s",
        )
        for one in report.regroups
    ]
    columns = ("step", "host", "what", "steps lost", "pause")
    return shortened(Table(title="regroups", columns=columns, rows=tuple(rows), right=frozenset({0, 3, 4})))


def evaluations_table(report: Report) -> Table:
    names = list(dict.fromkeys(name for one in report.evaluations for name, _ in one.follows))
    rows = [
        (
            "before" if one.epoch == 0 else quantity(one.epoch),
            count(one.step),
            duration(one.seconds),
            percent(one.accuracy),
            loss(one.loss),
            *(quantity(dict(one.follows).get(name)) for name in names),
        )
        for one in report.evaluations
    ]
    columns = ("epoch", "step", "at", "accuracy", "loss", *names)
    return shortened(
        without_empty(Table(title="held out", columns=columns, rows=tuple(rows), right=frozenset(range(9))))
    )


def happened_table(report: Report) -> Table:
    rows = [
        (duration(one.seconds), one.host, one.level, one.text + (f" ({TIMES}{one.times})" if one.times > 1 else ""))
        for one in report.happened
    ]
    return Table(
        title="what went wrong, and what was done", columns=("at", "host", "", "what"), rows=tuple(rows),
        right=frozenset({0}), left_out=report.happened_before,
    )  # fmt: skip


def without_empty(table: Table) -> Table:
    """Without columns of which nothing is known."""
    kept = [c for c in range(len(table.columns)) if c == 0 or any(row[c] not in (NONE, "") for row in table.rows)]
    return Table(
        title=table.title,
        columns=tuple(table.columns[c] for c in kept),
        rows=tuple(tuple(row[c] for c in kept) for row in table.rows),
        right=frozenset(kept.index(c) for c in table.right if c in kept),
        left_out=table.left_out,
    )


def shortened(table: Table) -> Table:
    """At most `MOST_ROWS` rows: the first half of them and the last."""
    if len(table.rows) <= MOST_ROWS:
        return table
    half = MOST_ROWS // 2
    rows = (*table.rows[:half], *table.rows[-half:])
    return Table(
        title=table.title, columns=table.columns, rows=rows, right=table.right, left_out=len(table.rows) - MOST_ROWS
    )


def _devices(names: tuple[str, ...]) -> str:
    kinds = list(dict.fromkeys(names))
    return ", ".join(f"{names.count(kind)} {TIMES} {kind}" if names.count(kind) > 1 else kind for kind in kinds)
