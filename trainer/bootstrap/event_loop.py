"""Many conversations over sockets in one thread. Runs there: see `trainer.bootstrap`.

Each is a generator that yields the event its socket waits for, `READ` or `WRITE`, and returns what came of it.
asyncio could do it, but its import takes longer than all that is said here.

    >>> turns = Turns()
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

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


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


class Turns:
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
            self._end(turn, "ETIMEDOUT")

    def _go_on(self, turn: Turn) -> None:
        try:
            event = next(turn.steps)
        except StopIteration as end:
            self._end(turn, end.value)
        except OSError as error:
            self._end(turn, errno.errorcode.get(error.errno or 0, str(error)))
        else:
            again = turn.connection in self._waiting
            (self._selector.modify if again else self._selector.register)(turn.connection, event, turn)
            self._waiting[turn.connection] = turn
            turn.until = time.monotonic() + turn.within_s

    def _end(self, turn: Turn, result: Any) -> None:
        if self._waiting.pop(turn.connection, None) is not None:
            self._selector.unregister(turn.connection)
        turn.connection.close()
        turn.over(result)
