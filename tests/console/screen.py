"""The app on a scripted run, its screen read as text: what its tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from motley.console.control.session_protocol import Outcome
from motley.console.tui.app import MotleyApp
from tests.console import scripted
from tests.console.scripted import START, Scripted

SIZE = (80, 24)


def screen_text(app: MotleyApp) -> str:
    """What the terminal shows, without colours."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(app: MotleyApp, pilot: Pilot[Outcome], condition: Callable[[], bool]) -> None:
    """Let the app go on until it gets there; the bound is in messages, not seconds."""
    for _ in range(200):
        await pilot.pause()
        if condition():
            app.paint()
            await pilot.pause()
            return
    raise AssertionError(f"never got there:\n{screen_text(app)}")


def phase(app: MotleyApp) -> str:
    return app.life.snapshot().phase


async def running(app: MotleyApp, pilot: Pilot[Outcome]) -> None:
    await until(app, pilot, lambda: app.life.snapshot().step >= 60)


def make(**options: Any) -> tuple[MotleyApp, list[Scripted]]:
    plan, sessions = scripted.plan(**{"hold": True, "steps": 60, **options})
    return MotleyApp(plan, clock=lambda: START), sessions
