"""`regroups[]` of summary.json: which hosts went and came, at which steps, and for how long nothing was trained.

It is of the whole run, whoever leads: a rank of each host keeps a `Past` for the coordinator that may follow.

>>> regroups = RegroupLog({0: "box1", 1: "box2"})
>>> regroups.gone(1, "lost", step=41)
>>> regroups.formed(1, members=(0,), step=41)
>>> regroups.resumed(1, pause_s=2.1)
>>> regroups.records()
[{'cause': 'lost', 'host': 'box2', 'step_before': 41, 'step_after': 41, 'pause_s': 2.1}]
>>> RegroupLog({0: "box1", 1: "box2"}, regroups.past()).records() == regroups.records()
True
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from motley.trainer.contract.validate import figure, name, whole
from motley.trainer.coordinator.membership.group_changes import Ready

CAUSES = ("lost", "stuck", "dropped", "joined", "coordinator")
MOST = 1000  # records that are handed on, the newest: some 50 KiB
MOST_HOSTS = 10_000
FORMER = -1  # the generation of what a former coordinator has settled

Record = dict[str, Any]  # cause, host, step_before, step_after, pause_s; what is not known yet is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a former coordinator knew: its records, and the hosts of the last group."""

    records: tuple[Record, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: Any) -> Past:
        """Out of what a member says. Raises KeyError, TypeError or ValueError when it is malformed, or too much."""
        records, hosts = table["records"], table["hosts"]
        if not isinstance(records, list) or not isinstance(hosts, list):
            raise TypeError("no regroups")
        if len(records) > MOST or len(hosts) > MOST_HOSTS:
            raise ValueError("more regroups than are handed on")
        return cls(records=tuple(map(_record, records)), hosts=tuple(map(name, hosts)))

    def to_table(self) -> dict[str, Any]:
        return {"records": [list(record.values()) for record in self.records], "hosts": list(self.hosts)}


class KnownPasts:
    """What members that are ready have kept for a coordinator that goes on with the run."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[Ready, Past]] = {}

    def hear(self, member: int, ready: Ready, table: Any) -> None:
        """Raises KeyError, TypeError or ValueError when it makes no sense."""
        self._told[member] = ready, Past.of(table)

    def newest(self, members: Iterable[int]) -> Past | None:
        """Of what these members know."""
        known = [self._told[member] for member in members if member in self._told]
        age = [(ready.term, ready.generation, len(past.records)) for ready, past in known]
        return known[age.index(max(age))][1] if known else None


class RegroupLog:
    """One record a host and change."""

    def __init__(self, hosts: Mapping[int, str], past: Past | None = None) -> None:
        self.changes = 0  # counts what a `past` that was made before does not have
        self._hosts = dict(hosts)
        self._records: list[Record] = []
        self._generations: list[int | None] = []  # in which each record was settled
        self._group: tuple[str, ...] | None = None  # its hosts
        if past is not None:
            self.go_on_from(past)

    def records(self) -> list[Record]:
        return [dict(record) for record in self._records]

    def past(self) -> Past:
        """For the coordinator that may follow."""
        return Past(records=tuple(self.records()[-MOST:]), hosts=self._group or ())

    def go_on_from(self, past: Past) -> None:
        """A former coordinator knew this, before anything that is recorded here. Who was away then is not lost anew."""
        known = {record["host"] for record in past.records if record["step_after"] is None}
        new = {host for host in past.hosts if host not in known}
        own = [i for i, record in enumerate(self._records) if record["host"] in new]
        settled: list[int | None] = [None if record["step_after"] is None else FORMER for record in past.records]
        self._generations = [*settled, *(self._generations[i] for i in own)]
        self._records = [*(dict(record) for record in past.records), *(self._records[i] for i in own)]
        self._group = past.hosts
        self.changes += 1

    def admit(self, member: int, host: str) -> None:
        """Somebody new may join from now on."""
        self._hosts[member] = host

    def gone(self, member: int, cause: str, step: int) -> None:
        """Once for a host, however many of its ranks go; not for one that was away before."""
        host = self._hosts[member]
        if self._group is not None and host not in self._group:
            return
        if not any(r["host"] == host and g is None for r, g in zip(self._records, self._generations)):
            self._add(cause, host, step)

    def taken_over(self, members: Sequence[int], leader: str, step: int, *, dropped: Collection[str] = ()) -> None:
        """The first group that a coordinator forms of a run that goes on already: who is not in it was lost before,
        or `dropped`."""
        there = {self._hosts[member] for member in members}
        before = self._hosts.values() if self._group is None else self._group
        away = [m for m in self._hosts if self._hosts[m] in before and self._hosts[m] not in there]
        for member in away:
            self.gone(member, "dropped" if self._hosts[member] in dropped else "lost", step)
        if not away:
            self._add("coordinator", leader, step)

    def formed(self, generation: int, members: Sequence[int], step: int) -> None:
        """A group that goes on from `step`; hosts that were not in the one before have joined."""
        hosts = tuple(dict.fromkeys(self._hosts[m] for m in members))
        for host in hosts:
            if self._group is not None and host not in self._group:
                self._add("joined", host, step)
        self._group = hosts
        self.changes += 1
        for i, record in enumerate(self._records):
            if self._generations[i] is None:
                self._generations[i] = generation
                record["step_before"] = max(record["step_before"], step)
                record["step_after"] = step

    def resumed(self, generation: int, pause_s: float) -> None:
        """The first step of a generation has ended; of several ranks that say so the longest pause counts.

        A generation before it that made no step was paused for as long.
        """
        for record, settled in zip(self._records, self._generations):
            if settled == generation or (settled is not None and settled < generation and record["pause_s"] is None):
                before, record["pause_s"] = record["pause_s"], round(max(pause_s, record["pause_s"] or 0.0), 3)
                self.changes += record["pause_s"] != before

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
        self.changes += 1


def _record(row: Any) -> Record:
    cause, host, before, after, pause_s = row
    if cause not in CAUSES:
        raise ValueError("no cause of a regroup")
    return {
        "cause": cause,
        "host": name(host),
        "step_before": whole(before),
        "step_after": None if after is None else whole(after),
        "pause_s": None if pause_s is None else figure(pause_s),
    }
