"""What the store reads out of an event's data: decisions, what is waited for, what went wrong. Pure functions.

Data of an event comes from a host: a figure that is missing or of another type becomes None, never an exception.

    >>> decision_of(Event(..., kind="decision", data={"step": 20, "before": [64, 64], "after": [96, 32]}), ("a", "b"))
    Decision(step=20, names=('a', 'b'), before=(64, 64), after=(96, 32), ...)
"""

from __future__ import annotations

from typing import Any, Literal

from motley.console.state.own_command import Paste
from motley.console.state.snapshot import Decision, Problem, Waiting
from motley.remote.diagnosis.failures import Report
from motley.trainer.contract.wire import LARGEST, Event

NAMED = 6  # hosts in one line


def decision_of(event: Event, names: tuple[str, ...], *, known: Decision | None = None) -> Decision:
    """The decision an event tells of; a `realised` one adds its figure to the one already known."""
    data = event.data
    if known is not None:
        return Decision(
            step=known.step,
            names=known.names,
            before=known.before,
            after=known.after,
            current_ms=known.current_ms,
            predicted_ms=known.predicted_ms,
            realised_ms=number(data.get("realised_ms")),
            why=known.why,
        )
    return Decision(
        step=int(number(data.get("step")) or 0),
        names=names,
        before=_counts(data.get("before")),
        after=_counts(data.get("after")),
        current_ms=number(data.get("current_ms")),
        predicted_ms=number(data.get("predicted_ms")),
        realised_ms=None,
        why=one_line(data.get("why") or event.text),
    )


def folded(event: Event) -> str:
    """The name of the lines of which the log keeps the newest only: a checkpoint each epoch says little, and so does
    who is still waited for."""
    if event.kind == "waiting":
        return "waiting"
    regular = event.kind == "checkpoint" and "/epoch_" in one_line(event.data.get("path"))
    return "checkpoint" if regular else ""


def waiting_of(event: Event, at: float) -> Waiting | None:
    if event.kind == "holding":
        return Waiting(missing=(), since=at, text=event.text)
    missing = _missing(event)
    return Waiting(missing=missing, since=at - (number(event.data.get("waited_s")) or 0.0)) if missing else None


def problem_of(event: Event) -> Problem | None:
    """What of an event belongs on the screen as a problem, in one line."""
    if event.kind == "rank_failed":
        return None  # of those `failed` tells together
    if event.kind == "diverged":  # a run that ends with it has a rank that failed
        cause, remedy = str(event.data.get("cause") or event.text), str(event.data.get("remedy") or "")
        level: Literal["error", "warning"] = "error" if event.level == "error" else "warning"
        return (
            None
            if event.data.get("stops")
            else Problem(host="", cause=one_line(cause), remedy=one_line(remedy), level=level)
        )
    if event.kind == "gave_up":
        who = ", ".join(f"{host} ({phase})" for host, phase in _missing(event))
        if not who:
            return Problem(host=event.host, cause=event.text, remedy="")
        ended = any(phase == "ended" for _, phase in _missing(event))
        remedy = "Their log says more" if ended else "Their log says more; join_timeout_s in [run] waits longer"
        return Problem(host=event.host, cause=f"gave up waiting for {who}", remedy=remedy)
    if event.level == "error" and event.kind != "ended":
        return Problem(host=event.host, cause=event.text, remedy="")
    return None


def unanswered(host: str, run: str, paste: Paste) -> Problem:
    """Of a host that was to end its part of the run."""
    cause = "did not answer the stop: ranks may run on there"
    return Problem(host=host, cause=cause, remedy=f"When it is back: {paste('stop', run)}")


def failed(report: Report, run: str, paste: Paste) -> Problem:
    """The ranks that failed as one problem: the root, what mends it, and the others."""
    more = paste("logs", run, "--rank", str(report.root.member))
    hosts = report.hosts[:NAMED] + ((f"{len(report.hosts) - NAMED} more",) if len(report.hosts) > NAMED else ())
    return Problem(
        host=", ".join(hosts),
        cause=report.headline,
        remedy=report.told or f"All that it said: {more}",
        words=report.root.words,
        others=report.others,
        more=more if report.told else "",
    )


def _missing(event: Event) -> tuple[tuple[str, str], ...]:
    entries = event.data.get("missing")
    if not isinstance(entries, (list, tuple)):
        return ()
    return tuple((one_line(e.get("host", "?")), one_line(e.get("phase", ""))) for e in entries if isinstance(e, dict))


def number(value: Any) -> float | None:
    """A figure of a record, or None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:
        return None
    return float(value)


def one_line(value: Any) -> str:
    """A text of a record in one line; a table or a list is none, and is not shown."""
    return "" if isinstance(value, (dict, list, tuple)) else " ".join(str(value).split())


def _counts(value: Any) -> tuple[int, ...]:
    return tuple(int(n) for v in value if (n := number(v)) is not None) if isinstance(value, (list, tuple)) else ()
