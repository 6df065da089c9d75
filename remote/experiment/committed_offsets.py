"""What of a run is here for sure: how far each file of a host was read, and how long each file here was then.

`remote.experiment.folder` keeps two such moments. `offsets.json` is the newest, and is there whatever happens to the
console. `synced.json` is one of a few seconds before for which the disk was waited for, so it is there after a power
cut, too, and so are the files that it tells of.

    >>> moment = newest(folder)
    >>> at_most(moment, synced(folder), {"events.jsonl": 812})    # what is left of it, with files as long as these
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from motley.remote.errors import UsageError
from motley.remote.sanitize import clean
from motley.trainer.bootstrap import durable

NEWEST, SYNCED = "offsets.json", "synced.json"


@dataclass(frozen=True, slots=True)
class Moment:
    sizes: Mapping[str, int] = field(default_factory=dict)  # of the files here
    offsets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by place (`LocalCopy`) and file

    def to_json(self) -> bytes:
        return json.dumps({"sizes": self.sizes, "offsets": self.offsets}).encode()


def newest(folder: Path) -> Moment:
    """Raises UsageError when that can't be known: both files are damaged, or one is and the other is not there."""
    try:
        found = _read(folder / NEWEST)
    except ValueError as error:
        before = synced(folder)
        if before is None:
            remedy = f"Move {folder} away; `motley attach {folder.name}` then reads the run from its hosts again."
            raise UsageError(f"{folder / NEWEST} is damaged ({clean(str(error))}). {remedy}") from error
        return before
    return found or synced(folder) or Moment()


def synced(folder: Path) -> Moment | None:
    try:
        return _read(folder / SYNCED)
    except ValueError:
        return None


def keep(folder: Path, moment: Moment) -> None:
    """As the newest one. It does not wait for the disk."""
    durable.write(folder / NEWEST, moment.to_json(), sync=False)


def sync(folder: Path, moment: Moment, handles: Iterable[int]) -> None:
    """Wait until the files, open as `handles`, and then the moment are on the disk."""
    for handle in handles:
        os.fsync(handle)
    durable.sync_folder(str(folder / "logs"))
    durable.write(folder / SYNCED, moment.to_json())


def at_most(
    newest: Moment,
    synced: Moment | None,
    lengths: Mapping[str, int],
    local: Callable[[str], str | None],
    first: Callable[[str], str],
) -> Moment:
    """For each file the newer of the two moments at which it was no longer than it is; else what belongs into it is to
    be read from its beginning. `local`: where a host's file is kept here; `first`: of what a file is a later part.
    All parts of one are of the same moment, and those that it does not tell of are not wanted.
    """
    moments = [newest, *([synced] if synced is not None else [])]
    fitting = {
        whole: next((moment for moment in moments if _fits(_parts(moment, whole, first), lengths)), Moment())
        for whole in {first(name) for name in lengths}
    }
    offsets: dict[str, dict[str, int]] = {}
    for host in newest.offsets:
        for file in newest.offsets[host]:
            moment = fitting.get(local(file) or "", Moment())
            if file in moment.offsets.get(host, {}):
                offsets.setdefault(host, {})[file] = moment.offsets[host][file]
    sizes = dict.fromkeys(fitting, 0)
    for whole, moment in fitting.items():
        sizes |= _parts(moment, whole, first)
    return Moment(sizes, offsets)


def _parts(moment: Moment, whole: str, first: Callable[[str], str]) -> dict[str, int]:
    return {name: size for name, size in moment.sizes.items() if first(name) == whole}


def _fits(sizes: Mapping[str, int], lengths: Mapping[str, int]) -> bool:
    return all(size <= lengths.get(name, 0) for name, size in sizes.items())


def _read(path: Path) -> Moment | None:
    """None when there is none, or an empty one, as a power cut may leave it. Raises ValueError for a damaged one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content.strip(b"\0"):
        return None
    try:
        table = json.loads(content)
        return Moment(
            {name: _count(size) for name, size in table["sizes"].items()},
            {host: {file: _count(n) for file, n in known.items()} for host, known in table["offsets"].items()},
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no length")
    return value
