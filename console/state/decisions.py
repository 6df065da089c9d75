"""The changes of the split that a run has made: what each was to bring, and what it brought.

>>> decisions = Decisions()
>>> decisions.decided(event, names)     # kind "decision"
>>> decisions.realised(event)           # kind "realised"
>>> decisions.shown()
"""

from __future__ import annotations

from collections import deque

from motley.console.state.event_data import decision_of, number
from motley.console.state.snapshot import Decision
from motley.trainer.contract.wire import Event

LIMIT = 200  # the newest


class Decisions:
    def __init__(self) -> None:
        self._known: deque[Decision] = deque(maxlen=LIMIT)

    def decided(self, event: Event, names: tuple[str, ...]) -> None:
        """`names`: the ranks in order, as the group has them."""
        self._known.append(decision_of(event, names))

    def realised(self, event: Event) -> None:
        for i, decision in enumerate(self._known):
            if decision.step == number(event.data.get("step")):
                self._known[i] = decision_of(event, decision.names, known=decision)

    def shown(self) -> tuple[Decision, ...]:
        """Oldest first."""
        return tuple(self._known)
