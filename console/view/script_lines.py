"""What the header says of a script that tells us nothing: its figures, as its output has them, and how old they are.

line = script_line(snapshot, width=80, now=time.time())
"""

from __future__ import annotations

from motley.console.state.snapshot import ReadFigures, Snapshot
from motley.console.view import figures
from motley.console.view.styled_line import Line, clip, join, width_of


def script_line(snapshot: Snapshot, *, width: int, now: float) -> Line:
    """Loss and steps a second, and whose output they are from; without them what runs."""
    read = snapshot.read
    if read is None:
        return clip(_what_runs(snapshot), width)
    age_s = max(0.0, (snapshot.ended if snapshot.phase == "ended" and snapshot.ended else now) - read.at)
    ago = "" if age_s < 2 else f", {figures.age(age_s)} ago"
    groups: list[tuple[int, Line]] = [  # what is shown, and what goes first when there is no room for all of it
        (4, (("loss ", "muted"), (figures.loss(read.loss), "strong"))),
        (3, ((figures.rate(read.steps_per_s), "strong"), (f" {read.unit}s/s", "muted"))),
        (2, ((f"read from {read.host}'s output{ago}", "muted"),)),
    ]
    if read.loss is None:
        del groups[0]
    if snapshot.restarts:
        times = f"{snapshot.restarts} time{'s' * (snapshot.restarts != 1)}"
        groups.append((1, ((f"started anew {times}", "muted"),)))
    while width_of(line := join([group for _, group in groups], "   ")) > width and len(groups) > 1:
        groups.remove(min(groups, key=lambda group: group[0]))
    return line


def progress_of(read: ReadFigures, *, live: bool) -> tuple[float, list[str]]:
    """The part that is done, and the facts beside the bar."""
    total = read.steps_total
    facts = [f"{read.unit} {read.step:,}" + (f"/{total:,}" if total else "")]
    if total:
        facts.append(f"{read.step / total * 100:.0f} %")
    if read.epoch is not None:
        facts.append(f"epoch {read.epoch:g}")
    if live and read.eta_s is not None:
        facts.append(f"ETA {figures.duration(read.eta_s)}")
    return (read.step / total if total else 0.0), facts


def _what_runs(snapshot: Snapshot) -> Line:
    times = f"{snapshot.restarts} time{'s' * (snapshot.restarts != 1)}"
    restarts = f", started anew {times}" if snapshot.restarts else ""
    ran = "ran" if snapshot.phase == "ended" else "runs"
    return (("the script ", "muted"), (snapshot.task, "strong"), (f" {ran}{restarts}", "muted"))
