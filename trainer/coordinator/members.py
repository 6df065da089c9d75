"""The members of a run as the coordinator hears them: a connection each, and what they come to all together."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from motley.trainer.contract import validate
from motley.trainer.contract.spec import ElasticOptions, Member
from motley.trainer.contract.wire import END_STATES, RunState


@dataclass(slots=True)
class MemberConnection:
    """One member."""

    member: Member
    phase: str = "connecting"
    transport: asyncio.WriteTransport | None = None  # None: it is not connected
    ended: RunState | None = None  # its last word
    changed: float = 0.0  # when it was last heard
    gone: bool = False  # out of the group, or not in it yet; calling does not change that, a new group does
    dropped: bool = False  # its host was taken out of the run: it is not listened to
    lost_at: float | None = None  # before the first group: since when it is not connected; it may call again
    times: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"rank {self.member.member} on {self.member.host}"

    def note(self, message: Mapping[str, Any], now: float) -> None:
        """What its words say of the member itself. Raises KeyError, TypeError or ValueError when they make no sense."""
        self.changed = now
        match message["op"]:
            case "phase":
                self.phase = validate.name(message["phase"])
            case "ready":
                self.phase = "joining"
                self.times.update(
                    (validate.name(what), validate.figure(s)) for what, s in validate.table(message["times"]).items()
                )
            case "joined":
                self.phase = "training"
            case "ended":
                if message["state"] not in END_STATES:
                    raise ValueError(f"{validate.short(message['state'])} is no end of a run")
                self.ended, self.phase = message["state"], "ended"

    def send(self, **message: Any) -> None:
        """One message, if it is connected."""
        if self.transport is not None:
            self.transport.write(json.dumps(message).encode() + b"\n")

    def beat(self) -> None:
        """A sign of life."""
        if self.transport is not None:
            self.transport.write(b"\n")

    def close(self) -> None:
        """What it says from now on is not heard."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None


def missing_of(connections: Iterable[MemberConnection]) -> list[dict[str, Any]]:
    """For the data of an event."""
    return [{"member": one.member.member, "host": one.member.host, "phase": one.phase} for one in connections]


def too_few(hosts: int, elastic: ElasticOptions) -> str:
    """Why nobody trains."""
    return f"{hosts} host{'s' * (hosts != 1)} left, {elastic.min_hosts} needed (elastic.min_hosts)"


def names_of(connections: Iterable[MemberConnection]) -> str:
    return ", ".join(f"{one.name} ({one.phase})" for one in connections)


def one_of_each_host(connections: Iterable[MemberConnection]) -> list[MemberConnection]:
    """Of those that take part and are connected."""
    return list({one.member.host: one for one in connections if not one.gone and one.transport}.values())


def ranks(connections: Sequence[MemberConnection]) -> list[dict[str, Any]]:
    """A group in rank order, for the data of an event."""
    return [
        {"member": one.member.member, "host": one.member.host, "rank": rank, "device": one.member.device}
        for rank, one in enumerate(connections)
    ]


def somebody_finished(connections: Iterable[MemberConnection]) -> bool:
    """All finish at the same step: then the run has been trained to its end."""
    return any(one.ended == "finished" for one in connections)


def how_it_ended(code: int) -> str:
    """An exit code in words.

    >>> how_it_ended(3), how_it_ended(-9)
    ('exit code 3', 'was ended by signal 9 (SIGKILL)')
    """
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else "unknown"
    return f"was ended by signal {-code} ({name})"


def end_state(connections: Iterable[MemberConnection], *, stopped: bool) -> RunState:
    """Of the run, by the last words of those that were left."""
    ends = [one.ended for one in connections if not one.gone]
    if stopped or "stopped" in ends:
        return "stopped"
    if ends and all(end == "finished" for end in ends):
        return "finished"
    return "failed"


def host_states(connections: Mapping[int, MemberConnection], state: RunState) -> dict[str, str]:
    """Of every host, while the run is in `state`: that of its worst rank."""
    hosts: dict[str, str] = {}
    for connection in connections.values():
        end: str = "running" if state == "running" else connection.ended or "failed"  # it had to be told to end
        end = "lost" if connection.gone and connection.ended is None else end
        end = "dropped" if connection.dropped else end
        hosts[connection.member.host] = "failed" if "failed" in (hosts.get(connection.member.host), end) else end
    return hosts
