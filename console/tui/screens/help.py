"""The help over the main screen: every key of the table and how to read the figures. Any of ?, esc, q closes it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from motley.console.tui.widgets.lines import ROLE_CLASSES, Lines
from motley.console.view.key_bindings import shown
from motley.console.view.styled_line import Line, Span, fit, wrap

READING: tuple[tuple[str, str], ...] = (
    ("share", "samples of each step that the rank takes, and their part of the global batch"),
    ("samples/s", "what the rank adds to the cluster: the column sums up to the run's figure"),
    ("tokens/s", "the same, where the task counts something besides samples"),
    ("held-out", "the mean loss of the data that is not trained on, and what follows from it, such as the perplexity"),
    ("step ms", "from one step's end to the next: the same for all, they wait for each other"),
    ("wait", "part of the step that the rank waited for the others; high means it could do more"),
    (
        "\u00d71.9 against equal shares",
        "with as many samples for every rank as for the others, steps would take 1.9 times as long",
    ),
    ("age", "time since its last sample; `!` when that is too long"),
    ("emulated", "a demo host whose slowness is put on; what is measured there is truly slower"),
    ("●", "training"),
    ("◐", "on its way"),
    ("!", "silent for too long"),
    ("⇣", "no connection to look through; the run itself goes on"),
    ("○", "not in the group"),
    ("✖", "failed"),
    ("▲", "under the chart: a step from which a new split held"),
    ("▼", "under the chart: a step at which a host was lost or taken out"),
    ("◆", "under the chart: a step at which a host joined or came back"),
)


def help_lines(width: int, *, readonly: bool = False, replay: bool = False) -> list[Line]:
    lines: list[Line] = []
    keys = [(key.name, key.help) for key in shown(readonly=readonly, replay=replay)]
    for title, pairs in (("Keys", keys), ("Reading the screen", READING)):
        if lines:
            lines.append(())
        lines.append(((title, "strong"),))
        left = max(len(name) for name, _ in pairs) + 2
        left = min(left, 16)
        for name, meaning in pairs:
            names = wrap(name, left - 2)
            parts = wrap(meaning, max(16, width - left - 1))
            for n in range(max(len(names), len(parts))):
                head: Span = (fit(names[n] if n < len(names) else "", left), "accent")
                lines.append((head, (parts[n] if n < len(parts) else "", "text")))
    return lines


class HelpLines(Lines, can_focus=True):
    """Its lines depend on the width, and on whether the console only watches."""

    def __init__(self, *, readonly: bool, replay: bool) -> None:
        super().__init__(id="keys")
        self._readonly, self._replay = readonly, replay

    def on_resize(self) -> None:
        self.show(help_lines(self.size.width, readonly=self._readonly, replay=self._replay))


class Help(ModalScreen[None]):
    COMPONENT_CLASSES = ROLE_CLASSES
    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,escape,q", "close", "Close")]

    def __init__(self, *, readonly: bool = False, replay: bool = False) -> None:
        super().__init__()
        self._readonly, self._replay = readonly, replay

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "help"
            box.border_subtitle = "esc closes"
            yield HelpLines(readonly=self._readonly, replay=self._replay)

    def action_close(self) -> None:
        self.dismiss(None)
