"""`motley report`: what a run came to, from its folder in `experiments/` alone."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from motley.console.commands.json_output import print_data
from motley.console.report.past_run import folder_of
from motley.console.report.read_report import read
from motley.remote.experiment.local_disk import write_file


def report(config: Path, run: str, *, html: Path | None, json: bool) -> int:
    """On the terminal; with `html` a page, whose name goes to stdout; with `json` the report's fields as they are.

    Raises UsageError where there is no such experiment, NotWritten when the page can't be written.
    """
    found = read(folder_of(run, config))
    if html is not None:
        from motley.console.report.report_page import report_page

        write_file(html, report_page(found))
    if json:
        print_data(dataclasses.asdict(found))
    elif html is not None:
        print(html)
    else:
        from rich.console import Console

        from motley.console.report.text_view import show

        show(found, Console(file=sys.stdout, highlight=False))
    return 0
