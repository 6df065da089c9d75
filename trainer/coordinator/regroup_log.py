"""`regroups[]` of summary.json: which hosts went and came, at which steps, and for how long nothing was trained.

>>> regroups = Regroups({0: "box1", 1: "box2"})
>>> regroups.gone(1, "lost", step=41)
>>> regroups.formed(1, members=(0,), step=41)
>>> regroups.resumed(1, pause_s=2.1)
>>> regroups.records()
[{'cause': 'lost', 'host': 'box2', 'step_before': 41, 'step_after': 41, 'pause_s': 2.1}]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any


class Regroups:
    """One record a host and change. What is not known yet is None."""

    def __init__(self, hosts: Mapping[int, str]) -> None:
        self._hosts = dict(hosts)
        self._records: list[dict[str, Any]] = []
        self._generations: list[int | None] = []  # in which each record was settled
        self._group: tuple[int, ...] | None = None

    def records(self) -> list[dict[str, Any]]:
        return [dict(record) for record in self._records]

    def admit(self, member: int, host: str) -> None:
        """Somebody new may join from now on."""
        self._hosts[member] = host

    def gone(self, member: int, cause: str, step: int) -> None:
        """Once for a host, however many of its ranks go."""
        host = self._hosts[member]
        if not any(r["host"] == host and g is None for r, g in zip(self._records, self._generations)):
            self._add(cause, host, step)

    def taken_over(self, members: Sequence[int], leader: str, step: int, *, dropped: Collection[str] = ()) -> None:
        """The first group that a coordinator forms of a run that goes on already: who is not in it was lost before,
        or `dropped`."""
        away = [m for m in self._hosts if self._hosts[m] not in {self._hosts[there] for there in members}]
        for member in away:
            self.gone(member, "dropped" if self._hosts[member] in dropped else "lost", step)
        if not away:
            self._add("coordinator", leader, step)

    def formed(self, generation: int, members: Sequence[int], step: int) -> None:
        """A group that goes on from `step`; hosts that were not in the one before have joined."""
        if self._group is not None:
            before = {self._hosts[m] for m in self._group}
            for host in dict.fromkeys(self._hosts[m] for m in members):
                if host not in before:
                    self._add("joined", host, step)
        self._group = tuple(members)
        for i, record in enumerate(self._records):
            if self._generations[i] is None:
                self._generations[i] = generation
                record["step_before"] = max(record["step_before"], step)
                record["step_after"] = step

    def resumed(self, generation: int, pause_s: float) -> None:
        """The first step of a generation has ended; of several ranks that say so the longest pause counts."""
        for record, settled in zip(self._records, self._generations):
            if settled == generation:
                record["pause_s"] = round(max(pause_s, record["pause_s"] or 0.0), 3)

    def told(self, generation: int) -> str:
        """What happened before a generation, for people: `box2 lost at step 41; went on after 2.1 s`."""
        records = [record for record, settled in zip(self._records, self._generations) if settled == generation]
        if not records:
            return ""
        causes: dict[tuple[str, int], list[str]] = {}
        for record in records:
            causes.setdefault((record["cause"], record["step_before"]), []).append(record["host"])
        words = {"coordinator": "got a new coordinator"}
        what = "; ".join(
            f"{', '.join(hosts)} {words.get(cause, cause)} at step {step}" for (cause, step), hosts in causes.items()
        )
        return f"{what}: went on after {max(record['pause_s'] or 0.0 for record in records):.1f} s"

    def _add(self, cause: str, host: str, step: int) -> None:
        self._records.append({"cause": cause, "host": host, "step_before": step, "step_after": None, "pause_s": None})
        self._generations.append(None)
