"""The line of run state, the decisions and the log: a snapshot becomes lines. Pure functions.

for line in run_lines(snapshot, width=80, now=time.time()): print(text(line))
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from motley.console.state.event_data import number
from motley.console.state.snapshot import Decision, LogEntry, Playback, Snapshot
from motley.console.view import figures
from motley.console.view.script_lines import progress_of, script_line
from motley.console.view.styled_line import Line, Role, Span, clip, fit, join, spread, text, width_of, wrap

LEAST = (40, 10)  # columns and rows that the screen needs
AGAINST = "against equal shares"
WORSE, MOST = 0.995, 1000.0  # gains below the one are none, above the other no figure
NO_GAIN = "Equal shares would be as fast: the hosts differ by less than their own steps scatter."

STATES: dict[str, tuple[str, Role]] = {
    "idle": ("○ ready", "muted"),
    "starting": ("◐ starting", "accent"),
    "running": ("● running", "good"),
    "stopping": ("◐ stopping", "warn"),
    "finished": ("✔ finished", "good"),
    "stopped": ("■ stopped", "warn"),
    "failed": ("✖ failed", "bad"),
    "lost": ("✖ lost", "bad"),
}


def state_span(snapshot: Snapshot) -> Span:
    if snapshot.behind:
        return "◐ catching up", "accent"
    name = snapshot.state if snapshot.phase == "ended" else snapshot.phase
    return STATES.get(name, (f"? {name}", "warn"))


def elapsed_s(snapshot: Snapshot, now: float) -> float | None:
    seconds = number(snapshot.summary.get("seconds"))
    if seconds is not None:
        return seconds
    if snapshot.started is None:
        return None
    return (snapshot.ended or now) - snapshot.started


def run_lines(snapshot: Snapshot, *, width: int, now: float, frozen: bool = False) -> list[Line]:
    """What runs and its state, how far it is, its figures or what it waits for; perhaps advice and new hosts."""
    lines = [_title(snapshot, width, now, frozen), _progress(snapshot, width), _figures(snapshot, width, now)]
    if snapshot.advice and snapshot.phase == "running":
        lines += [
            ((("▶ " if n == 0 else "  ") + part, "warn"),) for n, part in enumerate(wrap(snapshot.advice, width - 2))
        ]
    if snapshot.offered and snapshot.phase == "running":
        lines.append(clip((("+ ", "accent"), (offer(snapshot.offered), "accent")), width))
    return lines


def too_small(width: int, height: int) -> list[Line]:
    """What to say where nothing fits: every key still works. Empty where there is room."""
    if width >= LEAST[0] and height >= LEAST[1]:
        return []
    need = f"too small: {width}x{height}, needs {LEAST[0]}x{LEAST[1]}"
    return [
        *(((line, "warn"),) for line in wrap(need, width)),
        *(((line, "muted"),) for line in wrap("q leaves, x stops", width)),
    ]


def offer(hosts: Sequence[str], how: str = "j brings {} in") -> str:
    """What to say of hosts that cluster.toml has and the run has not."""
    verb, what = ("is", "it") if len(hosts) == 1 else ("are", "them")
    return f"{', '.join(hosts)} {verb} new in cluster.toml: {how.replace('{}', what)}"


def _title(snapshot: Snapshot, width: int, now: float, frozen: bool) -> Line:
    about: list[Line] = []
    if snapshot.run:
        about.append(((snapshot.run, "strong"),))
    if snapshot.task:
        about.append(((snapshot.task, "text"),))
    if snapshot.policy:
        about.append(((f"{snapshot.policy} split", "muted"),))
    if snapshot.global_batch:
        about.append(((f"batch {snapshot.global_batch:,}", "muted"),))
    if snapshot.ranks:
        hosts = len({rank.host for rank in snapshot.ranks})
        counts = f"{_plural(len(snapshot.ranks), 'rank')} on {_plural(hosts, 'host')}"
        active = sum(rank.active for rank in snapshot.ranks)
        if active < len(snapshot.ranks):
            counts = f"{active} of {counts}"
        about.append(((counts, "muted"),))
    seconds = elapsed_s(snapshot, now)
    right: list[Span] = [("read-only ", "muted")] if snapshot.readonly else []
    left: list[Line] = [(state_span(snapshot),)]
    if snapshot.playback is not None:
        left, right, seconds = [playback_line(snapshot.playback), *left], [], None
        right.append((playback_clock(snapshot.playback), "text"))
    right += [(" screen held, space goes on ", "inverse"), (" ", "text")] if frozen else []
    right.append((f" {figures.duration(seconds)}" if seconds is not None else "", "text"))
    while True:
        line = join([*left, *about], "  ")
        if width_of(line) + width_of(tuple(right)) + 2 <= width or len(about) <= 1:
            return spread(line, tuple(right), width)
        about.pop()


def playback_line(playback: Playback) -> Line:
    """That this is a replay, and how it goes."""
    going = "❚❚ held" if playback.paused else f"▶ {figures.TIMES}{playback.speed:.4g}"
    return ((" REPLAY ", "inverse"), (f" {going}", "warn" if playback.paused else "accent"))


def playback_clock(playback: Playback) -> str:
    """The run's clock, and how far that is in the run: `20:15:07  1:02 of 9:30`."""
    done, whole = playback.at - playback.first, playback.last - playback.first
    return f"{figures.clock(playback.at)}  {figures.duration(done)} of {figures.duration(whole)}"


def _progress(snapshot: Snapshot, width: int) -> Line:
    total = snapshot.steps_total
    fraction = snapshot.step / total if total else 0.0
    facts: list[str] = []
    if snapshot.script:
        if snapshot.read is None:
            return ()
        fraction, facts = progress_of(snapshot.read, live=snapshot.phase == "running")
    elif snapshot.step:
        facts.append(f"step {snapshot.step:,}" + (f"/{total:,}" if total else ""))
    if total and snapshot.step and not snapshot.script:
        facts.append(f"{fraction * 100:.0f} %")
    if snapshot.epoch is not None:
        facts.append(f"epoch {snapshot.epoch + 1}" + (f"/{snapshot.epochs}" if snapshot.epochs else ""))
    if snapshot.eta_s is not None:
        facts.append(f"ETA {figures.duration(snapshot.eta_s)}")
    if not facts and snapshot.restart and snapshot.phase == "starting":
        facts.append(snapshot.restart)  # in the log it is gone in a moment
    label = "  ".join(facts)
    done, left = figures.progress(fraction, max(8, width - len(label) - (2 if label else 0)))
    return clip(((done, "accent"), (left, "muted"), (f"  {label}" if label else "", "text")), width)


def _figures(snapshot: Snapshot, width: int, now: float) -> Line:
    if snapshot.waiting and snapshot.live:
        return clip(waiting_line(snapshot, now), width)
    if snapshot.phase == "idle":
        return (("Nothing runs. ", "muted"), ("s", "strong"), (" starts the run of this cluster.", "muted"))
    if snapshot.phase == "starting":
        return clip(((_starting(snapshot), "muted"),), width)
    if snapshot.script:
        return script_line(snapshot, width=width, now=now)
    if not snapshot.step:
        said = "No step was made." if snapshot.phase == "ended" else "The first step is under way."
        return ((said, "muted"),)
    groups: list[tuple[int, Line]] = [  # what is shown, and what goes first when there is no room for all of it
        (4, (("loss ", "muted"), (figures.loss(snapshot.loss), "strong"))),
        *((3, group) for group in goodness(snapshot)),
        (5, ((figures.rate(snapshot.rate), "strong"), (f" {snapshot.counted}/s", "muted"))),
    ]
    if snapshot.unit:
        groups.append((0, ((figures.rate(snapshot.samples_per_s), "text"), (" samples/s", "muted"))))
    if (gain := gain_of(snapshot)) is not None:
        groups.append((6, ((figures.gain(gain), "good" if gain >= WORSE else "warn"), (f" {AGAINST}", "muted"))))
    groups.append((1, (("step ", "muted"), (figures.milliseconds(snapshot.step_ms), "text"), (" ms", "muted"))))
    waits = [rank.wait for rank in snapshot.ranks if rank.wait is not None] if snapshot.step_ms else []
    if waits:
        groups.append((2, (("waiting ", "muted"), (figures.percent(sum(waits) / len(waits), 0), "text"))))
    if snapshot.best_accuracy is not None and snapshot.best_accuracy != snapshot.accuracy:
        groups.append((0, (("best accuracy ", "muted"), (figures.percent(snapshot.best_accuracy), "text"))))
    while width_of(line := join([group for _, group in groups], "   ")) > width and len(groups) > 1:
        groups.remove(min(groups, key=lambda group: group[0]))
    return line


def goodness(snapshot: Snapshot) -> list[Line]:
    """What evaluations say of the model: its accuracy, or, of a task that knows none, the held-out loss and what
    follows from that."""
    held_out = snapshot.held_out
    if snapshot.unit and snapshot.accuracy is None and held_out is None:  # of a language model no accuracy will come
        return []
    if snapshot.accuracy is not None or held_out is None:
        return [(("accuracy ", "muted"), (figures.percent(snapshot.accuracy), "strong"))]
    told = [(name, figures.quantity(value)) for name, value in held_out.follows]
    named = [("held-out", figures.loss(held_out.loss)), *told]
    return [((f"{name} ", "muted"), (value, "strong")) for name, value in named]


def gain_of(snapshot: Snapshot) -> float | None:
    """How many times as long a step would take with equal shares, by what the ranks' steps cost; None where that is not
    known, or the shares are to be equal."""
    gain = snapshot.gain
    if gain is None or not 0 < gain < MOST or (snapshot.policy == "static" and abs(gain - 1) < 1 - WORSE):
        return None
    return gain


def gain_text(snapshot: Snapshot) -> str:
    """The gain, and the time that it has saved; empty where nothing is known."""
    gain, saved_s = gain_of(snapshot), snapshot.saved_s
    if gain is None:
        return ""
    saved = f", {figures.duration(saved_s)} saved so far" if saved_s is not None and saved_s >= 1 else ""
    return f"{figures.gain(gain)} {AGAINST}{saved}"


def waiting_line(snapshot: Snapshot, now: float) -> Line:
    waiting = snapshot.waiting
    if waiting is None:
        return ()
    if waiting.text:
        return ((waiting.text, "warn"), (f", {max(0, now - waiting.since):.0f} s", "text"))
    who = ", ".join(f"{host} ({phase})" if phase else host for host, phase in waiting.missing)
    return ((f"waiting for {who}", "warn"), (f", {max(0, now - waiting.since):.0f} s", "text"))


def _starting(snapshot: Snapshot) -> str:
    if snapshot.behind:
        return "catching up with what the run has done so far"
    if snapshot.playback is not None:
        return "reading what is here of the run" if not snapshot.run else "the run has begun to start"
    stages: dict[str, list[str]] = {}
    for host in snapshot.hosts:
        if host.stage:
            stages.setdefault(host.stage, []).append(host.name)
    if not stages:
        return "looking for the run on the hosts" if snapshot.attached else "connecting to the hosts"
    return ",  ".join(f"{stage}: {', '.join(names)}" for stage, names in stages.items())


def decision_lines(snapshot: Snapshot, *, width: int) -> list[Line]:
    """The newest first: from which step, what moved, predicted and realised step time, and why."""
    if snapshot.script:
        return [((line, "muted"),) for line in wrap("A script shares out its work itself.", width)]
    if not snapshot.decisions:
        quiet = {
            "static": "The split is fixed (policy static).",
            "proportional": "The split follows the speed at which each host computed last (policy proportional).",
        }.get(snapshot.policy, "No change of the split yet: the first measurements decide.")
        return [((line, "muted"),) for text in (quiet, snapshot.first_shares) for line in wrap(text, width) if text]
    indent = max(4, *(len(f"{decision.step:,}") for decision in snapshot.decisions)) + 2
    head_line: Line = ((fit("step", indent - 2, right=True) + "  samples moved", "muted"),)
    columns = "ms a step: before → predicted, measured"
    lines: list[Line] = []
    if (gain := gain_of(snapshot)) is not None and gain < WORSE:
        lines.extend(((part, "muted"),) for part in wrap(NO_GAIN, width))
    heads = [spread(head_line, ((columns, "muted"),), width)]
    if width_of(head_line) + cell_len(columns) + 2 > width:  # then a decision takes two lines, and so do their heads
        step = fit("step", indent - 2, right=True)
        heads = [((f"{step}  {columns}", "muted"),), ((" " * indent + "samples moved", "muted"),)]
    lines += [clip(line, width) for line in heads]
    for decision in reversed(snapshot.decisions):
        head: Line = ((fit(f"{decision.step:,}", indent - 2, right=True) + "  ", "strong"),)
        moved, times = _moves(decision), _times(decision)
        if width_of(head) + width_of(moved) + width_of(times) + 2 <= width:
            lines.append(spread((*head, *moved), times, width))
        else:
            lines.append(clip((*head, *times), width))
            lines.append(clip(((" " * indent, "text"), *moved), width))
        lines.extend(((" " * indent + part, "muted"),) for part in wrap(decision.why, max(10, width - indent)))
    if snapshot.first_shares:
        lines.extend(((" " * indent + part, "muted"),) for part in wrap(snapshot.first_shares, max(10, width - indent)))
    return lines


def decision_text(decision: Decision) -> str:
    """The decision in one line without colours, for the plain lines."""
    times = text(_times(decision))
    parts = [text(_moves(decision)).replace("  ", ", "), *([times] if times else []), decision.why]
    return "; ".join(parts)


def _moves(decision: Decision) -> Line:
    changes = [
        (name, before, after)
        for name, before, after in zip(decision.names, decision.before, decision.after, strict=False)
        if before != after
    ]
    changes.sort(key=lambda change: -abs(change[2] - change[1]))
    groups: list[Line] = [
        ((f"{name} ", "text"), (f"{before}→{after}", "good" if after > before else "warn"))
        for name, before, after in changes
    ]
    return join(groups, "  ") if groups else (("nothing moved", "muted"),)


def _times(decision: Decision) -> Line:
    """`214 → 141 ms, measured 146`."""
    spans: list[Span] = []
    if decision.predicted_ms is not None:
        was = f"{figures.milliseconds(decision.current_ms)} → " if decision.current_ms is not None else ""
        spans.append((f"{was}{figures.milliseconds(decision.predicted_ms)} ms", "text"))
    if decision.realised_ms is not None:
        spans.append((f", measured {figures.milliseconds(decision.realised_ms)}", "good"))
    elif spans:
        spans.append((" predicted", "muted"))
    return tuple(spans)


def log_line(entry: LogEntry, *, label_width: int) -> Line:
    """`12:01:33  desktop    text`, or `by 12:02`; a warning and an error have a sign as well as a colour."""
    clock = figures.clock(entry.time, at_latest=entry.at_latest)
    sign, role = {"warning": ("! ", "warn"), "error": ("✖ ", "bad")}.get(entry.level, ("", "text"))
    label = (fit(entry.label, label_width) + "  ", "accent")
    return ((f"{clock} ", "muted"), label, (sign + entry.text.expandtabs(4), role))  # type: ignore[return-value]


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
