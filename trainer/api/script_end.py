"""How a script ends: by itself, or by an error that nobody caught. An error of ours is one line, without a traceback.

>>> watch_end(run.close)
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from types import TracebackType

from motley.trainer.errors import TrainerError


def watch_end(close: Callable[[BaseException | None], None]) -> None:
    """Call `close` when the script ends, with the error that ended it, or None."""
    ended_by: list[BaseException] = []
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        ended_by.append(error)
        if isinstance(error, TrainerError):
            print(error, file=sys.stderr)
        else:
            shown(kind, error, trace)

    sys.excepthook = hook
    atexit.register(lambda: close(ended_by[0] if ended_by else None))
