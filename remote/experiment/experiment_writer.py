"""What a session tells its console, and what of it is kept in `experiments/<run>/`: the copy of summary.json, too.

logbook = ExperimentWriter("night", emit=store.apply)
logbook.keep(Experiment.create(folder, cluster.text), verbs)
logbook.emit(record)                   # on to the console; what it announces is fetched from its host
logbook.note("box1 is back")
summary = await logbook.bring_home(states, "box1", hosts, stopping=False)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from motley.remote.config.cluster import Host
from motley.remote.diagnosis.failures import Failures
from motley.remote.diagnosis.heard import NOT_BEGUN, Heard
from motley.remote.end_tasks import end
from motley.remote.errors import Finding, RunFailed, UsageError
from motley.remote.experiment.backlog import Backlog
from motley.remote.experiment.fetch import NOTHING, Fetcher, final_summary, pretty
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.last_loss import LastLosses
from motley.remote.experiment.machines import record_machines
from motley.remote.experiment.records import grouped
from motley.remote.experiment.results import Results
from motley.remote.feed import FeedRecord, Layout, Progress, RankLayout
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.spec import Member
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

T = TypeVar("T")
COMMIT_S = 0.5


class ExperimentWriter:
    """One run's. Until there is an experiment to keep it in, all is told only."""

    def __init__(self, run: str, *, emit: Callable[[FeedRecord], None]) -> None:
        self.layout: Layout | None = None
        self.failures = Failures()
        self.connected_at = 0.0  # when all hosts had been reached, on the monotonic clock
        self._run = run
        self._backlog = Backlog(emit)
        self._tell = self._backlog.take
        self._experiment: Experiment | None = None
        self._harvest: Fetcher | None = None
        self._results: Results | None = None
        self._losses = LastLosses()
        self._heard = Heard()
        self._world_size = 0  # of the newest group
        self._machines: Callable[[Collection[str]], dict[str, str]] = lambda _: {}

    @property
    def experiment(self) -> Experiment:
        assert self._experiment is not None, "launch or attach comes first"
        return self._experiment

    def keep(self, experiment: Experiment, verbs: Verbs) -> None:
        """From now on notes are kept in it, and what the hosts announce is brought there; or it is said why not."""
        self._experiment = experiment
        if experiment.refused:
            self.warn(f"{experiment.refused} Nothing of the run is kept here until then.")
        self._harvest = Fetcher(verbs, self._run, experiment, say=self.warn)
        self._results = Results(verbs, self._run, experiment, say=self.warn, note=partial(self.note, kind="results"))
        self._machines = verbs.hosts.machines

    def emit(self, record: FeedRecord) -> None:
        if isinstance(record, Progress) and record.stage == "connect" and record.done:
            self.connected_at = time.monotonic()
        self._heard.hear(record)
        if isinstance(record, Sample):
            self._losses.hear(record)
        elif not isinstance(record, (Reading, Usage)):
            self.failures.hear(record)
        if isinstance(record, Event) and self._harvest is not None:
            self._harvest.hear(record)
        if isinstance(record, Event) and self._results is not None:
            self._results.hear(record)
        if isinstance(record, Event) and record.kind == "group":
            self._world_size = len(grouped(record)) or self._world_size
        self._tell(record)

    def lay_out(self, layout: Layout, *, behind: bool = False) -> None:
        """Who takes part, from now on. `behind`: what the run has done so far comes first, in order, at `caught_up`."""
        if behind:
            self._backlog.hold()
        self.layout, self._world_size = layout, len(layout.ranks)
        if self._results is not None:
            self._results.lay_out(layout)
        if (experiment := self._experiment) is not None:
            machines = self._machines({rank.host for rank in layout.ranks})
            self._saved(lambda: record_machines(experiment, machines))
        self.emit(replace(layout, behind=behind))

    def replay(self, hear: Callable[[Event], None]) -> None:
        """Tell what was kept before; `hear` hears the events of it first. Where another console keeps it, everything
        comes from the hosts, from its beginning."""
        for record in self.experiment.replay() if self.experiment.writable else ():
            if isinstance(record, Event):
                hear(record)
            self.emit(record)

    def caught_up(self, *, over: bool) -> None:
        """All hosts have sent what they had. `over`: the run has ended by now."""
        self._backlog.release(over=over)

    def joined(self, host: Host, members: Sequence[Member], warnings: Sequence[Finding], *, back: bool) -> None:
        """A host was brought into the run with these ranks, or came `back` with those it had."""
        for finding in warnings:
            self.warn(f"{finding.host}: {finding.cause}. {finding.remedy}")
        if self.layout is not None and members:
            self.lay_out(with_host(self.layout, host, members))
        what = "comes back" if back else "is new"
        self.note(f"{host.name} {what}: its ranks start, get the state from the others, and join at the end of a step")

    def note(self, text: str, level: Any = "info", /, *, kind: str = "note") -> Event:
        """A word of this console's own: told, and kept once there is an experiment."""
        event = Event(time=time.time(), host="console", source="console", kind=kind, text=text, level=level)
        if self._experiment is not None:
            self._experiment.note(event)
        self._tell(event)
        return event

    def warn(self, text: str) -> None:
        self.note(text, "warning")

    @contextlib.asynccontextmanager
    async def keeping(self, catch_up: Callable[[], Awaitable[object]]) -> AsyncIterator[asyncio.Task[None]]:
        """Keeps what has come, again and again until the block ends. Where the disk refuses that is said once.

        Also what another console has kept, once that one has left; `catch_up` then brings what hosts that have ended
        still have of it.
        """

        async def regularly() -> None:
            while True:
                await asyncio.sleep(COMMIT_S)
                await self._keep(catch_up)

        task = asyncio.ensure_future(regularly())
        try:
            yield task
        finally:
            await end([task])
        await self._keep(catch_up)

    async def _keep(self, catch_up: Callable[[], Awaitable[object]]) -> None:
        if self._saved(self.experiment.take_over):
            self.note("the console that kept the files of this run has left: this one keeps them from now on")
        if self._harvest is not None:
            self._harvest.resume()
        if self._results is not None:
            self._results.resume()
        await catch_up()
        self._saved(self.experiment.commit)

    async def bring_home(
        self, states: Mapping[str, str], leader: str, hosts: Sequence[str], *, stopping: bool
    ) -> dict[str, Any]:
        """Fetch what the leader kept, and write the summary. `states`: the end on each host that answered."""
        assert self._harvest is not None
        summary = await self._harvest.summary(leader) if leader in states else None
        ranks = Counter(rank.host for rank in self.layout.ranks) if self.layout is not None else NOTHING
        heard = self._heard.figures()
        result = final_summary(self._run, summary, states, hosts, stopping, heard=heard, ranks=ranks)
        self._saved(self.experiment.commit)
        loss = self._losses.of(int(result["steps"] or 0), self._world_size)
        result["final_loss"] = result["final_loss"] if loss is None else loss
        report = self.failures.report()
        if report is not None and result["state"] == "failed":
            result["cause"] = report.cause(str(result.get("cause") or ""))
        if leader in states:
            await self._harvest.finish()
        if self._results is not None:
            await self._results.finish()
        if leader in states or not (self.experiment.folder / "summary.json").exists():  # else that one knows more
            self._saved(lambda: self.experiment.write_whole("summary.json", pretty(result)))
        self._saved(self.experiment.commit)
        return result

    def add_to_summary(self, summary: dict[str, Any], more: Mapping[str, Any]) -> None:
        """Of a run that has ended: something that was not known before."""
        summary |= more
        self._saved(lambda: self.experiment.write_whole("summary.json", pretty(summary)))

    def _saved(self, write: Callable[[], T]) -> T | None:
        """None where it could not be written, and that was said."""
        try:
            return write()
        except (RunFailed, UsageError) as error:
            self.warn(f"{error} Nothing more of it is kept here until then.")
            return None

    def not_started(self, reason: str, states: Mapping[str, str], hosts: Sequence[str], *, stopped: bool) -> None:
        """Nothing came of it: the summary says so, and the experiment is closed."""
        self.note(f"not started: {reason}", "error")
        summary = {**final_summary(self._run, None, states, hosts, stopping=stopped, heard=NOT_BEGUN), "cause": reason}
        self.experiment.write_whole("summary.json", pretty(summary))
        self.experiment.close()

    async def close(self) -> None:
        """Nothing is fetched any more."""
        if self._harvest is not None:
            await self._harvest.close()
        if self._results is not None:
            await self._results.close()
        if self._experiment is not None:
            try:
                self._experiment.close()
            except RunFailed as error:
                self.warn(str(error))


def with_host(before: Layout, host: Host, members: Sequence[Member]) -> Layout:
    """The layout with the ranks of a host that is new in the run."""
    known = {rank.member for rank in before.ranks}
    new = [RankLayout(member=m.member, host=m.host, device=m.device) for m in members if m.member not in known]
    emulated = before.emulated | ({host.name} if host.way.emulated else frozenset())
    speeds = {**before.speeds, **({} if host.speed is None else {host.name: host.speed})}
    return replace(before, ranks=(*before.ranks, *new), emulated=emulated, speeds=speeds)
