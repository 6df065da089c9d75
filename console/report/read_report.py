"""From what was gathered of a run to its report. Pure, but for `read`, which opens the folder.

>>> report = read(Path("experiments/night"))
>>> report.state, report.samples_per_s, report.goodput.part
('finished', 1312.4, 0.83)
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from motley.console.report import digest
from motley.console.report.balance_figures import balancing_of
from motley.console.report.gathered import Gathered, gather
from motley.console.report.host_figures import hosts_of, shares_of
from motley.console.report.kept_steps import KeptStep
from motley.console.report.past_run import PastRun, flat
from motley.console.report.report import Evaluated, Goodput, Points, Regrouped, Report
from motley.console.state.curve import Curve
from motley.console.state.event_data import number, one_line
from motley.remote.errors import UsageError
from motley.trainer.contract.wire import END_STATES

MOST_HAPPENED = 60
MOST_REGROUPS = 500
PROGRAMS = ("script", "module", "command")


def read(folder: Path, reading: Callable[[float], object] = lambda _: None) -> Report:
    """Raises UsageError where there is no experiment; what of it can't be read is in the report's `notes`. `reading` is
    told how far it is, 0 to 1, where that takes long."""
    past = PastRun.open(folder)
    digested = digest.kept(past)
    if digested is not None:
        return digested
    batch = number(past.settings.get("run", {}).get("global_batch"))
    with _nothing_collected():
        report = report_of(past, gather(past.records(reading), None if batch is None else int(batch)))
    digest.keep(past, report)
    return report


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """All that is read stays, and nothing of it refers in a circle: the collector of such circles would look at it
    again and again, for a quarter of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def report_of(past: PastRun, found: Gathered) -> Report:
    summary, settings = past.summary, past.settings
    run = settings.get("run", {})
    program = next((one_line(run[key]) for key in PROGRAMS if run.get(key)), "")
    script = bool(program) and not found.session
    state, going_on = _state(summary, found)
    half = found.kept[len(found.kept) // 2 :]
    read = found.read.shown()
    first = found.first or 0.0
    unit = found.unit if found.unit and any(step.in_units for step in found.kept) else ""
    failures = found.failures.report()
    broken = failures if state in ("failed", "lost") else None
    hosts = hosts_of(summary, found, half, unit)
    policy = one_line(settings.get("balance", {}).get("policy"))
    happened = found.happened
    counted = [step for step in half if step.in_units]
    evaluations = tuple(_since(one, first) for _, (one, _) in sorted(found.evaluated.items()))
    notes = [*past.problems]
    if going_on:
        notes.append(f"nothing here says that the run has ended: it goes on, or `motley attach {past.name}` tells more")
    if script:
        notes.append("a script's own output is all that is known of its steps; figures of ours there are none")
    elif not found.kept:
        notes.append("no step of it is known here")
    return Report(
        run=past.name,
        folder=str(past.folder),
        state=state,
        going_on=going_on,
        task=program or one_line(run.get("task")) or found.task,
        script=script,
        policy="" if script else policy or "dynamic",
        started=found.first,
        seconds=_seconds(summary, found),
        resumed_from=one_line(summary.get("resumed_from") or ""),
        steps=found.kept[-1].step if found.kept else read.step if read else _whole(summary, "steps") or 0,
        steps_total=found.steps_total or (read.steps_total if read and script else None),
        steps_per_epoch=found.steps_per_epoch,
        epochs=None if script else _whole(summary, "epochs"),
        samples=sum(step.samples for step in found.kept) if found.kept else None,
        global_batch=sum(found.shares) or _whole(run, "global_batch"),
        unit=unit,
        samples_per_s=median_rate(half, [step.samples for step in half]),
        units_per_s=median_rate(counted, [step.units for step in counted]) if unit else None,
        step_ms=median(step.ms for step in half) if half else None,
        steps_per_s=read.steps_per_s if read and script else None,
        final_loss=_final_loss(summary, found) if not script else (read.loss if read else None),
        throughput=found.read.rates.points() if script else _throughput(found.kept, unit),
        losses=found.read.losses.points() if script else _losses(found.kept),
        shares=shares_of(found.kept, tuple(host.name for host in hosts)),
        evaluations=evaluations,
        decisions=tuple(decision for _, decision in sorted(found.decisions.items())),
        regroups=_regroups(summary),
        hosts=hosts,
        balancing=balancing_of(summary, found, script=script, policy=policy),
        goodput=_goodput(summary, found),
        cause=one_line(summary.get("cause") or (broken.cause() if broken else "")),
        failed_with=broken.others if broken else (),
        happened=tuple(happened[-MOST_HAPPENED:]),
        happened_before=max(0, len(happened) - MOST_HAPPENED),
        when=_when(found, first, script=script),
        settings=flat(settings),
        notes=tuple(notes),
    )


def median_rate(steps: Sequence[KeptStep], counts: Sequence[int]) -> float | None:
    """Median of counts by the steps' times, a second."""
    return median(n / step.ms * 1000 for n, step in zip(counts, steps)) if steps else None


def seconds_at(when: Points, step: float) -> float | None:
    """When a step ended, in seconds since the first record, between those that `Report.when` has; None before them."""
    if not when:
        return None
    at = bisect_right([x for x, _ in when], step)
    if at == 0:
        return when[0][1]
    if at == len(when):
        return when[-1][1]
    (x0, y0), (x1, y1) = when[at - 1], when[at]
    return y0 + (y1 - y0) * (step - x0) / (x1 - x0)


def _state(summary: dict[str, Any], found: Gathered) -> tuple[str, bool]:
    """What it came to, and whether nothing says that it has ended."""
    state = one_line(summary.get("state") or "")
    if state in END_STATES:
        return state, False
    if found.ended and set(found.ended) >= set(found.devices):
        states = set(found.ended.values())
        return next((s for s in ("failed", "lost", "stopped", "finished") if s in states), ""), False
    return state, True


def _seconds(summary: dict[str, Any], found: Gathered) -> float | None:
    told = number(summary.get("seconds"))
    if told is not None:
        return told
    return found.last - found.first if found.first is not None and found.last is not None else None


def _final_loss(summary: dict[str, Any], found: Gathered) -> float | None:
    told = number(summary.get("final_loss"))
    return told if told is not None else next((s.loss for s in reversed(found.kept) if s.loss is not None), None)


def _throughput(kept: Sequence[KeptStep], unit: str) -> Points:
    curve = Curve()
    for step in kept:
        if not unit or step.in_units:
            curve.add(step.step, total=step.units if unit else step.samples, weight=step.ms / 1000)
    return curve.points()


def _losses(kept: Sequence[KeptStep]) -> Points:
    curve = Curve()
    for step in kept:
        curve.add(step.step, total=step.loss_sum, weight=step.loss_samples)
    return curve.points()


def _when(found: Gathered, first: float, *, script: bool) -> Points:
    curve = Curve()
    for step, at in found.read_at if script else ((one.step, one.time) for one in found.kept):
        curve.add(int(step), total=at - first, weight=1.0)
    return curve.points()


def _regroups(summary: dict[str, Any]) -> tuple[Regrouped, ...]:
    rows = summary.get("regroups")
    return tuple(
        Regrouped(
            cause=one_line(row.get("cause")),
            host=one_line(row.get("host")),
            step_before=_whole(row, "step_before"),
            step_after=_whole(row, "step_after"),
            pause_s=number(row.get("pause_s")),
        )
        for row in (rows if isinstance(rows, list) else ())[-MOST_REGROUPS:]
        if isinstance(row, dict)
    )


def _goodput(summary: dict[str, Any], found: Gathered) -> Goodput:
    """As `report.Goodput` has it."""
    everything = _seconds(summary, found)
    if not found.kept or everything is None or found.first is None:
        return Goodput(all_s=everything)
    kept_s = sum(step.ms for step in found.kept) / 1000
    again_s = sum(step.ms for step in found.given_up) / 1000
    # Hosts that went together have one pause.
    told_pauses = {one.step_before: one.pause_s or 0.0 for one in _regroups(summary)}
    pauses_s = found.pauses_s or sum(told_pauses.values())
    began = found.kept[0].time - found.kept[0].ms / 1000 - found.first
    # The summary's time begins with the command, the records with what the console or a host says first.
    told = number(summary.get("seconds"))
    earlier = max(0.0, told - (found.last - found.first)) if told is not None and found.last is not None else 0.0
    on_start_s = sum(seconds for one, seconds in found.evaluated.values() if one.epoch == 0)
    before_s = max(0.0, began - on_start_s) + earlier
    spent = kept_s + again_s + found.evaluations_s + found.checkpoints_s + pauses_s + before_s
    return Goodput(
        all_s=max(everything, kept_s),
        kept_s=kept_s,
        again_s=again_s,
        evaluations_s=found.evaluations_s,
        checkpoints_s=found.checkpoints_s,
        pauses_s=pauses_s,
        before_s=before_s,
        rest_s=max(0.0, everything - spent),
        again_steps=len(found.given_up),
    )


def _since(one: Evaluated, first: float) -> Evaluated:
    return Evaluated(
        step=one.step, epoch=one.epoch, seconds=one.seconds - first, accuracy=one.accuracy, loss=one.loss,
        follows=one.follows,
    )  # fmt: skip


def _whole(table: dict[str, Any], key: str) -> int | None:
    value = number(table.get(key))
    return None if value is None else int(value)


if __name__ == "__main__":  # beside a console whose run is over: what it says is kept (`digest`)
    with contextlib.suppress(UsageError):
        os.nice(10)
        read(Path(sys.argv[1]))
