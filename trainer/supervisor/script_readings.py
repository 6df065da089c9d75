"""What the scripts here say of their training, read from what they print and write: `wire.Reading` in `rank_N.jsonl`.

    >>> readings = ScriptReadings(folder, spec.host, journal)
    >>> readings.watch(child)      # each time a script is started
    >>> readings.keep()            # now and then

Once a script has called `motley.session()` it tells of its steps itself, and nothing is read from its output.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from motley.trainer.contract.wire import Reading, encode
from motley.trainer.host.journal import Journal
from motley.trainer.host.paths import open_next
from motley.trainer.host.session_mark import is_session
from motley.trainer.readings.report import read_report
from motley.trainer.readings.said import Said
from motley.trainer.readings.script_files import ScriptFiles
from motley.trainer.readings.script_reader import Figures, ScriptReader
from motley.trainer.readings.start_mark import start_of
from motley.trainer.supervisor.child import Child

EVERY_S = 0.5  # between two lines of one rank


class ScriptReadings:
    def __init__(self, folder: Path, host: str, journal: Journal, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._host = host
        self._journal = journal
        self._clock = clock
        self._readers: dict[int, ScriptReader] = {}  # by member, as all that follows
        self._starts: dict[int, str] = {}
        self._doubts: dict[int, int] = {}  # how many of a reader's were told
        self._due: dict[int, float] = {}
        self._files: dict[int, int] = {}
        self._files_of_script = ScriptFiles(folder)
        self._reported: dict[int, Said | None] = {}  # the newest report that was heard

    def watch(self, child: Child) -> None:
        """Read what the script of a rank prints, from its beginning."""
        if child.member is None:
            return
        member = child.member.member
        self._reported[member] = read_report(self._folder, member)  # of the start before
        self._starts[member] = start_of(self._folder, member=member)
        self._begin(member)
        child.output.hear = lambda data: self._hear(member, data)

    def _hear(self, member: int, data: bytes) -> None:
        """What a rank has printed. Its script may have been started anew, by the process that watches it; that has
        waited until what the one before had printed was heard."""
        start = start_of(self._folder, member=member)
        if start != self._starts[member]:
            self._starts[member] = start
            self._begin(member)
        self._readers[member].feed(data, now=self._clock())

    def _begin(self, member: int) -> None:
        self._readers[member] = ScriptReader()
        self._doubts[member] = 0

    def keep(self, *, last: bool = False) -> None:
        """Write down what is new; the `last` of a run without waiting for more."""
        if not self._readers or is_session(self._folder):
            return
        now = self._clock()
        self._files_of_script.read(self._readers[min(self._readers)], now, last=last)
        for member, reader in self._readers.items():
            self._hear_report(member, reader, now)
            if now < self._due.get(member, 0.0) and not last:
                continue
            for doubt in reader.doubts[self._doubts[member] :]:
                text = f"a figure of rank {member}'s output is not shown: {doubt}"
                self._journal.write("note", text, "warning", member=member)
            self._doubts[member] = len(reader.doubts)
            figures = reader.take(now=math.inf if last else now)
            if figures is not None:
                self._due[member] = now + EVERY_S
                self._write(member, figures)

    def close(self) -> None:
        self.keep(last=True)
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _hear_report(self, member: int, reader: ScriptReader, now: float) -> None:
        said = read_report(self._folder, member)
        if said is not None and said != self._reported[member]:
            self._reported[member] = said
            reader.hear_report(said, now=now)

    def _write(self, member: int, figures: Figures) -> None:
        """A full disk loses the line: the next one says as much."""
        reading = Reading(
            time=figures.time, host=self._host, member=member, step=figures.step, steps_total=figures.total,
            epoch=figures.epoch, loss=figures.loss, steps_per_s=figures.steps_per_s, unit=figures.unit,
        )  # fmt: skip
        try:
            if member not in self._files:
                self._files[member], _ = open_next(self._folder, f"rank_{member}", ".jsonl")
            os.write(self._files[member], encode(reading))
        except OSError as error:
            os.write(2, f"reading not written: {error}\n".encode())
