"""`motley compare`: runs beside each other, from their folders in `experiments/` alone."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from motley.console.commands.json_output import print_data
from motley.console.report.comparison import By, compare
from motley.console.report.past_run import folder_of
from motley.console.report.read_report import read
from motley.remote.errors import UsageError
from motley.remote.experiment.local_disk import write_file


def compare_runs(
    config: Path, runs: Sequence[str], *, baseline: str | None, by: By, html: Path | None, json: bool
) -> int:
    """On the terminal; with `html` a page, whose name goes to stdout; with `json` the comparison's fields as they are.

    Raises UsageError for fewer than two runs, or one that is not there, NotWritten when the page can't be written.
    """
    if len(runs) < 2:
        raise UsageError("motley compare takes two runs or more: motley compare RUN RUN")
    found = compare([read(folder_of(run, config)) for run in runs], baseline=baseline, by=by)
    if html is not None:
        from motley.console.report.comparison_view import comparison_page

        write_file(html, comparison_page(found))
    if json:
        print_data(dataclasses.asdict(found))
    elif html is not None:
        print(html)
    else:
        from rich.console import Console

        from motley.console.report.comparison_view import show

        show(found, Console(file=sys.stdout, highlight=False))
    return 0
