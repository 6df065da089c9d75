"""Groups that break before their first step although nobody is lost: when the next is formed, and when it is enough.

A link between two hosts that both reach the coordinator may be down for a while, so the run tries again, at once and
then less and less often. What does not mend itself, such as a library that fails in each group, would go on for ever:
after ten groups, and `bound_s` without a step, it is over. Ten, since a step may take minutes. Pure.

    >>> vain = VainGroups(bound_s=120.0)
    >>> vain.formed((0, 1), step=40)
    >>> vain.wait((0, 1), step=40, generation=6, now=9.0)     # the same again: the first time at once
    0.0
"""

from __future__ import annotations

from collections.abc import Sequence

AT_ONCE = 2  # groups in a row that follow without a pause
LEAST = 10  # groups before it is over
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0  # each pause is twice the one before


class VainGroups:
    """`groups`: so many in a row were in vain."""

    def __init__(self, *, bound_s: float) -> None:
        self.groups = 0
        self._bound_s = bound_s
        self._last: tuple[Sequence[int], int] | None = None  # the members and the step of the newest group
        self._counted = -1  # the generation that counts already
        self._since = self._broke = 0.0

    def formed(self, members: Sequence[int], *, step: int) -> None:
        """A group of these members goes on from this step."""
        self._last = members, step

    def forget(self) -> None:
        """Somebody was lost: why the group broke is known."""
        self.groups, self._last = 0, None

    def wait(self, members: Sequence[int], *, step: int, generation: int, now: float) -> float:
        """Seconds until a group of these members, with the state of this step, is formed. `generation`: the newest that
        there was, which is over."""
        if self._last != (members, step):
            self.groups = 0
        elif generation != self._counted:
            self._since = self._since if self.groups else now
            self.groups, self._counted, self._broke = self.groups + 1, generation, now
        return max(0.0, self._broke + self._pause_s() - now) if self.groups else 0.0

    def enough(self, now: float) -> bool:
        """Too long without a step."""
        return self.groups >= LEAST and now - self._since > self._bound_s

    def _pause_s(self) -> float:
        further = self.groups - AT_ONCE - 1
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(further, 20)) if further >= 0 else 0.0
