"""An experiment folder as it lies here, read and never written: for what is told of a run afterwards.

It may be of a run that goes on, of an older version, torn, or somebody else's: whatever is not sound is left out, and
said in `problems` in plain words. No host is asked, and no lock is taken.

    >>> past = PastRun.open(Path("experiments/night"))
    >>> past.summary["state"], past.settings["run"]["epochs"]
    ('finished', 60)
    >>> for record in past.records(): ...       # events and metrics in order of time, their texts safe to show
    >>> past.problems
    ['2 lines of logs/rank_1_metrics.jsonl can not be read: they are left out']
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from motley.console.report.in_order import in_order
from motley.remote.errors import UsageError
from motley.remote.experiment.local_names import logs
from motley.remote.experiment.records import record_of
from motley.remote.sanitize import clean, clean_table
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

if TYPE_CHECKING:
    from motley.console.report.step_lines import StepLine

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 4 << 20  # of cluster.toml and of summary.json
LONGEST = 1 << 20  # bytes of a line
TELL = 1 << 20  # bytes of a file, between two words on how much was read
BLOCK = 1 << 18  # bytes of a file that are read at once
NAMED = 8  # runs that are named where one is not there
SECTIONS = ("run", "balance", "elastic", "data", "task")  # of cluster.toml: what was trained, and how

Record = Union[Sample, "StepLine", Reading, Usage, Event]

_HEAD = "# Changed on the command line:"
_CHANGED = re.compile(r"^# --set (.+)$", re.MULTILINE)  # as `remote.config.load` writes it
_ATTACH = "`motley attach {run}` brings what its hosts still have"


@dataclass(slots=True)
class PastRun:
    """`settings`: the tables `SECTIONS` of cluster.toml with what the command line changed, addresses and users of
    hosts not among them. `summary` is empty where there is none. `problems` grows while records are read."""

    folder: Path
    name: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    speeds: dict[str, float] = field(default_factory=dict)  # of emulated hosts, by name
    problems: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path) -> PastRun:
        """Raises UsageError where there is no experiment."""
        if not folder.is_dir() or not any(
            (folder / name).exists() for name in ("cluster.toml", "events.jsonl", "logs")
        ):
            raise UsageError(_not_there(folder))
        past = cls(folder, clean(folder.resolve().name))
        past.settings = past._settings()
        past.summary = past._summary()
        return past

    def records(self, reading: Callable[[float], object] = lambda _: None) -> Iterator[Record]:
        """Events and metrics, merged by time; each file in its own order. Lines that are none are left out and counted
        in `problems`, and so is the end of a file that breaks off within a line. `reading` is told, now and then, what
        part of it all was read, 0 to 1."""
        files = record_files(self.folder)
        if not files:
            self.problems.append(f"nothing is here of what the ranks told; {self._attach()}")
        read, whole = 0, max(1, sum(path.stat().st_size for path in files))

        def counted(length: int) -> None:
            nonlocal read
            read += length
            reading(min(1.0, read / whole))

        problems: list[list[str]] = [[] for _ in files]
        yield from in_order(map(self._file, files, repeat(counted), problems))
        self.problems += chain.from_iterable(problems)

    def _file(self, path: Path, counted: Callable[[int], object], problems: list[str]) -> Iterator[Sequence[Record]]:
        """Its records, some at a time."""
        from motley.console.report.step_lines import step_lines  # a replay begins without, and msgspec takes 20 ms

        bad, torn, length = 0, False, 0
        found: list[Record] = []
        name = path.relative_to(self.folder).as_posix()
        of_rank = path.suffix == ".jsonl" and path.parent.name == "logs"
        try:
            for part in _blocks(path):
                block = part if of_rank and isinstance(part, bytes) and part.endswith(b"\n") else None
                if block is not None and (steps := step_lines(block)) is not None:
                    torn = False
                    counted(len(block))
                    yield steps
                    continue
                for line, whole in _lines(io.BytesIO(part) if isinstance(part, bytes) else part):
                    torn = not whole
                    length += len(line)
                    if length >= TELL:
                        counted(length)
                        length = 0
                        yield found
                        found = []
                    if of_rank and whole and (steps := step_lines(line)):
                        found += steps
                        continue
                    record = record_of("", path.name, line) if whole and line else None
                    if isinstance(record, Event) and record.source == "console" and not record.host:
                        bad += 1  # `record_of` says so of a line that is none
                    elif record is not None:
                        found.append(record)
                yield found
                found = []
        except OSError as error:
            yield found
            problems.append(f"{name} can't be read: {error.strerror}")
        if bad:
            lines = "a line" if bad == 1 else f"{bad:,} lines"
            problems.append(f"{lines} of {name} can't be read, and {'is' if bad == 1 else 'are'} left out")
        if torn:
            problems.append(f"{name} ends within a line, which is left out")

    def _settings(self) -> dict[str, dict[str, Any]]:
        text = self._text("cluster.toml", "its settings are not known")
        if text is None:
            return {}
        try:
            table = tomllib.loads(text)
            if changed := _CHANGED.findall(text.partition(_HEAD)[2]):
                from motley.remote.config.overrides import apply_overrides  # a third of all that replay would import
                from motley.remote.config.problems import Problems

                apply_overrides(table, changed, Problems({}, "cluster.toml"))
        except (ValueError, RecursionError, TypeError, AttributeError) as error:
            self.problems.append(f"cluster.toml can't be read, so its settings are not known: {clean(str(error))}")
            return {}
        self.speeds = _speeds(table)
        found = clean_table({name: table[name] for name in SECTIONS if isinstance(table.get(name), dict)})
        return dict(found)

    def _summary(self) -> dict[str, Any]:
        text = self._text("summary.json", f"what the run came to is read from what its ranks told; {self._attach()}")
        if text is None:
            return {}
        try:
            table = json.loads(text)
        except (ValueError, RecursionError):
            table = None
        if not isinstance(table, dict):
            self.problems.append(f"summary.json can't be read; {self._attach()}")
            return {}
        return dict(clean_table(table))

    def _text(self, name: str, without: str) -> str | None:
        path = self.folder / name
        try:
            if not _is_file(path):
                raise FileNotFoundError
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            self.problems.append(f"there is no {name}: {without}")
            return None
        except OSError as error:
            self.problems.append(f"{name} can't be read ({error.strerror}): {without}")
            return None
        if len(content) > MOST_BYTES:
            self.problems.append(f"{name} is larger than {MOST_BYTES >> 20} MiB, and is not read: {without}")
            return None
        return content.decode("utf-8-sig", errors="replace")

    def _attach(self) -> str:
        return _ATTACH.format(run=self.name)


def record_files(folder: Path) -> list[Path]:
    """Events and metrics that are there, in the folder itself."""
    inside = [] if (folder / "logs").is_symlink() else logs(folder)
    files = [folder / "events.jsonl", *(path for path in inside if path.suffix == ".jsonl")]
    return [path for path in files if _is_file(path)]


def _speeds(table: dict[str, Any]) -> dict[str, float]:
    """Of demo hosts, whose slowness is put on."""
    cluster, usual = table.get("cluster"), table.get("defaults")
    connect = cluster.get("connect") if isinstance(cluster, dict) else None
    speed = usual.get("speed") if isinstance(usual, dict) else None
    hosts = table.get("hosts")
    demo = [
        host
        for host in (hosts if isinstance(hosts, list) else ())
        if isinstance(host, dict) and isinstance(host.get("name"), str) and host.get("connect", connect) == "demo"
    ]
    told = {clean(host["name"]): host.get("speed", 1.0 if speed is None else speed) for host in demo}
    return {name: float(value) for name, value in told.items() if isinstance(value, (int, float)) and 0 < value <= 1}


def folder_of(run: str, config: Path) -> Path:
    """Where a run lies: `experiments/` beside cluster.toml for a name, else the folder that a path names."""
    if "/" in run or run in (".", ".."):
        return Path(run)
    return config.absolute().parent / "experiments" / run


def _not_there(folder: Path) -> str:
    try:
        here = sorted((p for p in folder.parent.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        here = []
    if folder.is_dir():
        return f"{folder} is no experiment: it has no cluster.toml, events.jsonl or logs"
    named = ", ".join(path.name for path in here[:NAMED])
    which = f"; the newest there: {named}" if named and folder.parent.name == "experiments" else ""
    remedy = "name a run of experiments/ beside cluster.toml (-c FILE), or its folder by a path with a / in it"
    return f"{folder}: there is no such experiment{which}; {remedy}"


def _is_file(path: Path) -> bool:
    """What leads elsewhere, or would keep its reader waiting, is none."""
    return path.is_file() and not path.is_symlink()


def _blocks(path: Path) -> Iterator[bytes | BinaryIO]:
    """Whole lines, some at a time, and the end that has no newline; the rest of a file that has a line too long."""
    with path.open("rb") as file:
        rest = b""
        while more := file.read(BLOCK):
            rest += more
            end = rest.rfind(b"\n") + 1
            if end:
                yield rest[:end]
                rest = rest[end:]
            elif len(rest) > LONGEST:
                file.seek(-len(rest), io.SEEK_CUR)
                yield file
                return
        if rest:
            yield rest


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Each line without its newline, and whether it is whole; of one that is too long nothing but an odd sign."""
    while line := file.readline(LONGEST):
        if line.endswith(b"\n"):
            yield line[:-1], True
            continue
        ended = len(line) < LONGEST
        while not ended:
            more = file.readline(LONGEST)
            ended = not more or more.endswith(b"\n")
        yield b"?", len(line) == LONGEST


def flat(settings: dict[str, dict[str, Any]], sections: Iterable[str] = SECTIONS) -> dict[str, Any]:
    """`{"run": {"epochs": 3}}` as `{"run.epochs": 3}`."""
    found: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                add(f"{path}.{key}", inner)
        else:
            found[path] = value

    for section in sections:
        for key, value in settings.get(section, {}).items():
            add(f"{section}.{key}", value)
    return found
