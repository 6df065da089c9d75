"""The newest lines of a run, in the order of their times: a line that comes late goes to its place.

>>> log = EventLog()
>>> log.add(LogEntry(time=2.0, label="box1", text="later"))
>>> log.add(LogEntry(time=1.0, label="box2", text="earlier, and told late"))
>>> [entry.text for entry in log.entries]
['earlier, and told late', 'later']
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from motley.console.state.snapshot import LogEntry

LIMIT = 5000


class EventLog:
    """`total` counts all lines there ever were; `told` hears each as it comes."""

    def __init__(self, told: Callable[[LogEntry], None] | None = None) -> None:
        self.entries: deque[LogEntry] = deque(maxlen=LIMIT)
        self.total = 0
        self._told = told
        self._folded: dict[str, LogEntry] = {}  # the newest line of a kind of which no other is kept

    def add(self, entry: LogEntry) -> None:
        """A line with `fold` takes the place of the one before of that name."""
        if entry.fold:
            before = self._folded.get(entry.fold)
            self._folded[entry.fold] = entry
            if before is not None and self._remove(before):
                self.total -= 1
        self.total += 1
        later = 0
        for known in reversed(self.entries):
            if known.time <= entry.time:
                break
            later += 1
        if later and len(self.entries) == LIMIT:
            self.entries.popleft()
        if later:
            self.entries.insert(max(0, len(self.entries) - later), entry)
        else:
            self.entries.append(entry)
        if self._told is not None:
            self._told(entry)

    def _remove(self, entry: LogEntry) -> bool:
        for i in range(len(self.entries) - 1, -1, -1):
            if self.entries[i] is entry:
                del self.entries[i]
                return True
        return False
