"""A question over the main screen, answered No unless the user moves: `await app.push_screen_wait(Confirm(question))`.

y and n answer, arrows and tab move, enter takes what is marked, esc is No. What a question promises may be overtaken:
with `look` it is asked as it is by now, and closed when it is none any more. Yes answers what was on the screen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from motley.console.control.questions import Question


class Confirm(ModalScreen[bool]):
    """Dismissed with True for Yes only. `look` gives the question as it is now, or None when there is none any more."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("left,right,up,down", "app.focus_next", "other"),
    ]

    def __init__(self, question: Question, *, look: Callable[[], Question | None] | None = None) -> None:
        super().__init__()
        self._question = question
        self._look = look

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(self._question.text, id="question", markup=False)
            yield Static(self._question.detail, id="detail", markup=False)
            with Horizontal(id="answers"):
                yield Button("No (n)", id="no", compact=True)
                yield Button(f"{self._question.yes} (y)", id="yes", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def is_stale(self) -> bool:
        """Whether the question is another one by now: then that one is shown, or the screen is closed."""
        if self._look is None or not self.is_mounted or not self.is_current:
            return False
        now = self._look()
        if now == self._question:
            return False
        if now is None:
            self.dismiss(False)
            return True
        self._question = now
        self.query_one("#question", Static).update(now.text)
        self.query_one("#detail", Static).update(now.detail)
        self.query_one("#yes", Button).label = f"{now.yes} (y)"
        self.query_one("#no", Button).focus()
        return True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        if not (yes and self.is_stale()):
            self.dismiss(yes)
