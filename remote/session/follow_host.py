"""Follow one host of a run: its files from byte offsets, through every loss of the connection, to its end.

One `trainer attach` on one SSH channel carries all files. When the connection breaks, the next one asks for what lies
beyond the offsets that were kept, so nothing is lost and nothing comes twice.

    state = await Follower("box1", ...).run()      # "finished"
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from motley.remote.diagnosis.host_clocks import Lateness
from motley.remote.end_tasks import end
from motley.remote.errors import CommandFailed, HostError
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.machines import instance_of, met
from motley.remote.experiment.records import partial_lines
from motley.remote.feed import FeedRecord, Link
from motley.remote.rpc.verbs import Verbs
from motley.remote.sanitize import clean, clean_table
from motley.remote.session.follow_log import PrintedFollower
from motley.remote.ssh.connection import backoff
from motley.trainer.contract.wire import END_STATES, Beat, Chunk, Event, Folder, Level, WireError, decode

STALE_S = 6.0  # without a beat the connection is taken for dead; a beat comes every second
CATCH_UP_S = 15.0  # for what a host that has ended is asked once more
REREADS = 2  # after an end before which something came that could not be read: it may have been the last lines


class HostFollower:
    """Hands records on, in order. `state` is the host's newest `state.json`."""

    def __init__(
        self, host: str, run: str, *, verbs: Verbs, experiment: Experiment, emit: Callable[[FeedRecord], None]
    ) -> None:
        self.host = host
        self.state: dict[str, Any] = {}
        self.up = False
        self.heard_at = 0.0  # on the loop's clock; a beat comes every second
        self.asked = asyncio.Event()  # set by the first beat, or by the first attempt that failed
        self.live = asyncio.Event()  # set by the first beat: what the host had before has been read
        self._run = run
        self._verbs = verbs
        self._experiment = experiment
        self._emit = emit
        self._ended = False  # said on the connection under way, or the last one
        self._unreadable = False  # something on it could not be read
        self._lateness = Lateness(0.0)  # of the beats of the connection under way
        self._printed = PrintedFollower(host, verbs=verbs, experiment=experiment, emit=emit, say=self._keep)

    async def run(self) -> str:
        """The end state of the run on this host. Goes on trying as long as the host can't be reached."""
        delays, rereads = backoff(), 0
        while True:
            self._ended = self._unreadable = False
            try:
                await (self._attach() if self._verbs.hosts.take_commands else self._follow_printed())
                if self._experiment.stale(self.host):  # the copy was taken over since the last line came
                    continue
                if self._ended and (not self._unreadable or rereads == REREADS):
                    if self.state["state"] == "lost" and self.state.get("cause"):
                        self._say(f"this host was cut off from the run: {clean(str(self.state.get('cause')))}", "error")
                    return str(self.state["state"])
                rereads += self._ended
                delays = backoff()
            except HostError as error:
                if self.up:  # it was there until now: no reason to wait longer than the first time
                    delays = backoff()
                self.asked.set()
                self._link(False, error.cause)
                if isinstance(error, CommandFailed) and not self.state:
                    self._say(error.cause)
                if self._verbs.hosts.take_commands and (end_state := await self._last_words()):
                    self.state = end_state
                    self.live.set()
                    return str(self.state["state"])
            await asyncio.sleep(next(delays))

    async def catch_up(self) -> None:
        """After the end, once: what this console was shown, and is to keep by now. Nothing where there is no answer."""
        if self._experiment.stale(self.host):
            with contextlib.suppress(HostError, asyncio.TimeoutError):
                await asyncio.wait_for(self._attach(), CATCH_UP_S)

    async def _attach(self) -> None:
        """One connection's worth of following; returns when the other side has ended it, or is to be asked anew."""
        connection = await self._verbs.connection(self.host)
        if connection.instance not in ("", instance_of(self._experiment, self.host)):
            await self._last_words()
        met(self._experiment, self.host, connection.instance)
        argv = self._verbs.argv(self.host, "attach", "--run", self._run, "--host", self.host)
        async with connection.stream(argv, cwd=self._verbs.tree.folder) as process:
            wanted = self._experiment.wanted(self.host, several=connection.moves)
            self._lateness = Lateness(asyncio.get_running_loop().time())
            await process.write(json.dumps(wanted).encode() + b"\n")
            lines = process.lines()
            while True:
                # Not wait_for, which below Python 3.12 can swallow the cancellation when a line comes with it.
                coming = asyncio.ensure_future(lines.__anext__())
                try:
                    if not (await asyncio.wait({coming}, timeout=STALE_S))[0]:
                        self._link(False, "no sign of life")
                        return
                finally:
                    await end([coming])
                try:
                    line = coming.result()
                except StopAsyncIteration:
                    break
                self._take(line)
                if self._experiment.stale(self.host):
                    self._ended = False
                    return
            if code := await process.wait():
                said = process.stderr_tail.splitlines()[-1:] or [f"exit code {code}"]
                raise CommandFailed(self.host, f"following the run failed: {said[0]}", "The run itself may go on.")

    async def _follow_printed(self) -> None:
        """The same of a host on which no command can be run."""
        quiet = False
        async with contextlib.aclosing(self._printed.follow()) as told:
            async for said in told:
                self.heard_at = asyncio.get_running_loop().time()
                if isinstance(said, Beat):
                    self.state = clean_table(said.state)
                    self._ended = self.state.get("state") in END_STATES
                    offset_s = said.time - time.time() if quiet else 0.0
                else:
                    quiet, offset_s = True, 0.0
                    self.live.set()
                    self.asked.set()
                if quiet:
                    self._link(True, "followed by kubectl logs", offset_s=offset_s)
                if quiet and self._ended:
                    return

    async def _last_words(self) -> dict[str, Any]:
        """What a machine that has ended told last is read; its `state` where it had said how the run ended there."""
        found: dict[str, Any] = {}
        with contextlib.suppress(HostError):
            async for beat in self._printed.last_words():
                found = clean_table(beat.state) if beat.state.get("state") in END_STATES else {}
        return found

    def _take(self, line: bytes) -> None:
        """Raises CommandFailed when what came before the line was lost on the way: it has to be asked for again."""
        self.heard_at = asyncio.get_running_loop().time()
        try:
            record = decode(line)
        except WireError as error:
            self._unreadable = True
            self._say(f"unreadable line from attach: {clean(str(error))}")
            return
        if isinstance(record, Beat):
            self.state = clean_table(record.state)
            self._ended = self.state.get("state") in END_STATES
            self.live.set()
            self.asked.set()
            late_s = self._lateness.of(self.heard_at, record.time)
            self._link(True, "connected", offset_s=record.time - time.time(), late_s=late_s)
            for partial in partial_lines(self.host, record.tails):
                self._emit(partial)
        elif isinstance(record, Folder):
            self._experiment.reads(self.host, record.id)
        elif isinstance(record, Chunk):
            if self._experiment.lacks(self.host, record):
                raise CommandFailed(self.host, f"a part of {clean(record.file)} was lost on the way", "It comes again.")
            self.up = True  # what a host sends says that it is there; its first beat may come after the lines it has
            for kept in self._experiment.take(self.host, record):
                self._emit(kept)

    def _keep(self, text: str) -> None:
        self._say(text, kept=True)

    def _link(self, up: bool, text: str, *, offset_s: float = 0.0, late_s: float = 0.0) -> None:
        if up or self.up or not self.state:
            self._emit(Link(host=self.host, up=up, text=text, clock_offset_s=offset_s, clock_late_s=late_s))
        self.up = up

    def _say(self, text: str, level: Level = "warning", *, kept: bool = False) -> None:
        event = Event(time=time.time(), host=self.host, source="console", kind="note", text=text, level=level)
        if kept:
            self._experiment.note(event)
        self._emit(event)


async def all_heard(followers: Iterable[HostFollower], *, patient: bool) -> None:
    """Until each has sent what it had; unless `patient`, or could not be reached."""
    for follower in followers:
        await (follower.live if patient else follower.asked).wait()
