"""Many conversations over sockets in one thread. Runs there: see `trainer.bootstrap`.

Each is a generator that yields the event its socket waits for, `READ` or `WRITE`, or `PAUSE` to be asked again a little
later whatever its socket does, and returns what came of it.
asyncio could do it, but its import takes longer than all that is said here.

    >>> turns = EventLoop()
    >>> turns.take(connection, greet(connection), within_s=2.0, over=print)
    >>> while turns.going:
    ...     turns.wait()
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable, Generator
from typing import Any

READ, WRITE, PAUSE = selectors.EVENT_READ, selectors.EVENT_WRITE, 0
PAUSE_S = 0.5


class Turn:
    """A conversation. It is `over` when nothing has come `until` then, on the clock of this process."""

    def __init__(
        self,
        connection: socket.socket,
        steps: Generator[int, None, Any],
        within_s: float,
        over: Callable[[Any], object],
    ) -> None:
        self.connection, self.steps, self.within_s, self.over = connection, steps, within_s, over
        self.until = 0.0
        self.event = PAUSE  # that it waits for


class EventLoop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[socket.socket, Turn] = {}

    @property
    def going(self) -> bool:
        return bool(self._waiting)

    def take(
        self,
        connection: socket.socket,
        steps: Generator[int, None, Any],
        *,
        within_s: float,
        over: Callable[[Any], object] = lambda _: None,
    ) -> None:
        """Begin it. `within_s` bounds each of its waits.

        `over` gets what `steps` returns, or the name of the errno that ended it; the connection is closed then.
        """
        connection.setblocking(False)
        self._go_on(Turn(connection, steps, within_s, over))

    def wait(self) -> None:
        """Until something goes on, or one has waited too long."""
        first = min((turn.until for turn in self._waiting.values()), default=float("inf"))
        timeout = None if first == float("inf") else max(0.0, first - time.monotonic())
        for key, _ in self._selector.select(timeout):
            self._go_on(key.data)
        now = time.monotonic()
        for turn in [turn for turn in self._waiting.values() if turn.until <= now]:
            if turn.event == PAUSE:
                self._go_on(turn)
            else:
                self._end(turn, "ETIMEDOUT")

    def _go_on(self, turn: Turn) -> None:
        try:
            event = next(turn.steps)
        except StopIteration as end:
            self._end(turn, end.value)
        except OSError as error:
            self._end(turn, errno.errorcode.get(error.errno or 0, str(error)))
        else:
            self._watch(turn, event)
            self._waiting[turn.connection] = turn
            turn.until = time.monotonic() + (PAUSE_S if event == PAUSE else turn.within_s)

    def _watch(self, turn: Turn, event: int) -> None:
        if turn.event != PAUSE:
            self._selector.unregister(turn.connection)
        if event != PAUSE:
            self._selector.register(turn.connection, event, turn)
        turn.event = event

    def _end(self, turn: Turn, result: Any) -> None:
        self._waiting.pop(turn.connection, None)
        self._watch(turn, PAUSE)
        turn.connection.close()
        turn.over(result)
