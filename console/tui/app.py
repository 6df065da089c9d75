"""The terminal application: it wires keys to the session and paints what the store knows, four times a second.

`cli` runs it on a terminal and prints the `Outcome` it returns:

    outcome = await MotleyApp(plan).run_async()

Everything it shows is made by pure functions (`view`, `rows`, `plot`, `notice`); everything it does to a run goes
through `session.SessionLike`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.driver import Driver
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from motley.console import crash_log
from motley.console.control import questions
from motley.console.control.cluster_watch import LOOK_S
from motley.console.control.questions import Question
from motley.console.control.run_life import RunLife
from motley.console.control.session_protocol import Outcome, Plan
from motley.console.state.snapshot import Problem
from motley.console.tui import themes
from motley.console.tui.arrangement import turn_to, unzoom, zoom
from motley.console.tui.hung_up import HungUp
from motley.console.tui.playback_keys import playback_keys
from motley.console.tui.screens.confirm import Confirm
from motley.console.tui.screens.help import Help
from motley.console.tui.terminal import let_go, with_an_end
from motley.console.tui.widgets.lines import ROLE_CLASSES
from motley.console.tui.widgets.panels import (
    AnswerPanel,
    ChartPanel,
    DecisionPanel,
    FooterPanel,
    Frame,
    LogPanel,
    LossPanel,
    NoticePanel,
    Panel,
    RankPanel,
    RunPanel,
    SmallPanel,
    TableHead,
)
from motley.console.view.key_bindings import KEYS, pressed, reason
from motley.console.view.run_lines import too_small
from motley.remote.errors import NewKey

HINT_S = 5.0
NATIVE = ("focus", "scroll", "jump", "pause")  # keys that Textual's own screens and panels answer, or that are twins


class Main(Screen[object]):
    """The screen below any question or help."""

    COMPONENT_CLASSES = ROLE_CLASSES


class MotleyApp(App[Outcome], inherit_bindings=False):
    """The main screen and its keys."""

    CSS_PATH = "console.tcss"
    TITLE = "motley"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual's own convention
        (0, "-normal"),
        (120, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012 - Textual's own convention
        (0, "-low"),
        (17, "-short"),
        (36, "-tall"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.key, f"press('{key.action}')", key.label) for key in KEYS if key.action not in NATIVE),
        *(Binding(str(digit), f"press('jump', {digit})") for digit in range(10)),
        Binding("ctrl+q", "press('leave')", "leave"),
    ]

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.theme = themes.preferred(os.environ)
        self.plan = plan
        self.clock = clock
        self.life = RunLife(plan, clock, self._ask_key)
        self._hint = ("", 0.0)
        self._held: Frame | None = None
        self._going = False  # the console closes: no key does anything any more

    def compose(self) -> ComposeResult:
        yield RunPanel(id="run")
        with Container(id="ranks", classes="area"):
            yield TableHead(id="head")
            yield RankPanel(id="table")
        yield NoticePanel(id="notice", classes="panel")
        with Container(id="charts", classes="area"):
            yield ChartPanel(id="throughput", classes="panel")
            yield LossPanel(id="loss", classes="panel")
        with Container(id="lower", classes="area"):
            yield DecisionPanel(id="decisions", classes="panel")
            yield AnswerPanel(id="model-answers", classes="panel")
            yield LogPanel(id="log", classes="panel")
        yield FooterPanel(id="footer")
        yield SmallPanel(id="small")

    def get_default_screen(self) -> Screen[object]:
        return Main(id="_default", classes="-shows-log")

    def get_driver_class(self) -> type[Driver]:
        return with_an_end(super().get_driver_class())

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(themes.DARK.variables)

    @property
    def main(self) -> Screen[object]:
        """The screen below any question or help."""
        return self.screen_stack[0]

    def on_mount(self) -> None:
        self.main.query_one("#table").focus()
        self.set_interval(0.25, self.paint)
        self.set_interval(LOOK_S, self.life.look)
        self.call_after_refresh(self.paint)
        if self.plan.start or self.plan.attach:
            self._follow(self.life.first)

    # Painting

    def paint(self) -> None:
        """Show what is known now; panels repaint only the lines that changed."""
        if not self.screen_stack:  # the app closes
            return
        frame = self._frame()
        screen = self.main
        for notice in screen.query(NoticePanel):  # none left while the app closes
            screen.set_class(bool(notice.lines), "-notice")
        screen.set_class(bool(too_small(*self.size)), "-tiny")
        for panel in screen.query(Panel):
            panel.take(frame)
        if isinstance(self.screen, Confirm):
            self.screen.is_stale()

    def _frame(self) -> Frame:
        text, until = self._hint
        hint = text if self.clock() < until else ""
        if self._held is not None:
            held = self._held
            return Frame(snapshot=held.snapshot, now=held.now, log=held.log, frozen=True, hint=hint, folder=held.folder)
        snapshot, log = self.life.snapshot(), self.life.store.log()
        return Frame(snapshot=snapshot, now=self.life.now(), log=log, hint=hint, folder=self.life.folder)

    def hint(self, text: str) -> None:
        """Say something in the place of the footer for a few seconds."""
        self._hint = (text, self.clock() + HINT_S)
        self.paint()

    # Keys

    def action_press(self, action: str, digit: int = 0) -> None:
        """A key of the table: do it, or say why not."""
        if self._going:
            return
        snapshot = self.life.snapshot()
        key = pressed(action, snapshot)
        why = reason(key, snapshot)
        if why is not None:
            self.hint(f"{key.name} {key.label}: {why}")
            return
        self._hint = ("", 0.0)
        does: dict[str, Callable[[], object]] = {
            "start": self._start,
            "stop": self._ask_stop,
            "restart": self._ask_restart,
            "checkpoint": self._checkpoint,
            "join": self._ask_join,
            "leave": self._leave,
            "freeze": self._freeze,
            "decisions": lambda: turn_to(self.main, "decisions"),
            "log": lambda: turn_to(self.main, "log"),
            "answers": lambda: turn_to(self.main, "model-answers"),
            "zoom": lambda: zoom(self.main),
            "theme": self._change_theme,
            "back": self._back,
            "help": lambda: self.push_screen(Help(readonly=self.plan.readonly, replay=snapshot.playback is not None)),
            "hint": self._remind,
            **playback_keys(self.plan.playback, digit),
        }
        does[key.action]()
        self.paint()

    def _remind(self) -> None:
        stops = "" if self.plan.readonly else ", x stops the run"
        goes_on = " (the run goes on)" if self.plan.playback is None else ""
        self.hint(f"ctrl+c quits nothing: q leaves{goes_on}{stops}")

    def _start(self) -> None:
        self._held = None
        self._follow(self.life.first if self.life.fresh else self.life.again)

    @work(exit_on_error=False, group="ask", exclusive=True)
    async def _ask_stop(self) -> None:
        if await self._confirmed(lambda: questions.stop(self.life.snapshot())):
            self._held = None
            self._stop()

    @work(exit_on_error=False, group="stop")  # which no question after it may cancel
    async def _stop(self) -> None:
        await self.life.stop("x in the console")

    @work(exit_on_error=False, group="ask", exclusive=True)
    async def _ask_restart(self) -> None:
        if await self._confirmed(lambda: questions.restart(self.life.snapshot(), resumes=bool(self.life.to_resume()))):
            self._held = None
            self._follow(self.life.restart)

    async def _ask_key(self, key: NewKey) -> bool:
        """Whether a host key that nobody knows is right. Nobody who only watches in a browser says so."""
        if self.is_web and self.plan.readonly:
            return False
        self._held = None
        return await self.push_screen_wait(Confirm(questions.host_key(key)))

    @work(exit_on_error=False, group="join", exclusive=True)
    async def _ask_join(self) -> None:
        hosts = self.life.snapshot().offered
        if await self._confirmed(lambda: questions.join(self.life.snapshot(), hosts)):
            self._held = None
            await self.life.bring_in(hosts)

    @work(exit_on_error=False, group="checkpoint")
    async def _checkpoint(self) -> None:
        self.hint("a checkpoint is written at the end of the step")
        self.hint(await self.life.checkpoint())

    @work(exit_on_error=False, group="ask", exclusive=True)
    async def _leave(self) -> None:
        asked = self.life.before_leaving()
        if asked is None or await self._confirmed(self.life.before_leaving):
            self._go(asked)

    async def _confirmed(self, look: Callable[[], Question | None]) -> bool:
        """Ask what `look` says, as it is by then. False, too, when there is nothing to ask any more."""
        question = look()
        yes = question is not None and await self.push_screen_wait(Confirm(question, look=look))
        if not yes and look() is None:
            self.hint("the question was closed: things have changed meanwhile")
        return yes

    def on_hung_up(self, _: HungUp) -> None:
        """The terminal is gone, and with it whoever could answer a question."""
        let_go()
        self._go()

    @work(exit_on_error=False, group="leave")
    async def _go(self, answered: Question | None = None) -> None:
        if self._going:
            return
        self._going = True
        try:
            self.exit(await self.life.leave(answered=answered))
        except Exception:
            self._going = False  # it is shown, and q tries again
            raise

    def _freeze(self) -> None:
        if self._held is None:
            frame = self._frame()
            self._held = Frame(snapshot=frame.snapshot, now=frame.now, log=list(frame.log), folder=frame.folder)
        else:
            self._held = None

    def _back(self) -> None:
        if not unzoom(self.main) and self._held is not None:
            self._held = None

    def _change_theme(self) -> None:
        self.theme = themes.LIGHT.name if self.theme == themes.DARK.name else themes.DARK.name

    # Work that takes time

    @work(exit_on_error=False, group="run", exclusive=True)
    async def _follow(self, doing: Callable[[], Awaitable[None]]) -> None:
        await doing()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Errors that nobody expected are shown, not swallowed and not fatal."""
        error = event.worker.error
        if event.state is WorkerState.ERROR and error is not None:
            text = crash_log.sentence(error)
            self.life.store.note(text, self.clock(), "error")
            if event.worker.group == "run":
                remedy = "This is a fault of Motley: please report it with that file."
                self.life.store.fail([Problem(host="", cause=text, remedy=remedy)], self.clock())
            self.hint(text)
