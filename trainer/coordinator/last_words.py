"""The last words of members, on the disk of the host that leads, for a coordinator that follows a killed one there.

Who has finished has gone, and can't say so once more. So `last_words.jsonl` in the run's folder gets a line for each,
before the member hears that it may go (`heard`); that of the group's first rank has what only the coordinator knew.

    >>> LastWords(folder).keep(3)
    >>> LastWords(folder).of_former().members
    {3}
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motley.trainer.contract.validate import name, whole
from motley.trainer.coordinator.members import MemberConnection
from motley.trainer.coordinator.membership.group_state_machine import GroupStateMachine
from motley.trainer.coordinator.regroup_log import Past
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.coordinator.summary_file import go_on_from_summary

FILE = "last_words.jsonl"


@dataclass(slots=True, kw_only=True)
class Finished:
    """What is known of the end of a run whose coordinator was killed."""

    members: set[int] = field(default_factory=set)  # those that have said that they finished
    regroups: Past | None = None  # as the former coordinator had them; None: nobody has told
    reason: str | None = None  # of an end before the last step


class LastWords:
    """Of the run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def keep(self, member: int, *, regroups: Past | None = None, reason: str | None = None) -> None:
        """`member` has finished. Where the disk has no room for it, a coordinator that follows would not know."""
        line: dict[str, Any] = {"member": member}
        if regroups is not None:
            line |= {"regroups": regroups.to_table(), "reason": reason}
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def recall(
        self, ledger: RunSummary, connections: Mapping[int, MemberConnection], machine: GroupStateMachine
    ) -> Finished:
        """Go on from what a killed coordinator has left here: who had finished by then, and its figures."""
        go_on_from_summary(self._path.parent, ledger)
        known = self.of_former()
        ledger.reason = known.reason
        for member in known.members & set(connections):
            connections[member].ended = "finished"
            machine.ended(member)
        return known

    def of_former(self) -> Finished:
        """A line that makes no sense, as a torn one, tells of nobody."""
        known = Finished()
        with contextlib.suppress(OSError):
            for line in self._path.read_text("utf-8", "replace").splitlines():
                with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError):
                    _read(json.loads(line), known)
        return known


def _read(line: Mapping[str, Any], known: Finished) -> None:
    known.members.add(whole(line["member"]))
    if "regroups" in line:
        known.regroups = Past.of(line["regroups"])
        known.reason = None if line["reason"] is None else name(line["reason"])
