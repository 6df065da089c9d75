"""What scripts write, brought home as it settles: from the host of rank 0, or from all (`[run] results_from`).

>>> results = Results(verbs, "night", experiment, say=logbook.warn, note=logbook.note)
>>> results.lay_out(layout)     # whose results are wanted, if any
>>> results.hear(event)         # a group was formed: who has rank 0 now
>>> await results.finish()      # the run is over
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

from motley.remote.end_tasks import end
from motley.remote.errors import HostError, Unreachable
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.records import grouped
from motley.remote.experiment.result_frames import GIB, NoRoom, ResultFrames
from motley.remote.experiment.results_folder import RESULTS, ResultsFolder, has_any
from motley.remote.feed import Layout
from motley.remote.quoting import pasteable
from motley.remote.rpc.results import send_results
from motley.remote.rpc.verbs import Verbs
from motley.remote.ssh.connection import backoff
from motley.trainer.bootstrap import durable
from motley.trainer.contract.wire import Event

STALE_S = 20.0  # without a frame the connection is taken for dead; one comes every second
IDLE_S = 30.0  # that nothing may come in, once the run is over, before what is left is left
UNHEARD_S = 6.0  # the same, of hosts that can't be reached
TELL_S = 10.0  # between two words of how much is here, once the run is over


class Results:
    """Of one run. `say` warns, `note` tells."""

    def __init__(
        self,
        verbs: Verbs,
        run: str,
        experiment: Experiment,
        *,
        say: Callable[[str], object],
        note: Callable[[str], object],
    ) -> None:
        self._verbs = verbs
        self._run = run
        self._attach = pasteable(["motley", "attach", run])
        self._experiment = experiment
        self._say = say
        self._note = note
        self._wanted = ""  # "rank0", "all", or none
        self._hosts: dict[str, float] = {}  # whose results come, and since when it has had rank 0
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        self._kept: dict[str, int] = {}  # files that are here
        self._moved_at = 0.0  # when something came in, on the loop's clock
        self._up: set[str] = set()
        self._full = False
        self._any = False  # files are here, of whichever time

    def lay_out(self, layout: Layout) -> None:
        self._wanted = layout.results

    def hear(self, event: Event) -> None:
        """An event of the run: a group was formed, perhaps, so that its scripts run."""
        known = [host.name for host in self._verbs.hosts.cluster.hosts]
        members = [host for member in grouped(event) if (host := str(member.get("host"))) in known]
        if event.kind != "group" or not self._wanted or not members:
            return
        for host in dict.fromkeys(members if self._wanted == "all" else members[:1]):
            leads = event.time if host == members[0] else 0.0
            self._hosts[host] = max(self._hosts.get(host, 0.0), leads)
            if host in self._tasks and self._tasks[host].done() and not self._full:
                del self._tasks[host]  # it has come back into the run
        self.resume()

    def resume(self) -> None:
        """Bring what is wanted, if this console keeps the run; else it waits, for the day that it takes it over."""
        if not self._experiment.writable or self._full or not self._verbs.hosts.take_commands:
            return
        for host in self._hosts:
            task = self._tasks.get(host)
            if task is None:
                self._tasks[host] = asyncio.ensure_future(self._bring_all(host))

    async def finish(self) -> None:
        """Wait until all of it is here, or nothing more comes."""
        loop = asyncio.get_running_loop()
        self._moved_at = told_at = loop.time()
        waiting = {task: host for host, task in self._tasks.items()}
        while left := [host for task, host in waiting.items() if not task.done()]:
            idle_s = loop.time() - self._moved_at
            if loop.time() - told_at > TELL_S and idle_s < TELL_S:
                told_at = loop.time()
                here = ", ".join(f"{host} {files_of(self._kept.get(host, 0))}" for host in left)
                self._note(f"results are still on their way, by now there are here: of {here}")
            if idle_s > (IDLE_S if self._up.intersection(left) else UNHEARD_S):
                self._say(
                    f"results of {', '.join(left)} may have been left there: {self._attach} brings them once "
                    "they answer"
                )
                break
            await asyncio.wait([self._tasks[host] for host in left], timeout=0.25)
        if self._tasks and not self._any and all(is_whole(task) for task in self._tasks.values()):
            self._say(f"[run] results names nothing that the script has written on {', '.join(self._tasks)}")
        if self._kept:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(durable.sync_disk, str(self._experiment.folder))
            told = ", ".join(f"{host} ({files_of(count)})" for host, count in self._kept.items())
            self._note(f"results are in {self._experiment.folder / RESULTS}: of {told}")

    async def close(self) -> None:
        await end(self._tasks.values())

    async def _bring_all(self, host: str) -> bool:
        """Of one host, through losses of the connection; whether all of it is here, the run being over there."""
        delays = backoff()
        told: set[str] = set()
        while True:
            try:
                if await self._bring(host, told):
                    return True
                delays = backoff()
            except NoRoom as error:
                self._full = True
                self._say(
                    f"results of {host} are not brought home any more: {error}. They stay there: make room here, then "
                    f"{self._attach}"
                )
                return False
            except Unreachable:
                pass
            except HostError as error:
                if error.cause not in told:
                    told.add(error.cause)
                    self._say(f"results of {host}: {error.cause}")
            finally:
                self._up.discard(host)
            await asyncio.sleep(next(delays))

    async def _bring(self, host: str, told: set[str]) -> bool:
        """One connection's worth. Raises a HostError, or NoRoom."""

        def tell(path: str, why: str) -> None:
            if path + why not in told:
                told.add(path + why)
                self._say(f"results of {host}: {path}{': ' * bool(path)}{why}")

        folder = ResultsFolder(self._experiment.folder, host)
        most = int(self._verbs.hosts.cluster.run.results_gib * GIB)
        frames = await asyncio.to_thread(lambda: ResultFrames(folder, most=most, tell=tell))
        loop = asyncio.get_running_loop()
        heard_at = loop.time()

        def take(chunk: bytes) -> None:
            nonlocal heard_at
            heard_at = loop.time()
            kept, came = frames.kept, frames.came
            frames.feed(chunk)
            if frames.kept > kept or frames.came > came:
                self._moved_at = heard_at
            if frames.kept > kept:
                self._count(folder, len(frames.have))

        try:
            asked = json.dumps({"have": frames.have, "most": most})
            async with send_results(self._verbs, host, self._run, asked) as read_to:
                self._up.add(host)
                coming = asyncio.ensure_future(read_to(take))
                try:
                    while not (await asyncio.wait({coming}, timeout=STALE_S))[0]:
                        if loop.time() - heard_at >= STALE_S:
                            raise Unreachable(host, "no sign of life", "")
                    coming.result()
                finally:
                    await end([coming])
        finally:
            frames.close()
        self._any = self._any or bool(frames.have)
        return frames.ended

    def _count(self, folder: ResultsFolder, files: int) -> None:
        if folder.host not in self._kept:
            self._note(f"results of {folder.host} are brought to {folder.path}")
        self._kept[folder.host] = files
        there = [host for host in self._hosts if host in self._kept or has_any(folder.path.with_name(host))]
        leading = max(there, key=lambda host: self._hosts[host])
        if leading == folder.host:
            with contextlib.suppress(OSError):  # a disk without links: the folders tell their times
                folder.point_latest()


def is_whole(task: asyncio.Task[bool]) -> bool:
    """Whether all that there was has been brought."""
    return task.done() and not task.cancelled() and task.exception() is None and task.result()


def files_of(count: int) -> str:
    """For people.

    >>> files_of(1), files_of(1200)
    ('1 file', '1,200 files')
    """
    return f"{count:,} file{'s' * (count != 1)}"
