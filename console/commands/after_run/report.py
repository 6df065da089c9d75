"""`motley report`: what a run came to, from its folder in `experiments/` alone."""

from __future__ import annotations

from pathlib import Path

from motley.console.commands.after_run.shown import read_aloud, shown
from motley.console.report.past_run import folder_of


def report(config: Path, run: str, *, html: Path | None, json: bool) -> int:
    """As `shown` has it. Raises UsageError where there is no such experiment, NotWritten when the page can't be
    written."""
    from motley.console.report import text_view
    from motley.console.report.html_page import report_page

    found = read_aloud(folder_of(run, config))
    return shown(
        found,
        page=lambda: report_page.report_page(found),
        draw=lambda screen: text_view.show(found, screen),
        html=html,
        json=json,
    )
