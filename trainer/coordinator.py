"""Who is in the group: a small TCP service on the leader. Standard library only; it outlives the ranks there.

Ranks call it before they import torch, say which phase they are in, and get the group once all are ready: their
rank, the world size, and where rank 0 keeps the TCPStore. While some are missing it says which and in which phase;
when none of them makes progress for `join_timeout_s` it gives up with their names. Rank 0 reports every window of
steps, from which `summary.json` is kept up to date (`trainer.summary`).

A message is one line of JSON. A connection opens with a challenge on both sides, so that neither a stranger nor
another run's rank gets in, and a rank knows that it speaks to its own coordinator:

    coordinator: {"nonce": A}
    rank:        {"member": 2, "nonce": B, "proof": hmac(token, "rank 2 A B")}
    coordinator: {"proof": hmac(token, "coordinator A B")}
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.folders import run_folder, write_json
from trainer.handshake import keep_alive, proof
from trainer.journal import Journal
from trainer.spec import Member, Spec
from trainer.summary import Ledger
from trainer.wire import RunState

SAY_WAITING_S = 5.0
SUMMARY_S = 1.0
GOODBYE_S = 5.0  # after a rank was lost or did not come, the others have this long to say their last word
MESSAGE_LIMIT = 4 * 1024 * 1024


@dataclass(slots=True)
class Seat:
    """One member as the coordinator knows it."""

    member: Member
    phase: str = "connecting"
    writer: asyncio.StreamWriter | None = None
    ready: bool = False
    store: tuple[str, int] | None = None
    ended: RunState | None = None
    changed: float = 0.0
    times: dict[str, float] = field(default_factory=dict)


class Coordinator:
    """Serves one run until its members have ended."""

    def __init__(
        self, spec: Spec, folder: Path, *, clock: Callable[[], float] = time.monotonic, goodbye_s: float = GOODBYE_S
    ) -> None:
        self.spec = spec
        self._folder = folder
        self._clock = clock
        self._goodbye_s = goodbye_s
        self._journal = Journal(folder, host=spec.host, source="coordinator")
        now = clock()
        self._seats = {m.member: Seat(member=m, changed=now) for m in spec.members}
        self._began = now
        self._ready_at: float | None = None
        self._formed = False
        self._gave_up = False
        self._stopping = False
        self._over = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self.ledger = Ledger.of(spec, received=time.time())

    async def run(self, listener: socket.socket) -> None:
        """Serve on the listening socket, and write the summary of the end state."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        server = await asyncio.start_server(self._serve, sock=listener, limit=MESSAGE_LIMIT)
        async with server:
            watch = asyncio.create_task(self._watch())
            await self._over.wait()
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self._write_summary(self._end_state())
            for seat in self._seats.values():
                if seat.writer is not None:
                    self._send(seat.writer, op="over", text=self.ledger.cause or "the run is over")
                    seat.writer.close()
            if self._serving:
                await asyncio.wait(self._serving, timeout=1.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: greet, then take messages until it closes."""
        seat: Seat | None = None
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            seat = await asyncio.wait_for(self._greet(reader, writer), timeout=10.0)
            if seat is None:
                return
            while line := await reader.readline():
                self._take(seat, json.loads(line))
        except ConnectionError:  # the rank's process has ended: its supervisor says how
            pass
        except TimeoutError:  # the kernel had no answer from its host
            if seat is not None and seat.ended is None:
                seat.ended = "lost"
        except (OSError, ValueError, KeyError, TypeError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            name = "a caller" if seat is None else f"rank {seat.member.member}"
            self._journal.write("note", f"{name}: connection to the coordinator: {error!r}", "warning")
        finally:
            if seat is not None and seat.writer is writer:
                seat.writer = None
                self._left(seat)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seat | None:
        keep_alive(writer.get_extra_info("socket"))
        ours = secrets.token_hex(16)
        self._send(writer, nonce=ours)
        hello = json.loads(await reader.readline())
        member, theirs = int(hello["member"]), str(hello["nonce"])
        expected = proof(self.spec.token, "rank", member, ours, theirs)
        if member not in self._seats or not hmac.compare_digest(expected, str(hello["proof"])):
            self._journal.write("note", "a caller without the run's token was refused", "warning")
            return None
        seat = self._seats[member]
        self._send(writer, proof=proof(self.spec.token, "coordinator", ours, theirs))
        seat.writer = writer
        return seat

    def _take(self, seat: Seat, message: dict[str, Any]) -> None:
        seat.changed = self._clock()
        match message["op"]:
            case "phase":
                seat.phase = str(message["phase"])
            case "ready":
                seat.phase, seat.ready = "joining", True
                seat.times.update(message["times"])
                if message.get("store"):
                    seat.store = (str(message["store"][0]), int(message["store"][1]))
                self._form()
            case "joined":
                seat.phase = "training"
                if all(s.phase == "training" for s in self._seats.values()) and self._ready_at is not None:
                    self.ledger.phases["rendezvous_s"] = self._clock() - self._ready_at
                    self._ready_at = None
            case "report":
                self.ledger.take_report(message)
            case "ended":
                seat.ended = message["state"]
                seat.phase = "ended"
            case other:
                raise ValueError(f"unknown message {other!r}")

    def _form(self) -> None:
        """Give the group to all members once the last one is ready."""
        if self._formed or not all(s.ready for s in self._seats.values()):
            return
        self._formed = True
        self._ready_at = self._clock()
        seats = [self._seats[m] for m in sorted(self._seats)]
        for name in ("spawn_s", "import_s"):
            self.ledger.phases[name] = max(s.times.get(name, 0.0) for s in seats)
        members = [
            {"member": s.member.member, "host": s.member.host, "rank": rank, "device": s.member.device}
            for rank, s in enumerate(seats)
        ]
        for rank, seat in enumerate(seats):
            if seat.writer is not None:
                self._send(
                    seat.writer, op="group", generation=0, rank=rank, world_size=len(seats), store=seats[0].store
                )
        self._journal.write(
            "group", f"all {len(seats)} ranks are ready", generation=0, world_size=len(seats), members=members
        )

    def _left(self, seat: Seat) -> None:
        """A member's connection is gone."""
        if seat.ended is None:
            seat.ended = "stopped" if self._stop_asked() else "failed"
            seat.phase = "ended"
        if all(s.ended is not None and s.writer is None for s in self._seats.values()):
            self._over.set()
        elif seat.ended in ("failed", "lost") and not self._formed:
            self._give_up(f"rank {seat.member.member} on {seat.member.host} ended before the group was formed")
        elif seat.ended in ("failed", "lost"):
            name = f"rank {seat.member.member} on {seat.member.host}"
            self.ledger.cause = self.ledger.cause or f"{name} was lost at step {self.ledger.steps}"
            if seat.ended == "lost":
                text = f"{name}: no answer from that host; the run can't go on without it"
                self._journal.write("note", text, "error")
            asyncio.get_running_loop().call_later(self._goodbye_s, self._over.set)

    async def _watch(self) -> None:
        """While members are missing: say which; give up when none of them gets further. Keep the summary fresh."""
        said: tuple[Any, ...] = ()
        said_at = self._clock()
        while True:
            await asyncio.sleep(0.1)
            now = self._clock()
            if self._formed and now - said_at > SUMMARY_S:
                said_at = now
                self._write_summary("running")
            missing = [] if self._formed else [s for s in self._seats.values() if not s.ready]
            if not missing or self._gave_up:
                continue
            waited = now - max(s.changed for s in missing)
            now_said = tuple((s.member.member, s.phase) for s in missing)
            if now - self._began > 1.0 and (now_said != said or now - said_at > SAY_WAITING_S):
                said, said_at = now_said, now
                text = "waiting for " + _name(missing)
                self._journal.write("waiting", text, missing=_missing(missing), waited_s=now - self._began)
            if waited > self.spec.options.join_timeout_s:
                self._give_up(f"no progress for {waited:.0f} s (run.join_timeout_s)")

    def _give_up(self, why: str) -> None:
        if self._gave_up:
            return
        self._gave_up = True
        missing = [s for s in self._seats.values() if not s.ready and s.ended is None]
        behind = [s for s in self._seats.values() if s.ended in ("failed", "lost")] or missing
        text = f"gave up waiting for {_name(behind)}: {why}"
        self._journal.write("gave_up", text, "error", missing=_missing(behind), waited_s=self._clock() - self._began)
        self.ledger.cause = text
        for seat in self._seats.values():
            if seat.writer is not None:
                self._send(seat.writer, op="give_up", text=text)
        asyncio.get_running_loop().call_later(self._goodbye_s, self._over.set)

    def _stop(self) -> None:
        """The supervisor's TERM: its ranks have ended, the run was stopped."""
        self._stopping = True
        for seat in self._seats.values():
            seat.ended = seat.ended or "stopped"
        self._over.set()

    def _stop_asked(self) -> bool:
        """Ranks ended for a stop may be gone before its TERM comes here; the request is on the disk by then."""
        return self._stopping or (self._folder / "stop.json").exists()

    def _end_state(self) -> RunState:
        ends = [s.ended for s in self._seats.values()]
        if self._stop_asked() or "stopped" in ends:
            return "stopped"
        return "finished" if all(e == "finished" for e in ends) else "failed"

    def _write_summary(self, state: RunState) -> None:
        hosts: dict[str, str] = {}
        for seat in self._seats.values():
            end = "running" if state == "running" else seat.ended or "failed"  # failed: had to be told to end
            worst = "failed" if "failed" in (hosts.get(seat.member.host), end) else end
            hosts[seat.member.host] = worst
        try:
            write_json(self._folder / "summary.json", self.ledger.summary(state, hosts, now=time.time()))
        except OSError as error:
            self._journal.write("note", f"summary.json not written: {error}", "warning")

    def _send(self, writer: asyncio.StreamWriter, **message: Any) -> None:
        writer.write(json.dumps(message).encode() + b"\n")


def _missing(seats: list[Seat]) -> list[dict[str, Any]]:
    return [{"member": s.member.member, "host": s.member.host, "phase": s.phase} for s in seats]


def _name(seats: list[Seat]) -> str:
    return ", ".join(f"rank {s.member.member} on {s.member.host} ({s.phase})" for s in seats)


def serve(run: str, host: str, descriptor: int) -> int:
    """`python -m trainer coordinate`: serve one run on the listening socket that the supervisor passed on."""
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    with socket.socket(fileno=descriptor) as listener:
        listener.setblocking(False)
        asyncio.run(Coordinator(spec, folder).run(listener))
    return 0
