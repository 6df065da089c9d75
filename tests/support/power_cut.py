"""What a disk may hold after a power cut, found by writing to it for real and forgetting all that was not synced.

The strict reading of POSIX: what is in a file is on the disk after an fsync of it, its name after an fsync of its
folder. What was not synced may be there or not: of the names in all folders as many changes as came before any moment,
of a file that was never synced nothing.

    >>> with Disk(tmp_path) as disk:
    ...     write(tmp_path / "spec.json", b"{}")
    >>> for state in disk.after_each_cut(tmp_path_factory.mktemp("cut")):
    ...     ...  # a folder as `tmp_path` may be found then
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from motley.trainer.bootstrap import durable

_recording: list[Disk] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    for disk in _recording:
        disk.heard(event, args)


sys.addaudithook(_hook)


@dataclass
class File:
    """`synced`: what of it is on the disk."""

    synced: bytes = b""


Names = dict[str, "File | None"]  # by their path in the folder; None is a folder


@dataclass
class Moment:
    """The names that are on the disk for sure, the changes that may be, and what is in the files."""

    names: Names
    pending: list[tuple[str, Callable[[Names], None]]]
    contents: dict[int, bytes]


@dataclass
class Disk:
    """Records what this process does below `top`, its threads included, while it is entered."""

    top: Path
    _live: Names = field(default_factory=dict)
    _sure: Names = field(default_factory=dict)
    _pending: list[tuple[str, Callable[[Names], None]]] = field(default_factory=list)  # folder, change
    _moments: list[Moment] = field(default_factory=list)
    _fsync: Any = os.fsync
    _sync_disk: Any = durable.sync_disk

    def __enter__(self) -> Disk:
        self.top = self.top.resolve()
        for path in sorted(self.top.rglob("*")):
            self._live[str(path.relative_to(self.top))] = None if path.is_dir() else File(path.read_bytes())
        self._sure = dict(self._live)
        self._fsync, self._sync_disk = os.fsync, durable.sync_disk
        os.fsync = self._synced  # type: ignore[assignment]
        durable.sync_disk = self._all_synced
        _recording.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _recording.remove(self)
        os.fsync = self._fsync
        durable.sync_disk = self._sync_disk

    def after_each_cut(self, folder: Path) -> Iterator[Path]:
        """Every state that the power may leave behind, from before the first change to after the last."""
        count, seen = 0, set()
        for moment in self._moments:
            for more in range(len(moment.pending) + 1):
                names = dict(moment.names)
                for _, change in moment.pending[:more]:
                    change(names)
                told = tuple(
                    (n, None if f is None else moment.contents.get(id(f), b"")) for n, f in sorted(names.items())
                )
                if told in seen:
                    continue
                seen.add(told)
                yield _lay_out(folder / str(count), told)
                count += 1

    def heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and (isinstance(args[0], int) or not args[2] & (os.O_CREAT | os.O_TRUNC)):
            return
        if event not in ("open", "os.mkdir", "os.remove", "os.rmdir", "os.rename"):
            return
        name = self._name(args[0])
        to = self._name(args[1]) if event == "os.rename" else ""
        if name is None or to is None:  # not below `top`
            return
        if event == "os.rename":
            self._change(name, lambda names: _rename(names, name, to))
        elif event in ("os.remove", "os.rmdir"):
            self._change(name, lambda names: names.pop(name, None))
        elif name not in self._live:
            new = None if event == "os.mkdir" else File()
            self._change(name, lambda names: names.setdefault(name, new))
        elif event == "open" and args[2] & os.O_TRUNC and (known := self._live[name]) is not None:
            known.synced = b""
            self._keep()

    def _change(self, name: str, change: Callable[[Names], Any]) -> None:
        change(self._live)
        self._pending.append((os.path.dirname(name), change))
        self._keep()

    def _synced(self, handle: Any) -> None:
        self._fsync(handle)
        number = handle if isinstance(handle, int) else handle.fileno()
        name = self._name(os.readlink(f"/proc/self/fd/{number}"))
        if name is None:
            return
        file = self._live.get(name)
        if file is None:  # a folder
            folder = "" if name == "." else name
            for where, change in self._pending:
                if where == folder:
                    change(self._sure)
            self._pending = [(where, change) for where, change in self._pending if where != folder]
        else:
            file.synced = (self.top / name).read_bytes()
        self._keep()

    def _all_synced(self, path: str) -> None:
        self._sync_disk(path)
        for name, file in self._live.items():
            if file is not None:
                file.synced = (self.top / name).read_bytes()
        self._sure, self._pending = dict(self._live), []
        self._keep()

    def _keep(self) -> None:
        files = [*self._live.values(), *self._sure.values()]
        contents = {id(file): file.synced for file in files if file is not None}
        self._moments.append(Moment(dict(self._sure), list(self._pending), contents))

    def _name(self, path: Any) -> str | None:
        name = os.path.relpath(os.path.join(os.getcwd(), os.fsdecode(path)), self.top)
        return None if name.startswith("..") else name


def _rename(names: Names, name: str, to: str) -> None:
    """With what is in it, as far as its folder's own names are on the disk."""
    for path in [path for path in names if path == name or path.startswith(f"{name}/")]:
        names[to + path[len(name) :]] = names.pop(path)


def _lay_out(folder: Path, told: tuple[tuple[str, bytes | None], ...]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in told:
        path = folder / name
        if not path.parent.is_dir():
            continue  # its folder has not come so far
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
    return folder
