"""How a script ends: by itself, or by an error that nobody caught. An error of ours is one line, without a traceback.

>>> watch_end(run.close)
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from types import TracebackType

from motley.trainer.errors import TrainerError


def watch_end(close: Callable[[BaseException | None], None]) -> None:
    """Call `close` when the script ends, with the error that ended it, or None. What it raises ends the process."""
    ended_by: list[BaseException] = []
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        ended_by.append(error)
        if isinstance(error, TrainerError):
            print(error, file=sys.stderr)
        else:
            shown(kind, error, trace)

    def end() -> None:
        try:
            close(ended_by[0] if ended_by else None)
        except (TrainerError, SystemExit) as error:  # here nothing but `os._exit` makes it the exit code
            if isinstance(error, TrainerError):
                print(error, file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1 if isinstance(error, TrainerError) else int(error.code or 0))

    sys.excepthook = hook
    atexit.register(end)
