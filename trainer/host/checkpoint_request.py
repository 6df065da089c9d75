"""Checkpoints that were asked for: `checkpoint.json` in the run's folder on the host that leads.

The verb `checkpoint` writes it, the run's coordinator looks at it and tells rank 0. A request is known by a word of its
own, which rank 0 says again in the event that answers it.

    >>> ask(folder, "8f2b…")
    >>> asked(folder)
    ('8f2b…',)
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

from motley.trainer.host.file_lock import locked
from motley.trainer.host.paths import read_json, write_json

FILE = "checkpoint.json"
MOST = 64  # requests, should nobody ever answer


def ask(folder: Path, request: str) -> None:
    """Raises OSError when it can't be written."""
    with _alone(folder):
        _write(folder, [*asked(folder), request][-MOST:])


def answered(folder: Path, requests: Collection[str]) -> None:
    """They are not asked any more. Raises OSError when that can't be written."""
    with _alone(folder):
        _write(folder, [request for request in asked(folder) if request not in requests])


def asked(folder: Path) -> tuple[str, ...]:
    """Those that are not answered yet, the newest last."""
    requests = read_json(folder / FILE).get("requests")
    return tuple(str(request) for request in requests) if isinstance(requests, list) else ()


def _alone(folder: Path) -> AbstractContextManager[None]:
    return locked(folder / ".checkpoint.lock", needed=False)


def _write(folder: Path, requests: list[str]) -> None:
    write_json(folder / FILE, {"requests": requests})
