"""`experiments/<run>/`: the copy, beside cluster.toml, of what the hosts wrote. Nothing lost, nothing twice.

Host files grow; this side has read each up to an offset. `offsets.json`, renamed into place, holds for one moment the
offsets and the lengths the local files had then. Opening the folder cuts the local files to those lengths, so however
the console ended, following goes on where the local copy ends. One console writes (flock); others only read along.

    >>> experiment = Experiment.create(Path("experiments/night"), cluster_text)
    >>> experiment.take("box1", Chunk(file="rank_0.jsonl", start=0, end=812, text="…"))
    [Sample(…), Sample(…)]
    >>> experiment.commit()
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from remote.errors import RunFailed, UsageError
from remote.feed import LogLine
from remote.records import OUTPUT, line_of, record_of, records_of
from remote.sanitize import clean
from trainer.wire import Chunk, Event, Sample, encode

_METRICS = re.compile(r"rank_([0-9]{1,6})(?:\.[0-9]{1,6})?\.jsonl")
_OURS = re.compile(r"rank_([0-9]{1,6})(?:_metrics\.jsonl|\.log)|coordinator\.log")  # in logs/


def local_name(file: str) -> str | None:
    """Where a host's file is kept here, relative to the experiment; None for a file that isn't ours.

    >>> local_name("rank_3.1.jsonl")
    'logs/rank_3_metrics.jsonl'
    """
    if match := _METRICS.fullmatch(file):
        return f"logs/rank_{match[1]}_metrics.jsonl"
    if match := OUTPUT.fullmatch(file):
        return f"logs/rank_{match[1]}.log"
    return {"events.jsonl": "events.jsonl", "coordinator.out": "logs/coordinator.log"}.get(file)


class Experiment:
    """The folder of one run. `writable` is False when another console holds it; then nothing is written."""

    def __init__(self, folder: Path, *, writable: bool, lock: int | None = None) -> None:
        self.folder = folder
        self.writable = writable
        self._lock = lock
        self._files: dict[str, BinaryIO] = {}
        self._offsets: dict[str, dict[str, int]] = {}
        self._dirty = False

    @classmethod
    def create(cls, folder: Path, cluster_text: str) -> Experiment:
        """A new experiment. Raises UsageError when there is one of that name already, or none can be made here."""
        try:
            folder.mkdir(parents=True, mode=0o700)
            (folder / "cluster.toml").write_text(cluster_text, encoding="utf-8")
        except FileExistsError:
            raise UsageError(f"{folder} is there already: choose another name with --name") from None
        except OSError as error:
            raise UsageError(f"{folder} can't be made: {error.strerror}") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Experiment:
        """An experiment to go on with; made when it is missing. Read only when another console writes it.

        Raises UsageError when it is damaged, or can't be written.
        """
        try:
            for name in ("logs", "checkpoints", "traces"):
                (folder / name).mkdir(parents=True, mode=0o700, exist_ok=True)
            lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{folder} can't be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return cls(folder, writable=False)
        experiment = cls(folder, writable=True, lock=lock)
        try:
            experiment._recover()
        except (UsageError, OSError) as error:
            experiment._release()
            if isinstance(error, OSError):
                raise UsageError(f"{error.filename} can't be written: {error.strerror}") from error
            raise
        return experiment

    def offsets(self, host: str) -> dict[str, int]:
        """How far each of the host's files has been read."""
        return dict(self._offsets.get(host, {}))

    def lacks(self, host: str, chunk: Chunk) -> bool:
        """Whether something of the chunk's file is missing here that lies before it."""
        return local_name(chunk.file) is not None and chunk.start > self._offsets.get(host, {}).get(chunk.file, 0)

    def take(self, host: str, chunk: Chunk) -> list[Sample | Event | LogLine]:
        """Keep a chunk, and return the records in it, their text made safe. One that was seen before gives nothing,
        nor does one that does not begin where the last one ended: no line may be missing, or be there twice.

        Raises RunFailed when it can't be written here.
        """
        known = self._offsets.setdefault(host, {})
        local = local_name(chunk.file)
        if local is None or chunk.start != known.get(chunk.file, 0):
            return []
        records = list(records_of(host, chunk))
        events = [record for record in records if isinstance(record, Event)]
        self._append(local, b"".join(line_of(record) for record in records if not isinstance(record, Event)))
        self._append("events.jsonl", b"".join(encode(event) for event in events))
        known[chunk.file] = chunk.end
        self._dirty = True
        return records

    def note(self, event: Event) -> None:
        """Keep an event of the console's own."""
        self._append("events.jsonl", encode(event))
        self._dirty = True

    def replay(self) -> Iterator[Sample | Event | LogLine]:
        """What has been kept so far: events and metrics in the order of their times, then what the ranks printed.

        A line that was damaged here is told of in an event.
        """
        logs = self._logs()
        timed = [self.folder / "events.jsonl", *(path for path in logs if path.suffix == ".jsonl")]
        yield from heapq.merge(*map(_timed, timed), key=lambda record: record.time)
        hosts = self._hosts()
        for path in logs:
            if path.suffix == ".jsonl":
                continue
            member = _OURS.fullmatch(path.name)
            number = int(member[1]) if member and member[1] else -1
            host = hosts.get(f"logs/{path.name}", "")
            for line in _lines(path):
                yield LogLine(host=host, member=number, text=line.decode(errors="replace"))

    def members(self) -> set[int]:
        """The members that have left a log or metrics here."""
        found = (_OURS.fullmatch(path.name) for path in self._logs())
        return {int(match[1]) for match in found if match and match[1]}

    def commit(self) -> None:
        """Make what was taken so far permanent. Raises RunFailed when it can't be written here."""
        if not self._dirty or not self.writable:
            return
        with self._writing():
            sizes = {}
            for name, file in self._files.items():
                file.flush()
                sizes[name] = file.tell()
            self._put("offsets.json", json.dumps({"sizes": sizes, "offsets": self._offsets}).encode())
        self._dirty = False

    def write_whole(self, name: str, content: bytes) -> None:
        """Put a whole file (summary.json, a checkpoint) in place: the old one is seen, or the new."""
        if self.writable:
            with self._writing():
                self._put(name, content)

    def close(self) -> None:
        """Commit and let go. Raises RunFailed when the last lines can't be written: they are read again next time."""
        try:
            self.commit()
        finally:
            self._release()

    def _append(self, name: str, content: bytes) -> None:
        if not self.writable or not content:
            return
        with self._writing():
            if name not in self._files:
                self._files[name] = (self.folder / name).open("ab")
            self._files[name].write(content)

    def _put(self, name: str, content: bytes) -> None:
        path = self.folder / name
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = f"The run itself goes on; when this is mended, `motley attach {self.folder.name}` reads on."
            raise RunFailed(f"{self.folder} can't be written: {error.strerror}. {remedy}") from error

    def _release(self) -> None:
        """Close the files and the lock; what can't be flushed is lost here, not on the hosts."""
        self.writable = False
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hosts(self) -> dict[str, str]:
        """The host that each file here was read from."""
        offsets = self._offsets or _committed(self.folder / "offsets.json")[1]
        return {local: host for host, known in offsets.items() for file in known if (local := local_name(file))}

    def _logs(self) -> list[Path]:
        return sorted(path for path in (self.folder / "logs").glob("*") if _OURS.fullmatch(path.name))

    def _recover(self) -> None:
        """Cut the local files to the lengths of the last commit: what is beyond will be read again.

        One that is shorter, or gone, was damaged since: what belongs into it is read again from its beginning.
        """
        sizes, self._offsets = _committed(self.folder / "offsets.json")
        kept = [local for known in self._offsets.values() for file in known if (local := local_name(file))]
        there = [f"logs/{path.name}" for path in self._logs()]
        for name in sorted({"events.jsonl", *kept, *there}):
            file = self._files[name] = (self.folder / name).open("ab")
            if file.tell() < sizes.get(name, 0):
                sizes[name] = 0
                self._offsets = {
                    host: {f: offset for f, offset in known.items() if local_name(f) != name}
                    for host, known in self._offsets.items()
                }
            file.truncate(sizes.get(name, 0))
            file.seek(0, os.SEEK_END)


def _lines(path: Path) -> list[bytes]:
    """Without one that is not whole yet."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _timed(path: Path) -> Iterator[Sample | Event]:
    for line in _lines(path):
        yield record_of("", path.name, line)


def _committed(path: Path) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """The lengths of the local files and the offsets of the hosts' files of the last commit."""

    def count(value: object) -> int:
        if type(value) is not int or value < 0:
            raise ValueError(f"{value!r} is no length")
        return value

    try:
        table = json.loads(path.read_bytes())
        sizes = {name: count(size) for name, size in table["sizes"].items()}
        return sizes, {
            host: {file: count(offset) for file, offset in known.items()} for host, known in table["offsets"].items()
        }
    except FileNotFoundError:
        return {}, {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        remedy = f"Move {path.parent} away; `motley attach {path.parent.name}` then reads the run from its hosts again."
        raise UsageError(f"{path} is damaged ({clean(str(error))}). {remedy}") from error
