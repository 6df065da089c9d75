"""`experiments/<run>/`: the copy, beside cluster.toml, of what the hosts wrote. Nothing lost, nothing twice.

Host files grow; this console has been shown each up to an offset, and the copy (`remote.experiment.local_copy`) has
each up to one. One console writes the copy; others only watch, from the beginning, and the next one takes it over when
that one leaves. The two offsets differ then, so what is shown already is kept, and what is kept already is shown.

    >>> experiment = Experiment.create(Path("experiments/night"), cluster_text)
    >>> experiment.take("box1", Chunk(file="rank_0.jsonl", start=0, end=812, text="…"))
    [Sample(…), Sample(…)]
    >>> experiment.commit()
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import RunFailed, UsageError
from motley.remote.experiment import committed_offsets
from motley.remote.experiment.local_copy import LocalCopy
from motley.remote.experiment.local_disk import writing
from motley.remote.experiment.local_names import first_of, local_name, logs, member_of
from motley.remote.experiment.printed_times import Times
from motley.remote.experiment.records import record_of, records_of
from motley.remote.feed import LogLine
from motley.trainer.bootstrap import durable
from motley.trainer.contract.wire import Chunk, Event, Reading, Sample, Usage

_ID = re.compile(r"[0-9a-f]{16}|")  # `trainer.verbs.attach.folder_id`


def experiments_folder(cluster: Cluster) -> Path:
    """`experiments/` beside cluster.toml."""
    return cluster.path.absolute().parent / "experiments"


class Experiment:
    """The folder of one run. Without a copy it is only read: another console writes it, or the disk has refused."""

    def __init__(self, folder: Path, copy: LocalCopy | None = None, *, refused: str = "") -> None:
        self.folder = folder
        self.refused = refused  # why nothing can be kept here, for the user
        self._copy = copy
        self._told: dict[str, dict[str, int]] = {}  # by place (`_place`) and file: how far this console was shown it
        self._reads: dict[str, str] = {}  # by host that may have several folders of the run: which one is read
        self._asked: set[str] = set()  # hosts that were asked for their files
        self._stale: set[str] = set()  # of these, the ones that are to be asked again
        self._over = bool(refused)  # nothing is kept any more
        self.summaries: dict[str, str] = {}  # of hosts that printed them, in JSON
        self.instances: dict[str, str] = {}  # which of several machines hosts were last: `remote.experiment.machines`
        if copy is not None:
            self._told = {place: copy.offsets(place) for place in copy.places()}

    @classmethod
    def create(cls, folder: Path, cluster_text: str) -> Experiment:
        """A new experiment. Raises UsageError when there is one of that name already, or none can be made here."""
        try:
            folder.mkdir(parents=True, mode=0o700)
            durable.sync_folder(str(folder.parent))
            durable.write(folder / "cluster.toml", cluster_text.encode(), 0o644)
        except FileExistsError:
            raise UsageError(f"{folder} is there already: choose another name with --name") from None
        except OSError as error:
            raise UsageError(f"{folder} can't be made: {error.strerror}") from error
        experiment = cls.open(folder)
        if experiment.refused:
            raise UsageError(experiment.refused)
        return experiment

    @classmethod
    def open(cls, folder: Path) -> Experiment:
        """An experiment to go on with; made when it is missing. Read only when another console writes it, and where it
        can't be written: a run can be followed and stopped all the same, and `refused` says why it is not kept.

        Raises UsageError when it is damaged.
        """
        try:
            for name in ("logs", "checkpoints", "traces"):
                (folder / name).mkdir(parents=True, mode=0o700, exist_ok=True)
            return cls(folder, LocalCopy.open(folder))
        except OSError as error:
            return cls(folder, refused=_refusal(folder, error))

    @property
    def writable(self) -> bool:
        """Whether what comes is kept here, by this console."""
        return self._copy is not None

    def take_over(self) -> bool:
        """Keep the run from now on if the console that did has left; returns whether it is so. What was only shown, and
        is not kept, comes again: hosts are `stale` until they are asked for it.

        Raises UsageError, once, when the folder is damaged or can't be written.
        """
        if self._copy is not None or self._over:
            return False
        try:
            self._copy = LocalCopy.open(self.folder)
        except (UsageError, OSError) as error:
            self._over = True
            if isinstance(error, OSError):
                raise UsageError(_refusal(self.folder, error)) from error
            raise
        if self._copy is not None:
            self._stale = set(self._asked)
        return self._copy is not None

    def wanted(self, host: str, *, several: bool) -> dict[str, Any]:
        """What `attach` is asked for: `offsets` and `borders`. `several`: the host may be other machines in turn, whose
        home folders nobody knows: both are for each folder that it was seen to have, by its id, as `folders`."""
        wanted: dict[str, Any] = {"offsets": self.offsets(host), "borders": self.borders(host)}
        if several:
            self._reads.setdefault(host, "")
            places = {*self._told, *(self._copy.places() if self._copy is not None else [])}
            wanted["folders"] = {
                folder: {"offsets": self._offsets(place), "borders": self._borders(place)}
                for place in places
                for name, _, folder in [place.partition("/")]
                if name == host
            }
        return wanted

    def reads(self, host: str, folder: str) -> None:
        """What comes from now on is of this folder, by its id. Of a host that has one alone it says nothing, nor does
        what is no id."""
        if host in self._reads and _ID.fullmatch(folder):
            self._reads[host] = folder

    def offsets(self, host: str) -> dict[str, int]:
        """From where on each of the host's files is to be sent."""
        self._asked.add(host)
        self._stale.discard(host)
        return self._offsets(self._place(host))

    def begins_anew(self, host: str) -> None:
        """What the host has from now on are other files of the same names: they are read from their beginning, and go
        behind what is kept."""
        place = self._place(host)
        self._told.pop(place, None)
        if self._copy is not None:
            self._copy.begins_anew(place)
            self.commit()

    def borders(self, host: str) -> dict[str, int]:
        """Where in some of them no chunk may go on beyond: what is kept ends there, or what was shown."""
        return self._borders(self._place(host))

    def stale(self, host: str) -> bool:
        """Whether the host has to be asked again, from `offsets`."""
        return host in self._stale

    def lacks(self, host: str, chunk: Chunk) -> bool:
        """Whether something of the chunk's file is missing here that lies before it; or it goes beyond a border."""
        told, kept = self._both(self._place(host), chunk.file)
        first, border = (told, told) if self.stale(host) else (min(told, kept), max(told, kept))
        return local_name(chunk.file) is not None and (chunk.start > first or chunk.start < border < chunk.end)

    def ends(self, host: str, file: str) -> tuple[int, ...]:
        """How far a file of the host was shown, and is kept: where a chunk of it is to be cut that comes uncalled."""
        return self._both(self._place(host), file)

    def skip(self, host: str, file: str, to: int) -> None:
        """What lies before this byte is there no longer, and never comes: the next chunk may begin here."""
        place = self._place(host)
        told, kept = self._both(place, file)
        if told < to:
            self._told.setdefault(place, {})[file] = to
        if self._copy is not None and kept < to:
            self._copy.skip(place, file, to)

    def take(self, host: str, chunk: Chunk) -> list[Sample | Reading | Usage | Event | LogLine]:
        """Keep a chunk, and return the records in it, their text made safe. One that was seen before gives nothing,
        nor does one that does not begin where the last one ended: no line may be missing, or be there twice.

        When it can't be written here, the next commit says so.
        """
        if local_name(chunk.file) is None or self.lacks(host, chunk):
            return []
        place = self._place(host)
        told, kept = self._both(place, chunk.file)
        keep = self._copy is not None and not self.stale(host) and chunk.start == kept
        if not keep and chunk.start != told:
            return []
        records = list(records_of(host, chunk))
        if keep and self._copy is not None:
            self._copy.take(place, chunk.file, chunk.end, records)
        if chunk.start != told:
            return []
        self._told.setdefault(place, {})[chunk.file] = chunk.end
        return records

    def note(self, event: Event) -> None:
        """Keep an event of the console's own."""
        if self._copy is not None:
            self._copy.note(event)

    def replay(self) -> Iterator[Sample | Reading | Usage | Event | LogLine]:
        """What has been kept so far: events and metrics in the order of their times, then what the ranks printed.

        A line that was damaged here is told of in an event.
        """
        there = logs(self.folder)
        timed = [self.folder / "events.jsonl", *(path for path in there if path.suffix == ".jsonl")]
        yield from heapq.merge(*map(_timed, timed), key=lambda record: record.time)
        hosts = self._hosts()
        for path in there:
            if path.suffix != ".log":
                continue
            member = member_of(path)
            host = hosts.get(first_of(f"logs/{path.name}"), "")
            number, written = -1 if member is None else member, path.stat().st_mtime
            times, begin = Times.read(path.with_suffix(".times")), 0
            for line in _lines(path):
                at, text = times.at(begin), line.decode(errors="replace")
                yield LogLine(host=host, member=number, text=text, time=at or written, exact=at is not None)
                begin += len(line) + 1

    def members(self) -> set[int]:
        """The members that have left a log or metrics here."""
        return {member for path in logs(self.folder) if (member := member_of(path)) is not None}

    def commit(self) -> None:
        """Make what was taken so far permanent. Raises RunFailed when it can't be written here, once: from then on
        nothing is kept, and who opens the folder next reads on from the last commit."""
        if self._copy is None:
            return
        try:
            with writing(self.folder):
                self._copy.commit()
        except RunFailed:
            self._over = True
            self._release()
            raise

    def write_whole(self, name: str, content: bytes) -> None:
        """Put a whole file (summary.json) in place: the old one is seen, or the new. Raises RunFailed."""
        if self._copy is not None:
            with writing(self.folder):
                durable.write(self.folder / name, content)

    def close(self) -> None:
        """Commit and let go. Raises RunFailed when the last lines can't be written: they are read again next time."""
        try:
            if self._copy is not None:
                with writing(self.folder):
                    self._copy.finish()
        finally:
            self._over = True
            self._release()

    def _release(self) -> None:
        if self._copy is not None:
            self._copy.release()
            self._copy = None

    def _place(self, host: str) -> str:
        """Where the files lie that are read: the host, or one of its folders."""
        folder = self._reads.get(host)
        return f"{host}/{folder}" if folder else host

    def _offsets(self, place: str) -> dict[str, int]:
        return {file: min(self._both(place, file)) for file in self._files(place)}

    def _borders(self, place: str) -> dict[str, int]:
        both = {file: self._both(place, file) for file in self._files(place)}
        return {file: max(told, kept) for file, (told, kept) in both.items() if told != kept}

    def _files(self, place: str) -> set[str]:
        kept = self._copy.offsets(place) if self._copy is not None else {}
        return {*self._told.get(place, {}), *kept}

    def _both(self, place: str, file: str) -> tuple[int, int]:
        """How far a file there was shown here, and is kept; the same where this console keeps nothing."""
        told = self._told.get(place, {}).get(file, 0)
        return told, told if self._copy is None else self._copy.offset(place, file)

    def _hosts(self) -> dict[str, str]:
        """The host that each file here was read from."""
        offsets = self._told or committed_offsets.newest(self.folder).offsets
        return {
            local: place.partition("/")[0]
            for place, known in offsets.items()
            for file in known
            if (local := local_name(file))
        }


def _refusal(folder: Path, error: OSError) -> str:
    remedy = f"Make room there, or make it writable: `motley attach {folder.name}` then reads on."
    return f"{error.filename or folder} can't be written: {error.strerror or error}. {remedy}"


def _timed(path: Path) -> Iterator[Sample | Reading | Usage | Event]:
    for line in _lines(path):
        yield record_of("", path.name, line)


def _lines(path: Path) -> list[bytes]:
    """Without one that is not whole yet."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
