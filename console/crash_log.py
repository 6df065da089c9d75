"""Where the traceback of an unexpected error goes, so that the user reads one line and a report has it all.

try: ...
except Exception as error:
    print(crash.sentence(error))
"""

from __future__ import annotations

import time
import traceback
from pathlib import Path

LIMIT = 1_000_000  # bytes; an older log than that is begun anew


def record(error: BaseException) -> Path:
    """Append the traceback to `~/.motley/console.log` (mode 600) and return its path."""
    path = Path.home() / ".motley" / "console.log"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = not path.exists() or path.stat().st_size > LIMIT
    with path.open("w" if fresh else "a", encoding="utf-8") as file:
        path.chmod(0o600)
        file.write(time.strftime("---- %Y-%m-%d %H:%M:%S\n"))
        file.writelines(traceback.format_exception(type(error), error, error.__traceback__))
    return path


def sentence(error: BaseException) -> str:
    """One line for the user, after recording the traceback; says so when even that is not possible."""
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        return f"unexpected {what} (traceback in {record(error)})"
    except OSError as failed:
        return f"unexpected {what} (its traceback could not be written: {failed})"
