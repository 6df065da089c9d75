"""The panels of the main screen. Each knows which pure function makes its lines, and nothing else.

panel.paint(Frame(snapshot=store.snapshot(), now=time.time(), log=store.log()))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.geometry import Size

from motley.console.state.snapshot import Answers, LogEntry, Snapshot
from motley.console.tui.widgets.lines import Lines
from motley.console.view import figures
from motley.console.view.key_bindings import footer_line
from motley.console.view.model_answers import answer_lines
from motley.console.view.notice import notice_lines, notice_title
from motley.console.view.plot import Mark, plot
from motley.console.view.rank_table import table
from motley.console.view.run_lines import decision_lines, gain_of, gain_text, log_line, run_lines, too_small
from motley.console.view.styled_line import Line, clip, width_of, wrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """All that one paint needs."""

    snapshot: Snapshot
    now: float
    log: Sequence[LogEntry] = ()
    frozen: bool = False
    hint: str = ""
    folder: str = ""


class Panel(Lines):
    """What the app paints: `take` a frame; a panel that gets another size paints the newest one again."""

    _frame: Frame | None = None

    def take(self, frame: Frame) -> None:
        self._frame = frame
        self.paint(frame)

    def paint(self, frame: Frame) -> None:
        """Show what the frame says, in the size there is now. A panel that does not say what to show stays empty."""

    def on_resize(self) -> None:
        if self._frame is not None:
            self.paint(self._frame)

    def watch_show_vertical_scrollbar(self) -> None:
        """A scrollbar takes a column, and its going gives one back."""
        self.on_resize()


class RunPanel(Panel):
    """State, progress and figures of the run, and advice."""

    def paint(self, frame: Frame) -> None:
        self.show(run_lines(frame.snapshot, width=self.width, now=frame.now, frozen=frame.frozen))


class TableHead(Lines):
    """The titles of the table's columns, which stay while the rows scroll."""


class RankPanel(Panel, can_focus=True):
    """One row a rank."""

    def paint(self, frame: Frame) -> None:
        lines = table(frame.snapshot, width=self.width, now=frame.now)
        for head in self.screen.query(TableHead):
            head.show(lines[:1])
        self.show(lines[1:])


class ChartPanel(Panel, can_focus=True):
    """Throughput over the run; decisions and hosts that went or came are marked on its axis."""

    def paint(self, frame: Frame) -> None:
        snapshot = frame.snapshot
        rate, unit = snapshot.rate, f"{snapshot.counted}/s"
        if snapshot.read is not None:
            rate, unit = snapshot.read.steps_per_s, f"{snapshot.read.unit}s/s"
        self.border_title = f"throughput  {figures.rate(rate)} {unit}" if rate else "throughput"
        marks: list[Mark] = [(decision.step, "▲", "warn") for decision in snapshot.decisions]
        marks += [(regroup.step, "▼", "bad") for regroup in snapshot.regroups if regroup.lost]
        marks += [(regroup.step, "◆", "good") for regroup in snapshot.regroups if regroup.joined]
        lines = plot(snapshot.throughput, width=self.width, height=self.size.height, marks=marks)
        self.show(lines or _quiet(snapshot, self.size))
        words = {"▲": "▲ rebalanced", "▼": "▼ lost", "◆": "◆ joined"}
        shown = dict.fromkeys(character for _, character, _ in marks)
        self.border_subtitle = "  ".join(words[character] for character in shown) if lines else ""


class LossPanel(Panel, can_focus=True):
    """The loss of the global batches over the run."""

    def paint(self, frame: Frame) -> None:
        snapshot = frame.snapshot
        loss = snapshot.read.loss if snapshot.read is not None else snapshot.loss
        self.border_title = f"loss  {figures.loss(loss)}" if loss is not None else "loss"
        size = self.size
        lines = plot(snapshot.losses, width=self.width, height=size.height, role="second", label=_loss_label)
        self.show(lines or _quiet(snapshot, size))


class NoticePanel(Panel, can_focus=True):
    """What went wrong, or the summary; takes no room while there is neither."""

    def paint(self, frame: Frame) -> None:
        width = self.width or self.screen.size.width - 2  # before its first layout it has no size
        lines = notice_lines(frame.snapshot, width=max(20, width), folder=frame.folder)
        self.border_title = notice_title(frame.snapshot)
        self.set_class(self.border_title != "summary", "-bad")
        self.set_class(not lines, "-empty")
        self.show(lines)


class DecisionPanel(Panel, can_focus=True):
    """The changes of the split, newest first."""

    def paint(self, frame: Frame) -> None:
        n = len(frame.snapshot.decisions)
        title = f"decisions  {n}" if n else "decisions"
        gain, saved = gain_of(frame.snapshot), gain_text(frame.snapshot)
        told = [f"{title}  \u2248 {saved}", f"{title}  \u2248 {figures.gain(gain)}"] if gain is not None else []
        room = self.width - 2  # the border says the most that fits
        self.border_title = next((text for text in told if cell_len(text) <= room), title)
        self.show(decision_lines(frame.snapshot, width=self.width))


class AnswerPanel(Panel, can_focus=True):
    """What the model says to the task's prompts, the newest evaluation first. Scrolled down, it stays where it is when
    another one comes."""

    _told: tuple[Answers, ...] = ()
    _width = 0

    def paint(self, frame: Frame) -> None:
        told, before = frame.snapshot.answers, self._told
        n = len(told)
        self.border_title = f"answers  {n} evaluation{'s' * (n != 1)}" if n else "answers"
        if self._width == self.width and told == before:
            return
        newer = next((i for i, one in enumerate(told) if before and one == before[0]), 0)
        above = len(answer_lines(told[:newer], width=self.width)) + 1 if newer else 0
        read, self._told, self._width = self.scroll_y > 0, told, self.width
        self.show(answer_lines(told, width=self.width))
        if read and above:
            self.scroll_to(y=self.scroll_y + above, animate=False)


class LogPanel(Panel, can_focus=True):
    """The newest lines of ranks and hosts. Follows the end, unless it was scrolled up; lines are styled when shown."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes=classes)
        self._entries: list[LogEntry] = []
        self._first = 0  # how many older lines there were
        self._following = True
        self._label_width = 8

    def paint(self, frame: Frame) -> None:
        self.border_title = "log" if self._following else "log  scrolled up, End follows again"
        first = frame.snapshot.log_total - len(frame.log)
        newest = frame.log[-1] if frame.log else None
        known = self._entries[-1] if self._entries else None
        if first == self._first and len(frame.log) == len(self._entries) and newest is known:
            self._to_end()
            return
        dropped, self._first = first - self._first, first
        self._entries = list(frame.log)
        self._label_width = min(16, max(8, *(cell_len(entry.label) for entry in self._entries), 0))
        widest = max((cell_len(entry.text) for entry in self._entries), default=0) + self._label_width + 14
        self.virtual_size = Size(max(self.width, widest), len(self._entries))
        if not self._following and dropped > 0:
            self.scroll_to(y=max(0, self.scroll_y - dropped), animate=False)
        self._to_end()
        self.refresh()

    def _to_end(self) -> None:
        if self._following and not self.is_vertical_scroll_end:
            self.scroll_end(animate=False, x_axis=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scrolling up leaves the end, reaching it follows again; a resize does neither."""
        super().watch_scroll_y(old_value, new_value)
        if new_value >= self.max_scroll_y:
            self._following = True
        elif new_value < old_value:
            self._following = False

    def line_at(self, y: int) -> Line:
        if y >= len(self._entries):
            return ()
        return log_line(self._entries[y], label_width=self._label_width)

    @property
    def lines(self) -> Sequence[Line]:
        return [self.line_at(y) for y in range(len(self._entries))]


class SmallPanel(Panel):
    """All there is where the terminal is too small for the others."""

    def paint(self, _: Frame) -> None:
        size = self.app.size
        self.show(too_small(size.width, size.height))


class FooterPanel(Panel):
    """The keys, or a hint."""

    def paint(self, frame: Frame) -> None:
        self.show([clip(footer_line(frame.snapshot, width=self.width, hint=frame.hint), self.width)])


def _quiet(snapshot: Snapshot, size: Size) -> list[Line]:
    if size.height < 2:
        return []
    said = "no step was made" if snapshot.phase == "ended" else "no step yet"
    if snapshot.script and snapshot.phase != "ended":
        said = "what the script prints has no step yet" if snapshot.read is None else "no figure of this kind yet"
    said = "catching up" if snapshot.behind else said
    lines: list[Line] = [((part, "muted"),) for part in wrap(said, size.width)]
    above: list[Line] = [()] * max(0, (size.height - len(lines)) // 2)
    return [*above, *((((" " * max(0, (size.width - width_of(line)) // 2)), "muted"), *line) for line in lines)]


def _loss_label(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0e}"
