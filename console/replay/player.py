"""A run told again: the session of a replay, and what its keys ask of it. It reads files, asks no host, writes nothing.

    player = Player(Timeline(past), speed=10.0)
    plan = Plan(cluster=..., open=player.opened, renew=player.opened, attach=True, readonly=True, playback=player)

Records come as they came then, by the clock of the run: so many times as fast, as long as this machine keeps up.
Where nothing was told for long, a replay waits for `IDLE_S` and goes on with what came next.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from motley.console.control.session_protocol import Emit, Opened, SessionLike
from motley.console.replay.timeline import Moment, Timeline
from motley.console.state.event_data import number
from motley.console.state.snapshot import Playback
from motley.remote.errors import UsageError
from motley.remote.experiment.records import grouped
from motley.remote.feed import Ended, StepsBefore, ToldAnew
from motley.remote.session.checkpoint_now import Written
from motley.remote.ssh.new_host_keys import Ask
from motley.trainer.contract.wire import Event, Reading, Sample

TICK_S = 0.1
IDLE_S = 3.0  # of waiting for what comes next
MOST = 1000  # records that are told at once; with more to tell the run's clock goes slower than it was asked to
CURVES_S = 0.3  # until the curves of all steps are read: the first picture comes before
LOOK_S = 1.0  # between two looks at a folder that may grow
SLOWEST, FASTEST = 1 / 16, 4096.0
FARTHEST = 200_000  # records that one step may take to come

Curves = tuple[tuple[int, float, float, float, int], ...]  # as `feed.StepsBefore` has them


class Player:
    """`at`: the step to begin with. `real` is the clock that playing goes by, in seconds. `curves` reads what all steps
    were, of a run whose figures are too many to be told again at each seek; it runs in a thread."""

    def __init__(
        self,
        timeline: Timeline,
        *,
        speed: float = 1.0,
        at: int | None = None,
        real: Callable[[], float] = time.monotonic,
        curves: Callable[[], Curves] = tuple,
    ) -> None:
        self.speed, self.paused = speed, False
        self._timeline, self._begin_at, self._real, self._read_curves = timeline, at, real, curves
        self._curves: Curves = ()
        self._emit: Emit = lambda _: None
        self._moment: Moment | None = None
        self._at = 0.0
        self._before = self._idle = self._looked = 0.0
        self._made: dict[int, int] = {}  # the newest step of each member
        self._group: frozenset[int] = frozenset()
        self._over = False  # its end was told
        self._reading: asyncio.Task[None] | None = None

    # As a session

    @property
    def run(self) -> str:
        return self._timeline.past.name

    @property
    def folder(self) -> Path:
        return self._timeline.past.folder

    async def opened(self, emit: Emit, _: Ask) -> Opened:
        self._emit = emit
        return Opened(session=self)

    async def attach(self) -> None:
        """Read what is needed to begin. Raises UsageError when it can't be read."""
        try:
            await asyncio.to_thread(self._timeline.load)
            begin = self._timeline.first if self._begin_at is None else self._timeline.at_step(self._begin_at)
            self._go_to(begin)
        except OSError as error:
            raise UsageError(f"{error.filename or self.folder} can't be read: {error.strerror}") from error
        if self._begin_at is not None:
            self._reach(self._begin_at)
        if not self._timeline.small:
            self._reading = asyncio.ensure_future(self._with_curves())
        self._before = self._real()

    async def wait(self) -> Ended:
        """Plays until the console is left: a replay that is at its end can go back."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._moment is not None:
            self._moment.tape.close()
        self._timeline.close()

    async def launch(self, *, resume: str | None = None, why_cold: str = "") -> None:
        del resume, why_cold
        raise self._none()

    async def take_over(self, old: SessionLike, *, resume: str | None) -> str:
        del old, resume
        raise self._none()

    async def join(self, name: str) -> None:
        del name
        raise self._none()

    async def checkpoint(self) -> Written:
        raise self._none()

    async def stop(self, reason: str) -> Ended:
        del reason
        raise self._none()

    def _none(self) -> UsageError:
        return UsageError(f"this is a replay of '{self.run}': no host is asked, nothing is changed")

    # What its keys ask

    def now(self) -> float:
        """The run's clock: seconds since 1970."""
        return self._at

    def view(self) -> Playback:
        line = self._timeline
        return Playback(at=self._at, first=line.first, last=line.last, speed=self.speed, paused=self.paused)

    def pause(self) -> None:
        self.paused = not self.paused
        self._before = self._real()

    def change_speed(self, factor: float) -> None:
        self.speed = min(FASTEST, max(SLOWEST, self.speed * factor))

    def step(self) -> None:
        """On to the end of the next step, and no further."""
        self.paused = True
        self._reach(self.made() + 1)

    def step_back(self) -> None:
        """To the end of the step before."""
        self.paused = True
        before = self.made() - 1
        with contextlib.suppress(OSError):  # the disk refuses: the replay stays where it is
            self._go_to(self._timeline.at_step(before) if before > 0 else self._timeline.first)
            if before > 0:
                self._reach(before)

    def seek(self, part: float) -> None:
        """Forward, or back, by a part of the run."""
        with contextlib.suppress(OSError):
            self.jump(min(1.0, max(0.0, self._timeline.part_at(self._at) + part)))

    def jump(self, part: float) -> None:
        """To where so much of the run was done: 0 is its beginning, 1 its end."""
        with contextlib.suppress(OSError):
            self._go_to(self._timeline.at_part(part))

    # Telling

    def made(self) -> int:
        """The newest step that all of the group have made, by what was told."""
        steps = [self._made.get(member, 0) for member in self._group] or list(self._made.values())
        return min(steps, default=0)

    def tick(self) -> None:
        """Tell what has become due since the last time."""
        now, before = self._real(), self._before
        self._before = now
        if self.paused or self._moment is None:
            return
        tape, passed = self._moment.tape, now - before
        due = tape.time()
        if due is None:
            self._at_end(now)
            return
        target = self._at + passed * self.speed
        self._idle = 0.0 if due <= target else self._idle + passed
        if self._idle >= IDLE_S:
            target, self._idle = max(target, due), 0.0
        if self._tell_until(target, MOST):
            self._at = max(self._at, target)

    def _at_end(self, now: float) -> None:
        """All that is here was told: the run is over, or its folder grows."""
        assert self._moment is not None
        if self._over or now - self._looked < LOOK_S:
            return
        self._looked = now
        self._moment.tape.listen()
        if self._moment.tape.time() is None and (state := self._timeline.state):
            self._over = True
            self._emit(Ended(state=state, summary=self._timeline.past.summary))
        else:
            self._timeline.look()

    def _tell_until(self, at: float, most: int) -> bool:
        """What was told up to a time. False when that is too much at once: the clock is where it came to then."""
        assert self._moment is not None
        tape = self._moment.tape
        for _ in range(most):
            due = tape.time()
            if due is None or due > at:
                return True
            self._at = max(self._at, due)
            self._tell(tape.take())
        return False

    def _reach(self, step: int) -> None:
        """Tell until all of the group have made a step."""
        assert self._moment is not None
        for _ in range(FARTHEST):
            due = self._moment.tape.time()
            if due is None or self.made() >= step:
                break
            self._at = max(self._at, due)
            self._tell(self._moment.tape.take())
        if self._moment.tape.time() is None:
            self._at_end(self._looked + LOOK_S)
        self._before = self._real()

    def _tell(self, record: object) -> None:
        if isinstance(record, (Sample, Reading)):
            self._made[record.member] = record.step
        elif isinstance(record, Event) and record.kind == "group":
            members = [number(row.get("member")) for row in grouped(record)]
            self._group = frozenset(int(member) for member in members if member is not None) or self._group
        self._emit(record)  # type: ignore[arg-type]

    def _go_to(self, at: float) -> None:
        """Begin anew, with what had been told by a time."""
        moment = self._timeline.moment(at)
        if self._moment is not None:
            self._moment.tape.close()
        self._moment = moment
        self._made, self._over, self._idle, self._looked = {}, False, 0.0, 0.0
        self._at = self._timeline.first
        self._emit(ToldAnew())
        self._emit(self._timeline.layout())
        for event in moment.events:
            self._at = max(self._at, event.time)
            self._tell(event)
        if not moment.whole:
            self._emit(StepsBefore(steps=tuple(step for step in self._curves if step[0] < moment.step)))
        self._tell_until(at, FARTHEST)
        self._at = max(self._at, at)
        if moment.tape.time() is None:
            self._at_end(LOOK_S)
        self._before = self._real()

    async def _with_curves(self) -> None:
        """Once the curves of all steps are known, they are shown: where the replay is, and wherever it goes."""
        await asyncio.sleep(CURVES_S)
        self._curves = await asyncio.to_thread(self._read_curves)
        if self._moment is not None and not self._moment.whole:
            with contextlib.suppress(OSError):
                self._go_to(self._at)
