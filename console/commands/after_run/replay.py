"""`motley replay`: a run shown again on the console's own screen, from its folder in `experiments/` alone."""

from __future__ import annotations

import sys
from pathlib import Path

from motley.console.control.session_protocol import Plan
from motley.console.control.terminal_prompts import on_terminal
from motley.console.replay.player import Curves, Player
from motley.console.replay.timeline import Timeline
from motley.console.report.past_run import PastRun, folder_of
from motley.remote.errors import UsageError


def replay(config: Path, run: str, *, speed: float, at: int | None) -> int:
    """Raises UsageError where there is no such experiment, or no terminal to show it on."""
    past = PastRun.open(folder_of(run, config))
    if not on_terminal():
        raise UsageError("motley replay shows a run on a terminal: motley report RUN tells of it elsewhere")
    from motley.console.tui.app import MotleyApp

    outcome = MotleyApp(replay_plan(past, speed=speed, at=at)).run()
    for problem in past.problems:
        print(f"motley: {problem}", file=sys.stderr)
    return 1 if outcome is None else outcome.code


def replay_plan(past: PastRun, *, speed: float = 1.0, at: int | None = None) -> Plan:
    """What the console shows: a session that reads the folder."""
    player = Player(Timeline(past), speed=speed, at=at, curves=lambda: curves_of(past.folder))
    return Plan(cluster=past.name, open=player.opened, renew=player.opened, attach=True, readonly=True, playback=player)


def curves_of(folder: Path) -> Curves:
    """The curves of the run's report, as `feed.StepsBefore` has them."""
    from motley.console.report.read_report import read  # the screen is there before it

    report = read(folder)
    rates = tuple((int(step), rate, 1000.0, 0.0, 0) for step, rate in report.throughput)
    losses = tuple((int(step), 0.0, 0.0, loss, 1) for step, loss in report.losses)
    return (*rates, *losses)
