"""A checkpoint that is asked for while a run trains, and the word on it: an event of rank 0, whichever host has it.

answers = CheckpointAnswers("night", emit)  # hears every record of the run, and hands it on
written = await answers.after(lambda request: verbs.checkpoint("box1", "night", request), ended)
written.step, written.path
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from motley.remote.errors import RunFailed
from motley.remote.feed import Ended, FeedRecord
from motley.remote.sanitize import clean
from motley.trainer.contract.wire import Event

ANSWER_S = 120.0  # for a step to end, and the file to be written


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A checkpoint that is safe on the disk of `host`; `path` is there."""

    step: int
    host: str
    path: str
    bytes: int

    def told(self) -> str:
        return f"checkpoint of step {self.step:,}: {self.path} on {self.host} ({self.bytes / 2**20:.1f} MiB)"


class CheckpointAnswers:
    """Of one run. A request that nobody waits for any more is forgotten."""

    def __init__(self, run: str, emit: Callable[[FeedRecord], None]) -> None:
        """`emit` is told every record afterwards."""
        self._run, self._emit = run, emit
        self._awaited: dict[str, asyncio.Future[Written]] = {}

    def hear(self, record: FeedRecord) -> None:
        asked: Any = record.data.get("asked") if isinstance(record, Event) and self._awaited else None
        for request in asked if isinstance(asked, list) else ():
            future = self._awaited.get(str(request))
            if future is not None and not future.done() and isinstance(record, Event):
                try:
                    future.set_result(written_by(record, self._run))
                except (KeyError, TypeError, ValueError) as error:
                    future.set_exception(RunFailed(str(error)))
        self._emit(record)

    async def after(self, ask: Callable[[str], Awaitable[object]], ended: Awaitable[Ended]) -> Written:
        """Ask with a request of its own, and wait for what comes of it.

        Raises RunFailed when it can't be written, when the run ends first, and when nothing is heard for `ANSWER_S`.
        """
        request = secrets.token_hex(8)
        answer: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._awaited[request] = answer
        end = asyncio.ensure_future(ended)
        try:
            await ask(request)
            either: set[asyncio.Future[Any]] = {answer, end}
            await asyncio.wait(either, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if end.done():
                raise RunFailed(f"'{self._run}' {end.result().state} before it wrote the checkpoint that was asked for")
            raise RunFailed(
                f"'{self._run}' has written no checkpoint within {ANSWER_S:.0f} s: no step has ended in that time, or "
                "the host that leads was lost meanwhile. If it comes, its log tells of it"
            )
        finally:
            del self._awaited[request]
            end.cancel()


def written_by(event: Event, run: str) -> Written:
    """What an event that answers a request says. Raises ValueError with why it could not be written, KeyError or
    TypeError where it makes no sense."""
    if event.kind != "checkpoint":
        raise ValueError(f"{event.host}: {clean(event.text)}")
    step, size, name = int(event.data["step"]), int(event.data["bytes"]), PurePosixPath(str(event.data["path"])).name
    path = f"~/.motley/runs/{run}/{event.host}/checkpoints/{clean(name)}"
    return Written(step=step, host=event.host, path=path, bytes=size)
