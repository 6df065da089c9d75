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

import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from remote.errors import UsageError
from remote.feed import LogLine
from remote.sanitize import clean, clean_table
from trainer.wire import Chunk, Event, Sample, WireError, decode, encode

LAST_LINES = 200  # of a rank's metrics, in which the last step of the run is looked for
_METRICS = re.compile(r"rank_(\d+)(?:\.\d+)?\.jsonl")
_OUTPUT = re.compile(r"rank_(\d+)(?:\.\d+)?\.out")


def local_name(file: str) -> str | None:
    """Where a host's file is kept here, relative to the experiment; None for a file that isn't ours.

    >>> local_name("rank_3.1.jsonl")
    'logs/rank_3_metrics.jsonl'
    """
    if match := _METRICS.fullmatch(file):
        return f"logs/rank_{match[1]}_metrics.jsonl"
    if match := _OUTPUT.fullmatch(file):
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
        """A new experiment. Raises UsageError when there is one of that name already."""
        try:
            folder.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            raise UsageError(f"{folder} is there already: choose another name with --name") from None
        (folder / "cluster.toml").write_text(cluster_text, encoding="utf-8")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Experiment:
        """An experiment to go on with; made when it is missing. Read only when another console writes it."""
        for name in ("logs", "checkpoints"):
            (folder / name).mkdir(parents=True, mode=0o700, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return cls(folder, writable=False)
        experiment = cls(folder, writable=True, lock=lock)
        experiment._recover()
        return experiment

    def offsets(self, host: str) -> dict[str, int]:
        """How far each of the host's files has been read."""
        return dict(self._offsets.get(host, {}))

    def take(self, host: str, chunk: Chunk) -> list[Sample | Event | LogLine]:
        """Keep a chunk, and return the records in it, their text made safe. A chunk seen before gives nothing."""
        known = self._offsets.setdefault(host, {})
        local = local_name(chunk.file)
        if local is None or chunk.start != known.get(chunk.file, 0):
            return []
        records = list(_records(host, chunk))
        self._append(local, b"".join(_line(record) for record in records))
        known[chunk.file] = chunk.end
        self._dirty = True
        return records

    def note(self, event: Event) -> None:
        """Keep an event of the console's own."""
        self._append("events.jsonl", encode(event))
        self._dirty = True

    def replay(self) -> Iterator[Sample | Event | LogLine]:
        """What has been kept so far, file by file."""
        for path in [self.folder / "events.jsonl", *sorted((self.folder / "logs").glob("*"))]:
            if not path.exists():
                continue
            member = re.match(r"rank_(\d+)\.log", path.name)
            for line in path.read_bytes().splitlines():
                if path.suffix == ".jsonl":
                    record = decode(line)
                    assert isinstance(record, (Sample, Event))
                    yield record
                elif member:
                    yield LogLine(host="", member=int(member[1]), text=line.decode())

    def global_loss(self, step: int, members: int) -> float | None:
        """Mean loss of one step over all ranks, from their metrics; None when a rank's line is not here."""
        found: dict[int, tuple[int, float]] = {}
        for path in (self.folder / "logs").glob("rank_*_metrics.jsonl"):
            for line in reversed(path.read_bytes().splitlines()[-LAST_LINES:]):
                record = decode(line)
                if isinstance(record, Sample) and record.step == step:
                    found[record.member] = (record.batch, (record.loss or 0.0) * record.batch)
                    break
        total = sum(batch for batch, _ in found.values())
        return sum(loss for _, loss in found.values()) / total if len(found) == members and total else None

    def commit(self) -> None:
        """Make what was taken so far permanent."""
        if not self._dirty or not self.writable:
            return
        sizes = {}
        for name, file in self._files.items():
            file.flush()
            sizes[name] = file.tell()
        part = self.folder / ".offsets.json.part"
        part.write_text(json.dumps({"sizes": sizes, "offsets": self._offsets}), encoding="utf-8")
        os.replace(part, self.folder / "offsets.json")
        self._dirty = False

    def write_whole(self, name: str, content: bytes) -> None:
        """Put a whole file (summary.json, a checkpoint) in place: the old one is seen, or the new."""
        if not self.writable:
            return
        path = self.folder / name
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)

    def close(self) -> None:
        self.commit()
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _append(self, name: str, content: bytes) -> None:
        if not self.writable:
            return
        if name not in self._files:
            self._files[name] = (self.folder / name).open("ab")
        self._files[name].write(content)

    def _recover(self) -> None:
        """Cut the local files to the lengths of the last commit: what is beyond will be read again."""
        try:
            table = json.loads((self.folder / "offsets.json").read_bytes())
            sizes, self._offsets = dict(table["sizes"]), dict(table["offsets"])
        except FileNotFoundError:
            sizes = {}
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.folder}/offsets.json is damaged ({error}): move the folder away") from error
        for path in [self.folder / "events.jsonl", *(self.folder / "logs").glob("*")]:
            name = str(path.relative_to(self.folder))
            if path.exists():
                os.truncate(path, sizes.get(name, 0))
                self._files[name] = path.open("ab")


def _records(host: str, chunk: Chunk) -> Iterator[Sample | Event | LogLine]:
    output = _OUTPUT.fullmatch(chunk.file)
    for line in chunk.text.splitlines():
        if output or chunk.file == "coordinator.out":
            yield LogLine(host=host, member=int(output[1]) if output else -1, text=clean(line))
            continue
        try:
            record = decode(line)
        except WireError as error:
            text = f"a line of {chunk.file} can't be read: {clean(str(error))}"
            yield Event(time=0.0, host=host, source="console", kind="note", text=text, level="warning")
            continue
        if isinstance(record, (Sample, Event)):
            yield _safe(record)


def _safe(record: Sample | Event) -> Sample | Event:
    if isinstance(record, Sample):
        return record
    return Event(
        time=record.time,
        host=clean(record.host),
        source=clean(record.source),
        kind=clean(record.kind),
        text=clean(record.text),
        level=record.level if record.level in ("info", "warning", "error") else "info",
        data=clean_table(record.data),
    )


def _line(record: Sample | Event | LogLine) -> bytes:
    return record.text.encode() + b"\n" if isinstance(record, LogLine) else encode(record)
