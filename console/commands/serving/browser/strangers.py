"""Connections that have not shown yet who they are: few at a time, and not for long.

    strangers = Strangers(runner.server)     # makes what serves one connection
    await loop.create_server(strangers, sock=listener)
    strangers.known(request.protocol)        # this one has shown the cookie: it may stay

Any program of the machine may connect and say nothing; that must not cost more than a few descriptors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

MOST = 32  # the oldest makes way for the next
SLOW_S = 10.0


class Strangers:
    """`make` gives an aiohttp RequestHandler for a new connection."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._waiting: dict[Any, asyncio.TimerHandle] = {}  # the oldest first

    def __call__(self) -> Any:
        while len(self._waiting) >= MOST:
            self._end(next(iter(self._waiting)))
        handler = self._make()
        self._waiting[handler] = asyncio.get_running_loop().call_later(SLOW_S, self._end, handler)
        return handler

    def known(self, handler: Any) -> None:
        if (timer := self._waiting.pop(handler, None)) is not None:
            timer.cancel()

    def _end(self, handler: Any) -> None:
        self.known(handler)
        handler.force_close()

    def end_all(self) -> None:
        for handler in list(self._waiting):
            self._end(handler)
