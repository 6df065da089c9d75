"""What a session tells its console, and what of it is kept beside cluster.toml.

logbook = Logbook("night", emit=store.apply)
logbook.keep(Experiment.create(folder, cluster.text), verbs)
logbook.emit(record)                   # on to the console; what it announces is fetched from its host
logbook.note("box1 is back")
summary = await logbook.bring_home(states, "box1", hosts, stopping=False)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from remote.errors import RunFailed
from remote.experiment import Experiment
from remote.failures import Failures
from remote.feed import FeedRecord, Layout, Progress
from remote.harvest import Harvest, final_summary, pretty
from remote.last_loss import LastLosses
from remote.records import grouped
from remote.verbs import Verbs
from trainer.wire import Event, Sample

COMMIT_S = 0.5


class Logbook:
    """One run's. Until there is an experiment to keep it in, all is told only."""

    def __init__(self, run: str, *, emit: Callable[[FeedRecord], None]) -> None:
        self.layout: Layout | None = None
        self.failures = Failures()
        self.connected_at = 0.0  # when all hosts had been reached, on the monotonic clock
        self._run = run
        self._tell = emit
        self._experiment: Experiment | None = None
        self._harvest: Harvest | None = None
        self._losses = LastLosses()
        self._world_size = 0  # of the newest group

    @property
    def experiment(self) -> Experiment:
        assert self._experiment is not None, "launch or attach comes first"
        return self._experiment

    def keep(self, experiment: Experiment, verbs: Verbs) -> None:
        """From now on notes are kept in it, and what the hosts announce is brought there."""
        self._experiment = experiment
        self._harvest = Harvest(verbs, self._run, experiment, say=self.warn)

    def emit(self, record: FeedRecord) -> None:
        if isinstance(record, Progress) and record.stage == "connect" and record.done:
            self.connected_at = time.monotonic()
        if isinstance(record, Sample):
            self._losses.hear(record)
        else:
            self.failures.hear(record)
        if isinstance(record, Event) and self._harvest is not None:
            self._harvest.hear(record)
        if isinstance(record, Event) and record.kind == "group":
            self._world_size = len(grouped(record)) or self._world_size
        self._tell(record)

    def lay_out(self, layout: Layout) -> None:
        """Who takes part, from now on."""
        self.layout, self._world_size = layout, len(layout.ranks)
        self.emit(layout)

    def note(self, text: str, level: Any = "info", /, *, kind: str = "note") -> None:
        """A word of this console's own."""
        event = Event(time=time.time(), host="console", source="console", kind=kind, text=text, level=level)
        if self._experiment is not None:
            self._experiment.note(event)
        self._tell(event)

    def warn(self, text: str) -> None:
        self.note(text, "warning")

    async def commit_regularly(self) -> None:
        """Keep what has come, again and again. Raises RunFailed where the disk refuses."""
        while True:
            await asyncio.sleep(COMMIT_S)
            self.experiment.commit()

    async def bring_home(
        self, states: Mapping[str, str], leader: str, hosts: Sequence[str], *, stopping: bool
    ) -> dict[str, Any]:
        """Fetch what the leader kept, and write the summary. `states`: the end on each host that answered."""
        assert self._harvest is not None
        summary = await self._harvest.summary(leader) if leader in states else None
        result = final_summary(self._run, summary, states, hosts, stopping)
        self.experiment.commit()
        loss = self._losses.of(int(result["steps"]), self._world_size)
        result["final_loss"] = result["final_loss"] if loss is None else loss
        report = self.failures.report()
        if report is not None and result["state"] == "failed":
            result["cause"] = report.cause(str(result.get("cause") or ""))
        if leader in states:
            await self._harvest.finish()
        self.experiment.write_whole("summary.json", pretty(result))
        self.experiment.commit()
        return result

    def not_started(self, reason: str, states: Mapping[str, str], hosts: Sequence[str], *, stopped: bool) -> None:
        """Nothing came of it: the summary says so, and the experiment is closed."""
        self.note(f"not started: {reason}", "error")
        summary = {**final_summary(self._run, None, states, hosts, stopping=stopped), "cause": reason}
        self.experiment.write_whole("summary.json", pretty(summary))
        self.experiment.close()

    async def close(self) -> None:
        """Nothing is fetched any more."""
        if self._harvest is not None:
            await self._harvest.close()
        if self._experiment is not None:
            try:
                self._experiment.close()
            except RunFailed as error:
                self.warn(str(error))
