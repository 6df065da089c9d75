"""How what is told of runs is shown: on the terminal, as a page, as JSON; and a word while long files are read."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motley.console.commands.json_output import print_data
from motley.console.report.read_report import read
from motley.console.report.report import Report
from motley.remote.experiment.local_disk import write_file
from motley.remote.sanitize import clean

if TYPE_CHECKING:
    from rich.console import Console


def shown(
    found: Any, *, page: Callable[[], str], draw: Callable[[Console], None], html: Path | None, json: bool
) -> int:
    """`found`: a dataclass. On the terminal; with `html` a page, whose name goes to stdout; with `json` the fields as
    they are. Returns the exit code. Raises NotWritten when the page can't be written."""
    if html is not None:
        write_file(html, page())
    if json:
        print_data(dataclasses.asdict(found))
    elif html is not None:
        print(html)
    else:
        from rich.console import Console

        draw(Console(file=sys.stdout, highlight=False))
    return 0


def read_aloud(folder: Path) -> Report:
    """As `read_report.read`; on a terminal it is said how far that is."""
    if not sys.stderr.isatty():
        return read(folder)
    said = False

    def say(part: float) -> None:
        nonlocal said
        said = True
        print(f"\rreading {clean(folder.name)}: {part * 100:.0f} %", end="", file=sys.stderr, flush=True)

    try:
        return read(folder, say)
    finally:
        if said:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
