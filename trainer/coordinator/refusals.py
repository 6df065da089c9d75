"""Callers that were refused, told of as one line a minute at most: anybody on the network can call. Pure.

>>> refusals = Refusals()
>>> refusals.add("a caller without the run's token was refused", now=5.0)
"a caller without the run's token was refused"
>>> refusals.add("a caller: a line without an end", now=6.0), refusals.due_at
(None, 65.0)
>>> refusals.look(now=65.0)
'1 more caller was refused within 60 s. The last one: a caller: a line without an end'
"""

from __future__ import annotations

EVERY_S = 60.0


class Refusals:
    """The first is told at once, those within `EVERY_S` seconds after a line by their number."""

    def __init__(self) -> None:
        self.due_at: float | None = None  # when `look` may have more to say
        self._count = 0
        self._last = ""

    def add(self, why: str, *, now: float) -> str | None:
        """One more. Returns what is to be told now, if anything is."""
        if self.due_at is None:
            self.due_at = now + EVERY_S
            return why
        self._count += 1
        self._last = why
        return None

    def look(self, *, now: float) -> str | None:
        """What is to be told when a minute is over."""
        if self.due_at is None or now < self.due_at:
            return None
        return self.rest(now=now)

    def rest(self, *, now: float) -> str | None:
        """What was not told of yet."""
        count, self._count = self._count, 0
        self.due_at = now + EVERY_S if count else None
        if not count:
            return None
        callers = "more caller was" if count == 1 else "more callers were"
        return f"{count} {callers} refused within {EVERY_S:.0f} s. The last one: {self._last}"
