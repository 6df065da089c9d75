"""The life of a run as the app sees it: one session at a time, its store, and how it ends. No UI.

    life = Life(plan, time.time, ask)
    await life.first()     # launch or attach, then until the run ends
    await life.stop("x in the console")
    outcome = await life.leave()

Errors that a user can meet become problems in the store; others are raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from motley.console.control import questions
from motley.console.control.cluster_watch import problem
from motley.console.control.problems import problems_of
from motley.console.control.questions import Question
from motley.console.control.run_start import RunStart
from motley.console.control.session_protocol import Emit, Opened, Outcome, Plan, SessionLike, ended, half_stopped, left
from motley.console.state.snapshot import Snapshot
from motley.console.state.store import Store
from motley.console.view.run_lines import offer
from motley.remote.end_tasks import end
from motley.remote.errors import MotleyError
from motley.remote.feed import Ended, FeedRecord, ToldAnew
from motley.remote.ssh.new_host_keys import Ask, nobody

CLOSE_S = 5.0  # that leaving may take


def _given(opened: Opened) -> Callable[[Emit, Ask], Awaitable[Opened]]:
    async def give(_emit: Emit, _ask: Ask) -> Opened:
        return opened

    return give


class RunLife:
    def __init__(self, plan: Plan, clock: Callable[[], float], ask: Ask = nobody) -> None:
        """`ask` is asked about host keys that nobody knows yet."""
        self.store = Store(readonly=plan.readonly, paste=plan.paste)
        self.fresh = True  # nothing was started yet
        self._plan = plan
        self._clock = clock if plan.playback is None else plan.playback.now
        self._ask = ask
        self._session: SessionLike | None = None
        self._on_hosts = False  # ranks were started, or found
        self._resume: str | None = None  # what the newest run was to go on from
        self._start: RunStart | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._outcome = Outcome(code=0)
        self._finishing: set[asyncio.Task[None]] = set()  # runs that another one has followed

    @property
    def folder(self) -> str:
        return str(self._session.folder) if self._session is not None else ""

    def snapshot(self) -> Snapshot:
        snapshot, playback = self.store.snapshot(), self._plan.playback
        return snapshot if playback is None else replace(snapshot, playback=playback.view())

    def now(self) -> float:
        """The clock of what is shown: that of its run, in a replay."""
        return self._clock()

    async def first(self) -> None:
        """What the command line asked for, until the run ends."""
        await self._live(self._plan.open, attach=self._plan.attach, resume=self._plan.resume)

    async def again(self) -> None:
        """A new run, from the beginning, until it ends."""
        await self._live(self._plan.renew, attach=False, resume=None)

    async def restart(self) -> None:
        """A new run in place of the one on the screen, from its newest checkpoint (`to_resume`), until it ends.

        Where the processes on the hosts can stay, torch is not imported again; else the log says why not.
        """
        resume, old = self.to_resume(), self._session
        if not self.snapshot().live:
            await self._live(self._plan.renew, attach=False, resume=resume)
            return
        store = Store(paste=self._plan.paste)
        store.begin(self._clock())
        renewed: Opened | None = None
        cold = ""
        if old is not None and self._on_hosts:
            try:
                renewed = await self._plan.renew(lambda record: store.apply(record, self._clock()), self._ask)
            except MotleyError as error:  # cluster.toml, most likely
                await self._keep_on(old, error)
                return
            self.store.stopping()
            try:
                why = await renewed.session.take_over(old, resume=resume)
            except MotleyError as error:
                renewed, why = None, str(error)
            except asyncio.CancelledError:  # the console closes
                await renewed.session.close()
                raise
            if not why and renewed is not None:
                self._resume = resume
                await self._go_on(store, renewed, old)
                return
            cold = why
        await self.stop("r in the console")
        opener = _given(renewed) if renewed is not None else self._plan.renew
        await self._live(opener, attach=False, resume=resume, store=store, why_cold=cold)

    async def _go_on(self, store: Store, renewed: Opened, old: SessionLike) -> None:
        """The new run has begun in place of the old one, whose last files are fetched meanwhile."""
        self.store, self._session = store, renewed.session
        store.learn(speeds=renewed.speeds, epochs=renewed.epochs)
        self._outcome = Outcome(code=0)
        self._finishing.add(asyncio.ensure_future(self._finish(old)))
        try:
            self._end(renewed.session.run, await renewed.session.wait())
        except MotleyError as error:
            self._failed(store, error)

    async def _keep_on(self, session: SessionLike, error: MotleyError) -> None:
        """There can be no new run, so the one that is on stays. What is wrong is shown."""
        for wrong in problems_of(error, again="r restarts"):
            self.store.note(f"{wrong.host}: {wrong.cause}" if wrong.host else wrong.cause, self._clock(), "error")
        self.store.note(f"'{session.run}' goes on as it was: it was not restarted", self._clock(), "warning")
        try:
            self._end(session.run, await session.wait())
        except MotleyError as later:
            self._failed(self.store, later)

    async def _finish(self, old: SessionLike) -> None:
        try:
            await old.wait()
        except (MotleyError, asyncio.CancelledError) as error:
            rest = self._plan.paste("attach", old.run)
            text = f"'{old.run}' is not complete here: {rest} fetches the rest"
            self.store.note(f"{text} ({error})" if str(error) else text, self._clock(), "warning")
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            await old.close()

    def to_resume(self) -> str | None:
        """The run that a restart goes on from: the one on the screen, unless it has finished. One that made no step, or
        of a script that tells of none has left no results, has what it was to go on from itself."""
        snapshot = self.snapshot()
        if snapshot.state == "finished":
            return None
        made = snapshot.has_results if snapshot.script else snapshot.step
        return snapshot.run if snapshot.run and made else self._resume

    async def stop(self, reason: str) -> None:
        """Stop the run, or what has begun of its start. An error is shown and the run goes on."""
        if self._stopping is None or self._stopping.done():
            self.store.stopping()
            self._stopping = asyncio.ensure_future(self._stop(reason))
        await self._stopping

    async def _stop(self, reason: str) -> None:
        start = self._start
        try:
            if start is not None and not self._on_hosts:
                await start.give_up()
                if start.failed:  # `_live` tells of it
                    return
            session = self._session
            if session is None:
                self._end("", Ended(state="stopped"))
            else:
                self._end(session.run, await session.stop(reason))
        except MotleyError as error:
            self.store.unstopped(problems_of(error), self._clock())

    def look(self) -> None:
        """Whether cluster.toml has changed while the run trains: hosts that are new in it are offered."""
        file, now = self._plan.file, self._clock()
        found = file.look() if file is not None and self.snapshot().phase == "running" else None
        if found is None:
            return
        if found.problems:
            self.store.note(problem(found), now, "warning")
        elif new := self.store.offer(found.hosts):
            self.store.note(offer(new), now)

    async def bring_in(self, hosts: Sequence[str]) -> None:
        """Bring hosts of cluster.toml into the run. What is wrong with one is shown, and the run goes on."""
        for name in hosts:
            if self._session is None:
                return
            self.store.settle(name, ())
            try:
                await self._session.join(name)
            except MotleyError as error:
                self.store.settle(
                    name, [replace(p, host=name) for p in problems_of(error, again="j brings the host in")]
                )
                self.store.note(f"{name} was not brought in; the run goes on as it was", self._clock(), "error")

    async def checkpoint(self) -> str:
        """Have the run write a checkpoint at the end of its step. Returns what came of it, in a line."""
        if self._session is None:
            return "nothing runs"
        self.store.note("a checkpoint was asked for: it is written at the end of the step", self._clock())
        try:
            text, level = (await self._session.checkpoint()).told(), "info"
        except MotleyError as error:
            text, level = f"no checkpoint: {error}", "error"
        self.store.note(text, self._clock(), "error" if level == "error" else "info")
        return text

    def before_leaving(self) -> Question | None:
        """The question to ask before leaving, where leaving does more than closing the console."""
        return questions.leave(self.snapshot(), begins=self._begins)

    @property
    def _begins(self) -> bool:
        """Whether a new run is about to begin on the hosts."""
        return not self._on_hosts and self._start is not None and not self._start.finds

    async def leave(self, *, answered: Question | None = None) -> Outcome:
        """Close the session; the run goes on, unless it was not on the hosts yet, or that it stops was `answered`.

        Where nobody can be asked, as the terminal is gone, a stop that has begun comes first."""
        if answered is None and self._stopping is not None:
            await asyncio.wait([self._stopping])
        snapshot, session = self.snapshot(), self._session
        outcome = self._outcome
        if self._plan.playback is not None:  # nothing is left behind
            pass
        elif snapshot.live and session is not None:
            if snapshot.phase == "stopping" and not self._plan.readonly:
                outcome = half_stopped(session.run, self._plan.paste)
            elif not self._begins and answered != questions.BEFORE_START:
                outcome = left(session.run, self._plan.paste)
            else:
                await self.stop("left before it started")
                outcome = half_stopped(session.run, self._plan.paste) if self.snapshot().live else self._outcome
        await self._close()
        return outcome

    async def _live(
        self,
        opener: Callable[[Emit, Ask], Awaitable[Opened]],
        *,
        attach: bool,
        resume: str | None,
        store: Store | None = None,
        why_cold: str = "",
    ) -> None:
        """`store`: that of a session which was opened already; `why_cold`: why this is no warm restart."""
        await self._close()
        store = self.store = store or Store(readonly=self._plan.readonly, paste=self._plan.paste)
        store.begin(self._clock())
        self.fresh = False
        self._on_hosts, self._resume = False, resume
        self._outcome = Outcome(code=0)

        def hear(opened: Opened) -> None:
            store.learn(speeds=opened.speeds, epochs=opened.epochs)
            self._session = opened.session

        start = self._start = RunStart(
            lambda: opener(self._into(store), self._ask), hear, attach=attach, resume=resume, why_cold=why_cold
        )
        try:
            session = await start.session()
            self._on_hosts = True
            self._end(session.run, await session.wait())
        except MotleyError as error:
            self._failed(store, error)
        except asyncio.CancelledError:
            if not start.was_given_up:  # else `stop` tells of it
                raise

    def _into(self, store: Store) -> Emit:
        """What keeps records in the store; of a run that is told anew in another one, which is shown from then on."""
        if self._plan.playback is None:
            return lambda record: store.apply(record, self._clock())

        def hear(record: FeedRecord) -> None:
            if isinstance(record, ToldAnew):
                self.store = Store(readonly=True)
                self.store.begin(self._clock())
            else:
                self.store.apply(record, self._clock())

        return hear

    def _failed(self, store: Store, error: MotleyError) -> None:
        if store.snapshot().phase == "ended":  # it was stopped meanwhile; what broke after that is no news
            return
        again = "attach again" if self._plan.readonly else "s starts"
        store.fail(problems_of(error, again=again), self._clock())
        self._outcome = Outcome(code=error.exit_code, text=str(error))

    def _end(self, run: str, record: Ended) -> None:
        if self.store.snapshot().phase != "ended":
            self.store.apply(record, self._clock())
        self._outcome = ended(run, record, self._plan.paste)

    async def _close(self) -> None:
        if self._finishing:  # they use the connections of the session that followed them
            await asyncio.wait(self._finishing, timeout=CLOSE_S)
            await end(self._finishing)
            self._finishing.clear()
        await end([self._stopping] if self._stopping is not None else [])
        if self._start is not None:
            await self._start.close()
        session, self._session = self._session, None
        if session is not None:
            try:
                await asyncio.wait_for(session.close(), CLOSE_S)
            except asyncio.TimeoutError:
                self.store.note(f"the connections of '{session.run}' did not close in {CLOSE_S:.0f} s", self._clock())
