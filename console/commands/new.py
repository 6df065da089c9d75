"""`motley new task`: a file with a commented task of one's own, that runs as it is."""

from __future__ import annotations

import sys
from pathlib import Path

from motley.remote.errors import UsageError

EXAMPLE = Path(__file__).with_name("new_task.txt")


def new_task(file: Path) -> int:
    """Write it. Raises UsageError for a file that is there, or can't be written."""
    if file.suffix != ".py":
        raise UsageError(f"{file} is no name for a task: it has to end in .py")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(EXAMPLE.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise UsageError(f"{file} is there already: give another name, as in motley new task other.py") from error
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror or error}") from error
    print(f'{file} is written. Name it in cluster.toml:\n\n[run]\ntask = "{file.as_posix()}"\n', file=sys.stderr)
    print("It learns as it is; docs/own-task.md says what else a task may have.", file=sys.stderr)
    print(file)
    return 0
