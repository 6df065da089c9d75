"""A host by what its machines print of themselves, where no command can be run on them: `kubectl logs` of pods.

Two cases: the user has no right to run anything there, so all that comes, comes so; or a machine has ended before the
last that it told was read. What is kept here already is not taken twice, whichever way it came.

    log = PrintedFollower("box1", verbs=verbs, experiment=experiment, emit=emit, say=say)
    async for said in log.follow():         # Beat, or Quiet when all that is there has come
        ...
    async for said in log.last_words():     # of the machine that was followed until now, if it has ended
        ...
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Union

from motley.remote.errors import Unreachable
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.machines import instance_of, met
from motley.remote.experiment.records import safe
from motley.remote.feed import FeedRecord
from motley.remote.hosts.pod_lines import parts
from motley.remote.hosts.pod_log import Missing, PodLog, Quiet, Said
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.wire import Beat, Chunk, Event

SUMMARY = "summary.json"
KEEPS = "the node keeps the newest part of a log only"
GONE = "The others of the run do without it; another one may come in its place: `motley status` shows."


class PrintedFollower:
    """Records go on to `emit`; `say` warns of those that are gone. Both ways raise a HostError where nothing is given:
    they may be called again, and go on."""

    def __init__(
        self,
        host: str,
        *,
        verbs: Verbs,
        experiment: Experiment,
        emit: Callable[[FeedRecord], None],
        say: Callable[[str], object],
    ) -> None:
        self._host, self._verbs, self._experiment = host, verbs, experiment
        self._emit, self._say = emit, say
        self._logs: dict[str, PodLog] = {}  # by machine
        self._missing = 0  # lines, of which some may be here already
        self._read: set[str] = set()  # machines that have ended, and told no more than what came

    async def follow(self) -> AsyncGenerator[Union[Beat, Quiet], None]:
        """Each machine after the other. It ends early when what came is to be asked for again, from its beginning.
        Raises Unreachable when the newest machine has ended."""
        if self._experiment.stale(self._host):
            self._logs.clear()
            self._read.clear()
        self._experiment.offsets(self._host)  # from here on it is asked
        logs = await self._verbs.hosts.printed(self._host)
        known = [log.instance for log in logs].index(was) if (was := self._was(logs)) else 0
        for log in logs[known:]:
            if log.instance not in self._read:
                met(self._experiment, self._host, log.instance)
                async with aclosing(self._records(self._logs.setdefault(log.instance, log))) as records:
                    async for said in records:
                        if isinstance(said, Beat) or (isinstance(said, Quiet) and log is logs[-1]):
                            yield said
                        if self._experiment.stale(self._host):
                            return
                self._read.add(log.instance)
        raise Unreachable(self._host, "its pod has ended" if logs else "it has no pod at the moment", GONE)

    async def last_words(self) -> AsyncIterator[Beat]:
        """What a machine has told before it ended, that was not read from its files."""
        logs = await self._verbs.hosts.printed(self._host)
        was = self._was(logs)
        for log in logs:
            if log.instance == was and log.is_over and was not in self._read:
                async for said in self._records(log, old=True):
                    if isinstance(said, Beat):
                        yield said
                self._read.add(was)

    def _was(self, logs: list[PodLog]) -> str:
        """The machine whose files are read here; empty where it is gone, and its log with it."""
        was = instance_of(self._experiment, self._host)
        return was if any(log.instance == was for log in logs) else ""

    async def _records(self, log: PodLog, *, old: bool = False) -> AsyncGenerator[Said, None]:
        """The same, what belongs into files being kept. Of `old` words of the machine only what went wrong is told."""
        async with aclosing(log.records()) as records:
            async for said in records:
                if isinstance(said, Missing):
                    self._missing += said.lines
                elif isinstance(said, Chunk):
                    self._take(said)
                elif isinstance(said, Event) and not (old and said.level == "info"):
                    self._emit(safe(said))
                yield said

    def _take(self, chunk: Chunk) -> None:
        """What lies before it, and did not come, comes no more."""
        if chunk.file == SUMMARY:
            self._experiment.summaries[self._host] = chunk.text
            return
        for part in parts(chunk, self._experiment.ends(self._host, chunk.file)):
            if self._experiment.lacks(self._host, part):
                if self._missing:
                    self._say(f"{self._missing} lines that it told are gone: {KEEPS}")
                self._missing = 0
                self._experiment.skip(self._host, part.file, part.start)
            for kept in self._experiment.take(self._host, part):
                self._emit(kept)
