"""The hosts of a session's run: there before it, given back after it. Of most clusters they are there anyway.

>>> async with run_hosts.starting() as cluster:     # hosts that can be connected to
...     await RunStart(cluster, …).start(resume=None)
>>> await run_hosts.give_back()
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from motley.remote.config.cluster import Cluster, Host
from motley.remote.end_tasks import end
from motley.remote.errors import HostError, RunFailed, UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.experiment.fetch import final_summary
from motley.remote.experiment.folder import experiments_folder
from motley.remote.feed import Ended
from motley.remote.hosts.pool import Hosts
from motley.remote.placement.placement import is_placed, placement_of

LOOK_S = 15.0  # between two looks whether hosts of a job are there still
LAST_WORDS_S = 5.0  # for what they have told before to arrive


class RunHosts:
    """`hosts` are told where they are, `logbook` what is waited for. A console that is `readonly` leaves them to the
    others, or to themselves."""

    def __init__(
        self, cluster: Cluster, run: str, hosts: Hosts, logbook: ExperimentWriter, *, readonly: bool = False
    ) -> None:
        self._readonly = readonly
        self.are_placed = is_placed(cluster)
        self._folder = experiments_folder(cluster) / run
        self._placement = placement_of(cluster, run)
        self._hosts, self._logbook = hosts, logbook

    @asynccontextmanager
    async def starting(self, manifests: Callable[[], str] = str) -> AsyncIterator[Cluster]:
        """The cluster as it is reached. When the block fails they are given back. `manifests`: of hosts that start the
        run by themselves.

        Raises UsageError for a name that is taken here, before anybody waits for hosts, and what `place` does.
        """
        if self.are_placed and self._folder.exists():
            raise UsageError(f"{self._folder} is there already: choose another name with --name")
        cluster = await self._placement.place(self._say, manifests)
        try:
            self._hosts.adopt(cluster)
            yield cluster
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self.give_back()))
            raise

    async def found(self) -> Cluster:
        """The same of a run that there is. Raises UsageError when its hosts are gone."""
        cluster = await self._placement.found(self._say)
        self._hosts.adopt(cluster)
        return cluster

    async def give_back(self) -> None:
        if left := await self._placement.end(self._say):
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
            await end([both, looking])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(HostError):  # the way to it; it is asked again
                state = await self._placement.state()
                if state.phase == "gone":
                    await asyncio.sleep(LAST_WORDS_S)
                    await self.over()  # what is left of them
                    raise RunFailed(f"the hosts of the run are gone: {state.says}\n  {state.remedy}")

    async def over(self) -> None:
        """The run has ended."""
        if not self._readonly:
            await self.give_back()

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
    summary = final_summary(run, None, states, list(hosts), stopping=True)
    return Ended(state="stopped", summary=summary, unanswered=silent)
