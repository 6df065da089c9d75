"""`motley sweep`: a run for each of several settings, one after the other, and then a comparison of them all.

What is there already is not made again: called with the same words, a sweep goes on where it was left. Ctrl-C stops the
run that is on, as of `motley run --plain`, and the sweep with it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from motley.console.commands.after_run.compare import compare_runs
from motley.console.commands.run import attach_plan, run_plan
from motley.console.commands.sweeps.sweep_plan import MOST_RUNS, Attempt, name_of, names, newest_of, settings_of
from motley.console.control.session_protocol import Outcome, Plan
from motley.console.report.comparison import By
from motley.console.state.own_command import own_commands
from motley.remote.config.command_line import check_run_name
from motley.remote.errors import MotleyError, UsageError

INTERRUPTED = 4  # the exit code of a run that was stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run to be made with these settings, or with `attach` one to be found again."""

    config: Path
    name: str
    settings: tuple[str, ...] = ()
    only: Sequence[str] = ()
    resume: str | None = None
    attach: bool = False

    def plan(self) -> Plan:
        """Raises ConfigError and UsageError."""
        if self.attach:
            return attach_plan(self.config, self.name)
        return run_plan(self.config, overrides=self.settings, only=self.only, name=self.name, resume=self.resume)


Watch = Callable[[Wanted], Outcome]


def watched(wanted: Wanted) -> Outcome:
    """Follow a run in plain lines to its end. Raises MotleyError."""
    from motley.console.commands.plain import Printer, run_plain
    from motley.console.control.terminal_prompts import asker

    plan = wanted.plan()
    return asyncio.run(run_plain(plan, printer=Printer(paste=plan.paste), ask=asker()))


def sweep(
    config: Path,
    sets: Sequence[str],
    *,
    name: str | None,
    only: Sequence[str],
    by: By,
    html: Path | None,
    json: bool,
    watch: Watch = watched,
) -> int:
    """0 where all runs have finished, 1 where one has failed, 4 where the sweep was stopped.

    Raises ConfigError and UsageError before the first run, whichever run it is of; what a start fails with ends it.
    """
    settings = settings_of(sets)
    name = name_of(settings) if name is None else name
    check_run_name(f"{names(name, MOST_RUNS)[1]}99")
    for each in settings:
        run_plan(config, overrides=each, only=only)
    experiments = config.absolute().parent / "experiments"
    for number, each in enumerate(settings, 1):
        newest_of(experiments, name, number, each)
    again = "the same command goes on with what is missing"
    _say(f"sweep {name}: {len(settings)} runs")
    finished: list[str] = []
    for number, each in enumerate(settings, 1):
        _say(f"sweep {name}: run {number} of {len(settings)}, {', '.join(each)}")
        try:
            attempt, outcome = _made(config, experiments, name, number, each, only, watch)
        except (MotleyError, KeyboardInterrupt):
            _say(f"sweep {name} ends at run {number} of {len(settings)}: {again}")
            raise
        if attempt.state == "finished":
            finished.append(attempt.name)
            continue
        _say(f"sweep {name}: {attempt.name} {attempt.state or 'goes on'}{': ' if outcome.text else ''}{outcome.text}")
        if attempt.state not in ("failed", "lost"):
            _say(f"sweep {name} is stopped, with {len(finished)} of {len(settings)} runs finished: {again}")
            return INTERRUPTED
    if len(finished) >= 2:
        compare_runs(config, finished, baseline=None, by=by, html=html, json=json)
    else:
        _say(f"sweep {name}: {len(finished)} of {len(settings)} runs finished, which is nothing to compare")
    if len(finished) < len(settings):
        _say(f"sweep {name}: {len(settings) - len(finished)} of {len(settings)} runs failed: {again}")
        return 1
    return 0


def _made(
    config: Path,
    experiments: Path,
    sweep: str,
    number: int,
    settings: tuple[str, ...],
    only: Sequence[str],
    watch: Watch,
) -> tuple[Attempt, Outcome]:
    """The run of a number: found finished, gone on with, or made; and how that ended."""
    before, name = newest_of(experiments, sweep, number, settings)
    if before is not None and before.state == "finished":
        _say(f"{before.name} has finished already: {own_commands(config)('report', before.name)}")
        return before, Outcome(code=0)
    if before is not None and not before.state:  # nothing says that it has ended: its hosts may know more
        try:
            outcome = watch(Wanted(config=config, name=before.name, attach=True))
            found, name = newest_of(experiments, sweep, number, settings)
            return found or before, outcome
        except UsageError as error:
            goes_on = f"goes on from {before.goes_on_from}" if before.goes_on_from else "begins anew"
            _say(f"{before.name} can't be gone on with ({error}): {name} {goes_on}")
    resume = before.goes_on_from if before is not None else None
    wanted = Wanted(config=config, name=name, settings=settings, only=only, resume=resume)
    try:
        outcome = watch(wanted)
    except UsageError as error:
        if resume is None:
            raise
        _say(f"{name} can't go on from {resume} ({error}): it begins anew")
        _, name = newest_of(experiments, sweep, number, settings)
        outcome = watch(replace(wanted, name=name, resume=None))
    made, _ = newest_of(experiments, sweep, number, settings)
    state = str((outcome.data or {}).get("state") or "stopped")
    return made or Attempt(name=name, state=state, goes_on_from=None), outcome


def _say(text: str) -> None:
    print(f"motley: {text}", file=sys.stderr, flush=True)
