"""All hosts of a run, followed to its end: who is heard, who comes back, and when the run is over.

The leader's end is the run's. Hosts that were cut off and answer again while it goes on are brought back into it; those
that never heard of the end are told. When the leader's host is gone, another one leads (`remote.session.failover`).

    following = Following(verbs, "night", "box1", experiment, emit=store.apply, note=say)
    following.start(["box1", "box2"])
    await following.until_over()
    following.states()             # {"box1": "finished", "box2": "finished"}
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from motley.remote.end_tasks import end
from motley.remote.errors import HostError, MotleyError, Unreachable
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.records import grouped
from motley.remote.feed import FeedRecord, Link
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.failover import Failover
from motley.remote.session.follow_host import HostFollower, all_heard
from motley.remote.session.join_host import named_in
from motley.remote.session.leader_silence import LeaderSilence
from motley.remote.ssh.connection import backoff
from motley.trainer.contract.wire import END_STATES, Event

QUICK_WORDS_S = 5.0  # after the leader has ended, other hosts have this long to end by themselves
GONE_S = 4.0  # without a word from the leader, before another host takes its place
GONE_FOR_ALL_S = 2.5  # the same, when no host that is reached can reach it either
SETTLE_S = 1.0  # that a console which was cut off itself waits even if none of all the others can
TICK_S = 0.25
TELL_S = 1.0  # between two attempts to tell hosts who leads
LAST_WORDS_S = 15.0  # and those that answer so much longer to be read to their end

Stop = Callable[[Sequence[str], str], Awaitable[object]]


class Note(Protocol):
    def __call__(self, text: str, level: Any = "info", /) -> object: ...


class RunFollower:
    """One follower a host. `stop(hosts, reason)` is how hosts are told of an end that they did not hear of; `taken_up`
    says, in its time, whether a run that has ended without anybody's word goes on with hosts that are given anew."""

    def __init__(
        self,
        verbs: Verbs,
        run: str,
        leader: str,
        experiment: Experiment,
        reform: Failover,
        *,
        emit: Callable[[FeedRecord], None],
        note: Note,
        stop: Stop,
        taken_up: Callable[[], Awaitable[bool]],
    ) -> None:
        self.stopping = False
        self.revives = True  # brings back hosts that were cut off
        self.acts = True  # False: it only looks, and leaves all that keeps the run going to other consoles
        self.stopped = asyncio.Event()  # every host that was asked to stop has answered, or its time is over
        self._verbs, self._run = verbs, run
        self.leader = leader
        self._reform = reform
        self._silence = LeaderSilence(0.0)  # of the leader, on the loop's clock
        self._telling_due = 0.0
        self._dropped: set[str] = set()  # taken out of the run: they stay away until they are let in again
        self._grouped: set[str] = set()  # hosts that a group was formed with while they were followed
        self._strangers: set[str] = set()  # hosts of the run that were not known here when it was found
        self._telling: set[asyncio.Task[Any]] = set()
        self._experiment = experiment
        self._pass_on = emit
        self._note = note
        self._stop = stop
        self._taken_up = taken_up
        self._followers: dict[str, HostFollower] = {}
        self._tasks: dict[str, asyncio.Task[str]] = {}
        self._closed = False  # what is still heard begins nothing any more

    @property
    def hosts(self) -> list[str]:
        return list(self._followers)

    @property
    def is_over(self) -> bool:
        """Whether the host that leads has said that the run has ended."""
        return self._followers[self.leader].state.get("state") in END_STATES

    async def silent(self) -> list[str]:
        """Hosts that are not heard at the moment, or have ended. Those not asked yet get the time to answer."""
        await self.caught_up(patient=False)
        return [name for name, follower in self._followers.items() if not follower.up or self._tasks[name].done()]

    def start(self, names: Iterable[str]) -> None:
        self._silence.restart(asyncio.get_running_loop().time())
        for name in names:
            self.follow(name)

    def follow(self, name: str) -> None:
        """Follow a host; one that has come later too, or has come back after its end."""
        task = self._tasks.get(name)
        if self.stopping or self._closed or (task is not None and not task.done()):
            return
        if name not in self._followers:
            self._followers[name] = HostFollower(
                name, self._run, verbs=self._verbs, experiment=self._experiment, emit=self._emit
            )
        self._reform.admit(name)
        self._tasks[name] = asyncio.create_task(self._life_of(self._followers[name]), name=name)

    async def caught_up(self, *, patient: bool) -> None:
        """Until every host has sent what it had: its first sign of life comes after that. When `patient`,
        those that can't be reached at once are waited for too, for a while."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(all_heard(list(self._followers.values()), patient=patient), LAST_WORDS_S)

    async def until_over(self, alongside: asyncio.Future[Any]) -> None:
        """Until the leader has ended, and after it the others; those that did not answer a stop are not waited for.

        Raises what following a host, or the work `alongside`, fails with.
        """
        while not self._is_over():
            running = [task for task in self._tasks.values() if not task.done()]
            done, _ = await asyncio.wait([*running, alongside], timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            for task in [one for one in done if not one.cancelled()]:
                task.result()  # raises what it failed with
            await self._look_for_leader()
        if self.stopping:
            await self.stopped.wait()
        _, left = await asyncio.wait(self._tasks.values(), timeout=QUICK_WORDS_S)
        answering = [task for task in left if self._followers[task.get_name()].up]
        # Hosts that are cut off from the others, and what a supervisor that was killed has left.
        going_on = [task.get_name() for task in answering]
        going_on += [name for name, state in self.states().items() if state == "lost"]
        if going_on and not self.stopping and self.acts:
            await self._stop(going_on, "the run is over")
        if answering:
            await asyncio.wait(answering, timeout=LAST_WORDS_S)

    async def catch_up(self) -> None:
        """This console has taken the experiment over: hosts that have ended are read once more. Others begin anew."""
        await asyncio.gather(*(f.catch_up() for n, f in self._followers.items() if self._tasks[n].done() and f.up))

    def states(self) -> dict[str, str]:
        """The end state of each host that was followed to its end."""
        return {name: task.result() for name, task in self._tasks.items() if task.done() and not task.cancelled()}

    def give_up(self, name: str) -> None:
        """Do not follow a host any further."""
        self._tasks[name].cancel()

    async def close(self) -> None:
        self._closed = True
        await end([*self._tasks.values(), *self._telling])

    async def _life_of(self, follower: HostFollower) -> str:
        """Follow a host to its end; one that was cut off, and is back while the run goes on, joins it again."""
        delays = backoff()
        while True:
            state = await follower.run()
            ended = state in ("stopped", "lost") and not self.stopping and not self._goes_on(follower.host)
            if ended and await self._taken_up():
                continue
            if state == "lost":
                await self._know_leader()
            if state == "lost" and not self._may_come(follower.host) and follower.host in self._grouped:
                self._grouped.discard(follower.host)  # another console may have brought it back just now
                continue
            if state != "lost" or not self._goes_on(follower.host) or not self._may_come(follower.host):
                return state
            await asyncio.sleep(next(delays))  # one that falls out again and again is brought back less often
            try:
                if await self._reform.spread([follower.host]):
                    continue  # it does not know who leads the run now
                await self._verbs.rejoin(follower.host, self._run)
                self._note(f"{follower.host} is back: its ranks start again")
            except Unreachable:
                continue  # the connection was lost meanwhile: it is asked again
            except HostError as error:
                if not await self._at_work(follower.host):
                    self._note(f"{follower.host} can't come back: {error.cause}", "warning")
                    return state

    async def _know_leader(self) -> None:
        """What becomes of a host that was cut off hangs on the one that leads, which may answer later than it."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._followers[self.leader].live.wait(), LAST_WORDS_S)

    def _is_over(self) -> bool:
        """The leader has ended the run; one that was cut off has not, as long as others hold its state."""
        task = self._tasks[self.leader]
        others = all(other.done() for name, other in self._tasks.items() if name != self.leader)
        if not task.done():  # a leader that is another machine, not to be reached from here, never says so
            unasked = self.stopped.is_set() and not self._verbs.hosts.take_commands  # they were ended from outside
            return unasked or (others and any(error.host == self.leader for error in self._verbs.hosts.away))
        return task.cancelled() or task.result() != "lost" or self.stopping or others

    async def _look_for_leader(self) -> None:
        """Name another leader when this one is gone for a while and others hold the state."""
        self._look_who_leads()
        if not self.acts or self.stopping:
            self._silence.restart(asyncio.get_running_loop().time())
            return
        reached = [name for name, follower in self._followers.items() if follower.up]
        self._tell_who_leads(reached)
        if not self._is_gone(reached):
            return
        lead = self._reform.propose(gone=self.leader, reached=reached)
        if lead is None:
            return
        gone = self.leader
        try:
            untold = await self._reform.tell(lead, reached)
        except HostError as error:
            self._note(f"{lead.leader} can't lead the run: {error.cause}", "warning")
            return
        self._note(f"{gone}, which led the run, is gone: {lead.leader} leads it from now on", "warning")
        if untold:
            self._note(f"{', '.join(untold)} could not be told that {lead.leader} leads the run", "warning")
        self._look_who_leads()

    def _is_gone(self, reached: Sequence[str]) -> bool:
        """Whether the leader was silent for long enough, by what the other hosts say of it."""
        silent_s = self._silent_s(reached)
        if not self._reform.all_hold(gone=self.leader, reached=reached):
            return silent_s >= GONE_S
        if {*reached, self.leader} == self._followers.keys():
            return silent_s >= SETTLE_S and self._silence.unheard(asyncio.get_running_loop().time()) >= GONE_FOR_ALL_S
        return silent_s >= GONE_FOR_ALL_S

    def _silent_s(self, reached: Iterable[str]) -> float:
        """For how long the leader was not heard."""
        leading = self._followers[self.leader]
        there = leading.up and leading.state.get("state") != "lost"
        return self._silence.look(
            asyncio.get_running_loop().time(),
            leader=leading.heard_at if there else None,
            others=max((self._followers[name].heard_at for name in reached if name != self.leader), default=None),
        )

    def _tell_who_leads(self, reached: Iterable[str]) -> None:
        """Hosts that may have missed it, until they have answered: two leaders would share out the ranks."""
        now = asyncio.get_running_loop().time()
        untold = self._reform.untold(reached)
        if untold and now >= self._telling_due:
            self._telling_due = now + TELL_S
            self._alongside(self._reform.spread(untold))

    def _alongside(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _look_who_leads(self) -> None:
        """Go by the newest lead that is known: this console's own, or what another one has made it."""
        lead, before = self._reform.lead, self.leader
        if lead is None or lead.leader == before or lead.leader not in self._followers:
            return
        self.leader = lead.leader
        self._silence.restart(asyncio.get_running_loop().time())
        if self._tasks[before].done() and not self.stopping:  # its supervisor had gone: it may come back
            self._tasks[before] = asyncio.create_task(self._life_of(self._followers[before]), name=before)

    def _emit(self, record: FeedRecord) -> None:
        if isinstance(record, Event) and not self._closed:
            self._hear_of_change(record)
            self._reform.hear(record)
            self._look_who_leads()
        if isinstance(record, Link) and record.up and not self._followers[record.host].up:
            self._reform.forget(record.host)  # it may have missed who leads now
        self._pass_on(record)

    def _hear_of_change(self, event: Event) -> None:
        host = str(event.data.get("host"))
        if event.kind == "dropped":
            self._dropped.add(host)
        elif event.kind == "admitted":
            self._dropped.discard(host)
        elif event.kind == "group":
            self._hear_of_group(event)

    def _hear_of_group(self, event: Event) -> None:
        """Another console may have brought hosts in: follow them too."""
        for name in dict.fromkeys(str(member.get("host")) for member in grouped(event)):
            if name in self._followers:
                self._grouped.add(name)
                self.follow(name)
            elif name not in self._strangers:
                self._strangers.add(name)
                self._alongside(self._meet(name))

    async def _meet(self, name: str) -> None:
        hosts = self._verbs.hosts
        try:
            await hosts.put(named_in(hosts.cluster, name))
            self.follow(name)
        except MotleyError as error:
            self._note(f"{name} takes part in the run, but what it says is not seen here: {error}", "warning")

    def _goes_on(self, host: str) -> bool:
        leading = self._followers[self.leader].state.get("state")
        return host != self.leader and leading in ("starting", "running") and not self.stopping

    def _may_come(self, host: str) -> bool:
        return self.revives and self.acts and host not in self._dropped

    async def _at_work(self, host: str) -> bool:
        """Whether a supervisor is there after all: another console may have been first."""
        try:
            runs = await self._verbs.status(host)
        except HostError:
            return True  # it is gone again: the follower waits for it
        return any(run["run"] == self._run and run["state"] in ("starting", "running") for run in runs)
