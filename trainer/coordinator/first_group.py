"""Until the first group is formed: who is still missing, and giving up when nobody gets any further.

The coordinator calls `look` a few times a second, and `give_up` when a rank ends before there was a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.journal import Journal
from trainer.lines import Line, missing_of, names_of
from trainer.patience import Patience
from trainer.summary import Ledger


class Gathering:
    """`patience_s`: without progress of anybody. `over` is called once it has given up.

    `without` is for a run that goes on already: the first group is formed without this member.
    """

    def __init__(
        self,
        lines: Mapping[int, Line],
        ledger: Ledger,
        journal: Journal,
        *,
        began: float,
        patience_s: float,
        over: Callable[[], Any],
        without: Callable[[int], None] | None = None,
    ) -> None:
        self._lines = lines
        self._ledger = ledger
        self._journal = journal
        self._began = began
        self._patience_s = patience_s
        self._patience = Patience(began=began, limit_s=patience_s)
        self._over = over
        self._without = without
        self._gave_up = False

    def look(self, now: float, missing: Sequence[int]) -> None:
        """Say who is missing; give up, or go on without them, when they get no further."""
        lines = [self._lines[m] for m in missing]
        verdict = None if self._gave_up else self._patience.look(now, lines)
        if verdict == "say":
            text = "waiting for " + names_of(lines)
            self._journal.write("waiting", text, missing=missing_of(lines), waited_s=now - self._began)
        elif verdict == "give up" and self._without is not None:
            for member in missing:
                self._without(member)
        elif verdict == "give up":
            self.give_up(f"no progress for {self._patience_s:.0f} s (run.join_timeout_s)", now, missing)

    def give_up(self, why: str, now: float, missing: Sequence[int]) -> None:
        """Once: tell everybody who is missing, and why nobody waits any longer."""
        if self._gave_up:
            return
        self._gave_up = True
        left = [self._lines[m] for m in missing if self._lines[m].ended is None]
        behind = [line for line in self._lines.values() if line.ended in ("failed", "lost")] or left
        text = f"gave up waiting for {names_of(behind)}: {why}"
        self._journal.write("gave_up", text, "error", missing=missing_of(behind), waited_s=now - self._began)
        self._ledger.cause = text
        for line in self._lines.values():
            line.send(op="give_up", text=text)
        self._over()
