"""`motley compare`: runs beside each other, from their folders in `experiments/` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from motley.console.commands.after_run.shown import read_aloud, shown
from motley.console.report.comparison import By, compare
from motley.console.report.past_run import folder_of
from motley.remote.errors import UsageError


def compare_runs(
    config: Path, runs: Sequence[str], *, baseline: str | None, by: By, html: Path | None, json: bool
) -> int:
    """As `shown` has it. Raises UsageError for fewer than two runs, or one that is not there, NotWritten when the page
    can't be written."""
    if len(runs) < 2:
        raise UsageError("motley compare takes two runs or more: motley compare RUN RUN")
    from motley.console.report import comparison_view

    found = compare([read_aloud(folder_of(run, config)) for run in runs], baseline=baseline, by=by)
    return shown(
        found,
        page=lambda: comparison_view.comparison_page(found),
        draw=lambda screen: comparison_view.show(found, screen),
        html=html,
        json=json,
    )
