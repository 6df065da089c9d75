"""Once a large run is over, what a report says of it is made ready beside the console, and kept in its folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import motley
from motley.console.report.digest import is_large

_begun: list[subprocess.Popen[bytes]] = []


def begin_digest(folder: Path) -> None:
    """In a process of its own, which takes seconds and ends by itself; a small run needs none."""
    with contextlib.suppress(OSError):
        if is_large(folder):
            words = [sys.executable, "-m", "motley.console.report.read_report", str(folder.absolute())]
            nothing, above = subprocess.DEVNULL, str(Path(motley.__file__).absolute().parent.parent)
            paths = os.pathsep.join([above, *filter(None, [os.environ.get("PYTHONPATH")])])
            _begun.append(
                subprocess.Popen(
                    words,
                    stdin=nothing,
                    stdout=nothing,
                    stderr=nothing,
                    start_new_session=True,
                    cwd=os.sep,
                    env={**os.environ, "PYTHONPATH": paths},
                )
            )
