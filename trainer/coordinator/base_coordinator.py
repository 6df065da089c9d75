"""What a coordinator does whatever its members train: serve them, look at the clock, keep the summary, say the end.

`trainer.coordinator` is the one of a task, `trainer.script_coordinator` that of a script. Each hears its members
(`called`, `take`, `hung_up`: see `trainer.switchboard`), moves on with the clock (`_tick`) and says who is still
missing before the first group (`_missing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from trainer.folders import write_json
from trainer.gathering import Gathering
from trainer.handshake import answer_s
from trainer.journal import Journal
from trainer.lead import lead_of
from trainer.lines import Line, host_states
from trainer.regroups import Regroups
from trainer.spec import Member, Spec
from trainer.summary import Ledger
from trainer.switchboard import Switchboard
from trainer.wire import RunState

SUMMARY_S = 1.0
TICK_S = 0.1
REFORM_S = 3.0  # that a run which goes on under a new coordinator waits for those that were there


class Service(ABC):
    """Serves one run until it is over. `members` are all that belong to it; `dropped` hosts are not listened to."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        members: Sequence[Member],
        *,
        dropped: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        now = clock()
        self.spec = spec
        self.ledger = Ledger.of(spec, received=time.time(), members=members)
        self._folder = folder
        self._clock = clock
        self._lead = lead_of(folder, spec)
        self._journal = Journal(folder, host=spec.host, source="coordinator")
        self._lines = {m.member: Line(member=m, changed=now, dropped=m.host in dropped) for m in members}
        self._regroups = Regroups({m.member: m.host for m in members})
        self._held_at: float | None = None
        self._beaten_at = 0.0
        self._stopping = False
        self._over = asyncio.Event()
        self._gathering = Gathering(
            self._lines, self.ledger, self._journal, began=now,
            patience_s=REFORM_S if self._lead.term else spec.options.join_timeout_s, over=self._gave_up,
            without=self._without if self._lead.term else None,
        )  # fmt: skip

    async def run(self, listener: socket.socket) -> None:
        """Serve on the listening socket, and write the summary of the end state."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        async with Switchboard(listener, self._lines, self.spec.token, self._journal, self):
            watch = asyncio.create_task(self._watch())
            watch.add_done_callback(lambda _: self._over.set())  # it has no end: what it failed with is raised below
            await self._over.wait()
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            state = self._end_state()
            self._write_summary(state)
            for line in self._lines.values():
                text = self.ledger.cause or "the run is over"
                line.send(op="over", text=text, state=self._end_for(line, state))

    @abstractmethod
    def called(self, line: Line) -> None: ...

    @abstractmethod
    def take(self, line: Line, message: dict[str, Any]) -> None: ...

    @abstractmethod
    def hung_up(self, line: Line) -> None: ...

    @abstractmethod
    def _tick(self, now: float) -> None:
        """A few times a second: see who fell silent, and do what follows."""

    @abstractmethod
    def _missing(self) -> list[int]:
        """Members that the first group still waits for."""

    @abstractmethod
    def _without(self, member: int) -> None:
        """The first group does not wait for this member any longer."""

    @abstractmethod
    def _gave_up(self) -> None:
        """There will be no first group: everybody has been told."""

    @abstractmethod
    def _held_too_long(self, why: str) -> None:
        """The run is over, because too few hosts were left for `[elastic] hold_s`."""

    @abstractmethod
    def _end_state(self) -> RunState: ...

    @abstractmethod
    def _end_for(self, line: Line, state: RunState) -> RunState:
        """What a member is told that the run's end is for it."""

    async def _watch(self) -> None:
        """Look at the clock: who is silent, who is missing, and is the summary fresh."""
        wrote_at = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            self._tick(now)
            self._beat(now)
            if missing := self._missing():
                self._gathering.look(now, missing)
                continue
            if now - wrote_at > SUMMARY_S:
                wrote_at = now
                self._write_summary("running")
            hold_s = self.spec.elastic.hold_s
            if self._held_at is not None and now - self._held_at > hold_s:
                self._held_too_long(f"too few hosts for {hold_s:.0f} s (elastic.hold_s)")

    def _beat(self, now: float) -> None:
        """A sign of life to everybody, so that a rank knows that it is not cut off."""
        if now - self._beaten_at >= answer_s(len(self._lines)):
            self._beaten_at = now
            for line in self._lines.values():
                line.beat()

    def _hold(self, why: str, hosts: int) -> None:
        """Nobody trains until others come back."""
        self._held_at = self._clock()
        least, hold_s = self.spec.elastic.min_hosts, self.spec.elastic.hold_s
        text = f"{why}: waiting {hold_s:.0f} s for others to come back"
        self._journal.write("holding", text, "warning", hosts=hosts, least=least, hold_s=hold_s)

    def _too_few(self, hosts: int) -> str:
        return f"{hosts} host{'s' * (hosts != 1)} left, {self.spec.elastic.min_hosts} needed (elastic.min_hosts)"

    def _stop(self) -> None:
        """The supervisor's TERM: its ranks have ended, the run was stopped."""
        self._stopping = True
        for line in self._lines.values():
            line.ended = line.ended or "stopped"
        self._over.set()

    def _stop_asked(self) -> bool:
        """Ranks ended for a stop may be gone before its TERM comes here; the request is on the disk by then."""
        return self._stopping or (self._folder / "stop.json").exists()

    def _write_summary(self, state: RunState) -> None:
        hosts = host_states(self._lines, state)
        try:
            write_json(self._folder / "summary.json", self.ledger.summary(state, hosts, now=time.time()))
        except OSError as error:
            self._journal.write("note", f"summary.json not written: {error}", "warning")


def seats(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """A group in rank order, for the data of an event."""
    return [
        {"member": line.member.member, "host": line.member.host, "rank": rank, "device": line.member.device}
        for rank, line in enumerate(lines)
    ]
