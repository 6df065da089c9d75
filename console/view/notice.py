"""What the screen says when something went wrong or the run is over: the root first, with the next step. Pure.

    notice_lines(snapshot, width=80, folder="experiments/home-1")

Empty while there is nothing to say; then its panel takes no room.
"""

from __future__ import annotations

import re
from dataclasses import replace

from motley.console.state.event_data import number, one_line
from motley.console.state.snapshot import Problem, Snapshot
from motley.console.view import figures
from motley.console.view.run_lines import AGAINST, elapsed_s, gain_of
from motley.console.view.styled_line import Line, Role, clip, join, width_of, wrap
from motley.remote.diagnosis.tracebacks import shown

RANK = re.compile(r"^rank \d+( failed)?: ")
SHOWN = 6  # problems; the log has them all
CALLS = 4  # lines of a traceback


def notice_title(snapshot: Snapshot) -> str:
    if snapshot.phase == "ended" and snapshot.state in ("finished", "stopped"):
        return "summary"
    return "what went wrong" if snapshot.problems or snapshot.state in ("failed", "lost") else "summary"


def notice_lines(snapshot: Snapshot, *, width: int, folder: str = "") -> list[Line]:
    lines: list[Line] = []
    problems = in_order(snapshot.problems)
    for problem in problems[:SHOWN]:
        lines += _problem(problem, width)
    if len(problems) > SHOWN:
        lines.append(((f"and {len(problems) - SHOWN} more: see the log", "muted"),))
    if snapshot.phase == "ended" and (snapshot.step or not problems):
        lines += _summary(snapshot, width, folder)
    return lines


def in_order(problems: tuple[Problem, ...]) -> list[Problem]:
    """Each cause once, in the order it happened: the first is the root."""
    kept: dict[str, Problem] = {}
    hosts: dict[str, list[str]] = {}
    for problem in problems:
        cause = RANK.sub("", problem.cause)
        kept.setdefault(cause, problem)
        if problem.host not in hosts.setdefault(cause, []):
            hosts[cause].append(problem.host)
    return [
        replace(problem, host=", ".join(hosts[cause]), cause=cause) if len(hosts[cause]) > 1 else problem
        for cause, problem in kept.items()
    ]


def _problem(problem: Problem, width: int) -> list[Line]:
    role: Role = "bad" if problem.level == "error" else "warn"
    sign = "✖ " if problem.level == "error" else "! "
    head = f"{sign}{problem.host}: " if problem.host else sign
    parts = wrap(head + problem.cause, width - 2)
    lines: list[Line] = []
    for n, part in enumerate(parts):
        if n == 0 and part.startswith(head.rstrip()):
            lines.append(((head, role), (part[len(head) :], "strong")))
        else:
            lines.append((("  " + part, "strong"),))
    lines += [(("  → " if n == 0 else "    ", "accent"), (part, "text")) for n, part in _remedy(problem, width)]
    lines += [clip((("    ", "muted"), (part, "muted")), width) for part in told_below(problem, CALLS)]
    return lines


def told_below(problem: Problem, calls: int) -> list[str]:
    """A line each: the last calls of the rank that failed first, where all of it is, and the ranks that failed too."""
    lines = list(shown(problem.words, calls))
    if problem.more:
        lines.append(f"all of it: {problem.more}")
    return [*lines, *problem.others]


def _remedy(problem: Problem, width: int) -> list[tuple[int, str]]:
    return list(enumerate(wrap(problem.remedy, width - 4))) if problem.remedy else []


def _steps(snapshot: Snapshot) -> str:
    """Of a run that goes on from another one its own, too: what stands beside them is of these alone."""
    steps = int(number(snapshot.summary.get("steps")) or snapshot.step)
    before = int(number(snapshot.summary.get("steps_before")) or 0)
    return f"{steps - before:,} more, {steps:,} in all" if 0 < before <= steps else figures.count(steps)


def _evaluated(snapshot: Snapshot) -> list[tuple[str, str]]:
    """The accuracy, or, of a task that knows none, the held-out loss and what follows from it."""
    told = snapshot.summary.get("eval")
    found = {str(name): number(value) for name, value in told.items()} if isinstance(told, dict) else {}
    accuracy = found.get("accuracy", snapshot.accuracy)
    loss = found.get("loss", snapshot.held_out.loss if snapshot.held_out else None)
    if accuracy is not None or loss is None:
        return [("accuracy", figures.percent(accuracy))]
    follows = snapshot.held_out.follows if snapshot.held_out else ()
    before = snapshot.held_out_on_start
    if before is None or before is snapshot.held_out:
        return [("held-out loss", figures.loss(loss))] + [
            (name, figures.quantity(found.get(name, value))) for name, value in follows
        ]
    first = dict(before.follows)
    return [("held-out loss", f"{figures.loss(before.loss)} → {figures.loss(loss)}")] + [
        (name, f"{figures.quantity(first.get(name))} → {figures.quantity(found.get(name, value))}")
        for name, value in follows
    ]


def _rates(snapshot: Snapshot) -> list[tuple[str, str]]:
    """In what the task counts, then in samples."""
    summary, unit = snapshot.summary, snapshot.unit
    samples = ("samples/s", figures.rate(number(summary.get("samples_per_s")) or snapshot.samples_per_s))
    if not unit:
        return [samples]
    rate = number(summary.get(f"{unit}_per_s")) or snapshot.units_per_s
    return [(f"{snapshot.counted}/s", figures.rate(rate)), samples]


def _summary(snapshot: Snapshot, width: int, folder: str) -> list[Line]:
    summary = snapshot.summary
    facts: list[tuple[str, str]] = [
        *_evaluated(snapshot),
        ("steps", _steps(snapshot)),
        *_rates(snapshot),
        ("time", figures.duration(elapsed_s(snapshot, snapshot.ended or 0.0))),
        ("final loss", figures.loss(number(summary.get("final_loss")) or snapshot.loss)),
        ("rebalances", figures.count(int(number(summary.get("rebalances")) or len(snapshot.decisions)))),
    ]
    if snapshot.script:
        facts = [("time", figures.duration(elapsed_s(snapshot, snapshot.ended or 0.0)))]
        facts.append(("restarts", str(snapshot.restarts)))
    gain = gain_of(snapshot)
    if gain is not None:
        facts.append((AGAINST, figures.gain(gain)))
    lines: list[Line] = []
    row: list[Line] = []
    for title, value in facts:
        group: Line = ((f"{title} ", "muted"), (value, "strong"))
        if row and width_of(join([*row, group], "   ")) > width:
            lines.append(join(row, "   "))
            row = []
        row.append(group)
    lines.append(join(row, "   "))
    told = summary.get("hosts")
    hosts = [h for h in (told if isinstance(told, (list, tuple)) else ()) if isinstance(h, dict)]
    known = any(number(h.get("share")) is not None for h in hosts)
    if known and not snapshot.script:
        parts = [max(0.0, number(h.get("share")) or 0.0) for h in hosts]
        percents = figures.apportioned([part / (sum(parts) or 1.0) for part in parts], 100 if sum(parts) else 0)
        shares = [f"{one_line(h.get('name', '?'))} {percent} %" for h, percent in zip(hosts, percents, strict=True)]
        lines.append(clip((("shares ", "muted"), (", ".join(shares), "text")), width))
    if folder:
        lines.append(clip((("saved in ", "muted"), (folder, "text")), width))
    return lines
