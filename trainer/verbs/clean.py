"""What lies under `~/.motley` on a host, how large and how old, and removing it. Standard library only.

    >>> items("box1")
    [Item(kind='run', name='night', bytes=8123456, age_s=864000.0, used=''),
     Item(kind='code', name='8f5a…', bytes=412345, age_s=60.0, used='it is the one in use now')]

What is in use has a reason in `used`, and is never removed. Nor is what is a link: it may lead to another disk, which
is not ours to change.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motley.trainer.host import processes
from motley.trainer.host.paths import HERE, run_folder, runs_folder
from motley.trainer.host.run_state import state_of
from motley.trainer.results.send import wants_results

TREES = ("code", "data", "env", "cache")  # folders of `~/.motley` that hold trees
BEAT_S = 60.0  # a supervisor elsewhere that wrote its state so recently is at work


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """`kind` is "run" or one of `TREES`; `name` that of its folder."""

    kind: str
    name: str
    bytes: int  # on the disk
    age_s: float  # since it was last changed
    used: str  # why it has to stay; empty when nothing needs it
    results: bool = False  # of a run whose results here are wanted at home


def items(host: str, *, now: float | None = None) -> list[Item]:
    """Everything of ours that this host may remove: its own runs, and trees, which hosts with one home share."""
    now = time.time() if now is None else now
    running = _running(now)
    found = [_run(folder, now) for folder in sorted(runs_folder().glob(f"*/{host}"))]
    places = _places_in_use()
    for kind in TREES:
        for tree in sorted(_entries(runs_folder().parent / kind)):
            used = _why_used(tree, places, running)
            found.append(Item(kind=kind, name=tree.name, bytes=_size(tree), age_s=_age(tree, now), used=used))
    return found


def remove(host: str, wanted: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Remove these (kind, name), as far as nobody uses them by now.

    Answers `{"bytes": what that freed, "kept": [[kind, name, why]]}`.
    """
    there = {(item.kind, item.name): item for item in items(host)}
    freed, kept = 0, []
    for kind, name in wanted:
        item = there.get((kind, name))
        if item is None:  # gone already
            continue
        why = item.used or _take_away(run_folder(name, host) if kind == "run" else runs_folder().parent / kind / name)
        if why:
            kept.append([kind, name, why])
        else:
            freed += item.bytes
    return {"bytes": freed, "kept": kept}


def answer(host: str) -> dict[str, Any]:
    return {"items": [asdict(item) for item in items(host)]}


def _run(folder: Path, now: float) -> Item:
    state = state_of(folder).get("state")
    used = f"it is {state}" if state in ("starting", "running") else _why_no_folder(folder.parent, folder)
    if not used and (left := len(processes.tagged(folder))):
        used = f"{left} processes of it are left: motley stop {folder.parent.name}"
    age_s = min((_age(path, now) for path in _entries(folder)), default=_age(folder, now))
    name, results = folder.parent.name, wants_results(folder)
    return Item(kind="run", name=name, bytes=_size(folder), age_s=age_s, used=used, results=results)


def _running(now: float) -> str:
    """A run that goes on on any host that shares this home; empty when there is none."""
    for path in runs_folder().glob("*/*/state.json"):
        if state_of(path.parent).get("state") in ("starting", "running"):
            return path.parent.parent.name
        foreign = now - path.stat().st_mtime < BEAT_S  # the processes of another machine can't be seen from here
        if foreign and state_of(path.parent).get("state") == "lost":
            return path.parent.parent.name
    return ""


def _why_used(tree: Path, places: Iterable[Path], running: str) -> str:
    if tree.resolve() == HERE:
        return "it is the one in use now"
    if linked := _why_no_folder(tree):
        return linked
    if any(place.is_relative_to(tree.resolve()) for place in places):
        return "a process uses it"
    return f"{running} may use it" if running else ""


def _why_no_folder(*places: Path) -> str:
    link = next((place for place in places if place.is_symlink()), None)
    return "" if link is None else f"it is a link to {os.readlink(link)}: remove both by hand"


def _places_in_use() -> set[Path]:
    """Working folders of all processes that can be looked at, the programs they were started as, what they have open.

    A process that reads data keeps its folder open for that: `trainer.tasks.data_location.keep_open`.
    """
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                found.add(Path(os.readlink(f"/proc/{entry.name}/cwd")))
                found.add(Path(os.fsdecode(Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")[0])))
                found.update(_opened(f"/proc/{entry.name}/fd"))
            except OSError:  # gone meanwhile, or another user's
                continue
    return found


def _opened(folder: str) -> Iterator[Path]:
    for name in os.listdir(folder):
        try:
            yield Path(os.readlink(f"{folder}/{name}"))
        except OSError:  # closed meanwhile
            continue


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _age(path: Path, now: float) -> float:
    return max(0.0, now - path.lstat().st_mtime)


def _size(folder: Path) -> int:
    """Blocks on the disk, links not followed."""
    if folder.is_symlink():
        return 0
    total = 0
    for place, _, names in os.walk(folder):
        for name in (".", *names):
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:  # gone meanwhile
                continue
    return total


def _take_away(folder: Path) -> str:
    """Rename it out of everybody's sight, then remove it. Returns why that was not possible, else nothing."""
    if linked := _why_no_folder(folder):
        return linked
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
    try:
        os.replace(folder, aside)
        for place, _, _ in os.walk(aside):  # what is a link in it is not followed, here and in the next line
            os.chmod(place, stat.S_IRWXU)  # a folder that can't be written keeps what is in it
        shutil.rmtree(aside)
        if folder.parent.parent == runs_folder() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()  # the last host of a run
    except OSError as error:
        return f"it can't be removed: {error.strerror or error}"
    return ""
