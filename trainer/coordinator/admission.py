"""Who is let into a run, and who is shown out: by `roll.json` (`trainer.host.run_members`), and by the training data.

Nobody waits for a host that is let in: its ranks call when they are ready, and join at the end of a step. One that is
taken out breaks its group as a lost one does, and is told to leave; it is not listened to until it is let in again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motley.trainer.contract.data_fingerprint import DataFingerprint, difference, refusal, told
from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.coordinator.members import MemberConnection
from motley.trainer.coordinator.membership.group_state_machine import GroupStateMachine
from motley.trainer.coordinator.regroup_log import RegroupLog
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.host.journal import Journal
from motley.trainer.host.run_members import roll_of

SHOWN_OUT = "this host was taken out of the run"


class Admission:
    """`look` a few times a second, and before a rank that leaves is taken for one that was stopped."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        roll: Roll,
        *,
        connections: dict[int, MemberConnection],
        machine: GroupStateMachine,
        regroups: RegroupLog,
        ledger: RunSummary,
        journal: Journal,
    ) -> None:
        self.roll = roll
        self._spec = spec
        self._folder = folder
        self._connections = connections
        self._machine = machine
        self._regroups = regroups
        self._ledger = ledger
        self._journal = journal

    def look(self, now: float) -> None:
        """Do what has changed on the roll."""
        before, roll = self.roll, roll_of(self._folder)
        if not roll.is_newer_than(before):
            return
        self.roll = roll
        new = [m for m in roll.members(self._spec.members) if m.member not in self._connections]
        for member in new:
            self._let_in(member, now)
        for connection in self._connections.values():
            connection.dropped, was = connection.member.host in roll.dropped, connection.dropped
            if connection.dropped and not was:
                self._machine.lost(connection.member.member, "dropped")
        for host in dict.fromkeys(m.host for m in new):
            self._say_admitted(host, [m for m in new if m.host == host])
        for host in before.dropped:
            if host not in roll.dropped:
                self._say_admitted(host, [one.member for one in self._connections.values() if one.member.host == host])
        for host in roll.dropped:
            if host not in before.dropped:
                self._journal.write("dropped", f"{host} is taken out of the run", host=host)

    def _let_in(self, member: Member, now: float) -> None:
        self._connections[member.member] = MemberConnection(member=member, changed=now, gone=True)
        self._machine.admit(member.member, member.host)
        self._regroups.admit(member.member, member.host)
        self._ledger.admit(member.host)

    def _say_admitted(self, host: str, members: Sequence[Member]) -> None:
        ranks = ", ".join(str(m.member) for m in members)
        text = f"{host} is let into the run as rank{'s' * (len(members) != 1)} {ranks}: it joins at the end of a step"
        table = [{"member": m.member, "host": m.host, "device": m.device} for m in members]
        self._journal.write("admitted", text, host=host, members=table)


class SameData:
    """Whether all ranks train on the same data: each is compared with one of the group, or with the first that told."""

    def __init__(
        self, connections: Mapping[int, MemberConnection], machine: GroupStateMachine, journal: Journal
    ) -> None:
        self._connections = connections
        self._machine = machine
        self._journal = journal
        self._data: dict[int, DataFingerprint] = {}  # of each member

    def refusal(self, connection: MemberConnection, said: Mapping[str, Any] | None) -> str | None:
        """Why this rank can't train with the others; None: it can. Raises KeyError, TypeError or ValueError when what
        it said makes no sense."""
        if said is None:
            return None
        member, mine = connection.member.member, DataFingerprint.of(said)
        known = [m for m in self._machine.group or self._data if m in self._data and m != member]
        if known and (found := difference(mine, self._data[known[0]])):
            other, its = self._connections[known[0]].name, self._data[known[0]]
            if found != "values":
                return refusal(found, mine, its, rank=connection.name, other=other)
            if member not in self._data:
                here = f"{mine.at}: {connection.name}" if mine.at else connection.name
                text = f"{here} sees samples slightly otherwise than {other}, as with another Pillow"
                self._journal.write("note", f"{text}: {told(found, mine, its)}", "warning", member=member)
        self._data[member] = mine
        return None
