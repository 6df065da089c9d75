"""The hosts of a session's run: there before it, given back after it. Of most clusters they are there anyway.

>>> async with run_hosts.starting() as cluster:     # hosts that can be connected to
...     await RunStart(cluster, …).start(resume=None)
>>> await run_hosts.give_back()
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from motley.remote.config.cluster import Cluster, Host
from motley.remote.diagnosis.heard import NOT_BEGUN
from motley.remote.end_tasks import end
from motley.remote.errors import HostError, RunFailed, UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.experiment.fetch import final_summary
from motley.remote.experiment.folder import Experiment, experiments_folder
from motley.remote.feed import Ended
from motley.remote.launch.placement import Knows, unknown
from motley.remote.placement.manifests import Manifests, none
from motley.remote.placement.placement import is_placed, placement_of
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.placed.hand_over import HandOver, restarts_of

LOOK_S = 15.0  # between two looks whether hosts of a job are there still
LAST_WORDS_S = 5.0  # for what they have told before to arrive
OTHERS_S = 3.0  # from the end of a run, for other consoles to read it
TAKEN_UP_S = 90.0  # from hosts that are given once more to the run on them
ASK_S = 1.0  # between two looks at them meanwhile


class RunHosts:
    """The hosts of `verbs` are told where they are, `logbook` what is waited for. A console that is `readonly` leaves
    them to the others, or to themselves."""

    def __init__(
        self,
        cluster: Cluster,
        run: str,
        verbs: Verbs,
        logbook: ExperimentWriter,
        *,
        knows: Knows = unknown,
        readonly: bool = False,
    ) -> None:
        self._readonly = readonly
        self.are_placed = is_placed(cluster)
        self._folder = experiments_folder(cluster) / run
        self._placement = placement_of(cluster, run)
        self._run, self._verbs, self._knows = run, verbs, knows
        self._hosts, self._logbook = verbs.hosts, logbook
        self._coming: asyncio.Task[bool] | None = None  # hosts that are given once more
        self._came_at = -math.inf

    @asynccontextmanager
    async def starting(self, manifests: Manifests = none) -> AsyncIterator[Cluster]:
        """The cluster as it is reached. When the block fails they are given back, unless they were there before.
        `manifests`: of hosts that start the run by themselves.

        Raises UsageError for a name that is taken here, before anybody waits for hosts, and what `place` does.
        """
        if self.are_placed and self._folder.exists():
            raise UsageError(f"{self._folder} is there already: choose another name with --name")
        cluster = await self._placement.place(self._say, manifests)
        try:
            self._hosts.adopt(cluster)
            yield cluster
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._abandon()))
            raise

    async def found(self) -> Cluster:
        """The same of a run that there is; what its hosts lack of it is brought to them, where it came home. Raises
        UsageError when they are gone, RunFailed when they can't have it."""
        cluster = await self._placement.found(self._say)
        self._hosts.adopt(cluster)
        if restarts_of(cluster) and self._folder.exists():
            experiment = Experiment.open(self._folder)
            try:
                await self._hand_over(experiment, begun=False)
            finally:
                experiment.close()
        return cluster

    async def _hand_over(self, experiment: Experiment, *, begun: bool) -> None:
        """By the console that keeps the run: the others leave it to that one."""
        if self._readonly or not experiment.writable:
            return
        emit, note = self._logbook.emit, self._logbook.note
        over = HandOver(self._verbs, self._run, self._folder, knows=self._knows, emit=emit, note=note)
        await over.look(begun=begun)

    async def give_back(self) -> None:
        self._told(await self._placement.end(self._say))

    async def _abandon(self) -> None:
        self._told(await self._placement.abandon(self._say))

    def _told(self, left: str) -> None:
        if left:
            self._logbook.note(left, "error")

    @asynccontextmanager
    async def watched(self, alongside: asyncio.Future[None]) -> AsyncIterator[asyncio.Future[None]]:
        """What fails as `alongside` does, or with RunFailed when the hosts are gone, which nobody there can tell."""
        if not self.are_placed:
            yield alongside
            return
        looking = asyncio.ensure_future(self._look())
        both = asyncio.ensure_future(_first(alongside, looking))
        try:
            yield both
        finally:
            await end([both, looking, *([self._coming] if self._coming is not None else [])])

    async def taken_up(self) -> bool:
        """Whether a run that has ended, without anybody's word, goes on with hosts that are given once more. Waits for
        them. Raises RunFailed when they are not to come after all."""
        if asyncio.get_running_loop().time() - self._came_at < TAKEN_UP_S:
            await asyncio.sleep(ASK_S)
            return True
        if self._coming is None or self._coming.done():
            self._coming = asyncio.create_task(self._come())
        return await asyncio.shield(self._coming)

    async def _come(self) -> bool:
        try:
            cluster = await self._placement.again(self._say)
        except HostError as error:
            raise RunFailed(f"the run was to go on in another job: {error}") from error
        if cluster is None:
            return False
        for host in cluster.hosts:
            await self._hosts.put(host)
        try:
            await self._hand_over(self._logbook.experiment, begun=True)
        except RunFailed:
            await self.over()  # nobody has use for them
            raise
        self._came_at = asyncio.get_running_loop().time()
        return True

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(HostError):  # the way to it; it is asked again
                if await self._placement.is_anew():
                    self._came_at = -math.inf  # not those that came a moment ago
                    await self.taken_up()
                    continue
                state = await self._placement.state()
                if state.phase == "gone":
                    await asyncio.sleep(LAST_WORDS_S)
                    await self.over()  # what is left of them
                    raise RunFailed(f"the hosts of the run are gone: {state.says}\n  {state.remedy}")

    async def over(self, summary: dict[str, Any] | None = None) -> None:
        """The run has ended. A console that only watches leaves them to the others, or to themselves.

        What their scheduler has counted goes into the summary; None: there is none to come.
        """
        if self._readonly:
            return
        if self.are_placed and summary is not None:  # who else follows it is to hear of its end before they are gone
            await asyncio.sleep(OTHERS_S)
        await self.give_back()
        if self.are_placed and summary is not None and (counted := await self._placement.accounts(self._say)):
            self._logbook.add_to_summary(summary, counted)

    def placed(self, host: Host) -> Host:
        """A host as cluster.toml has it now. Raises UsageError where it is none of those that the run was given."""
        if self.are_placed:
            self._hosts.named(host.name)
        return host

    def _say(self, text: str) -> None:
        self._logbook.note(text, kind="placing")


async def _first(*tasks: asyncio.Future[None]) -> None:
    """Ends as the first of them does."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def never_began(run: str, hosts: Sequence[str], silent: tuple[str, ...]) -> Ended:
    """The end of a run that was stopped before there was anything to follow; `silent` hosts did not answer."""
    states = dict.fromkeys((name for name in hosts if name not in silent), "stopped")
    summary = final_summary(run, None, states, list(hosts), stopping=True, heard=NOT_BEGUN)
    return Ended(state="stopped", summary=summary, unanswered=silent)
