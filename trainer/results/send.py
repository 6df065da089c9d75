"""Sends what the patterns of a run name, each file once it is whole, as often as it is another one.

Frames are written: a line of JSON, and after that of a `file` as many bytes as it says and one more line.

| line | is |
|---|---|
| `{"op": "file", "path", "size", "mtime_ns"}` | its bytes follow |
| `{"op": "sent", "whole": bool}` | after them; not whole: it was changed meanwhile, and comes once more |
| `{"op": "left", "path", "why"}` | it stays here |
| `{"op": "beat"}` | a sign of life |
| `{"op": "end"}` | the run is over here, and all of it was sent |

A file is whole when nothing has changed it for `SETTLED_S`, or when the run is over. `trainer.verbs.results` looks
again and again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from motley.trainer.contract.result_patterns import Patterns
from motley.trainer.contract.spec import Spec
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import read_json
from motley.trainer.results.found_files import ODD_NAME, FoundFile, find

SETTLED_S = 3.0
LOOK_S, LOOK_SHARE = 2.0, 0.1  # between two looks, and of a core that they may take
LONGEST_S = 20.0
REST = 2.0  # times what sending a file took, before it is sent once more
BEAT_S = 1.0
CHUNK = 256 * 1024
MOST_LEFT = 20  # that are told of
GIB = 2**30


class Sender:
    """What the other side has, and what it was told."""

    def __init__(self, folder: Path, patterns: Patterns, have: Mapping[str, tuple[int, int]], most: int) -> None:
        self._folder = folder
        self._patterns = patterns
        self._have = dict(have)
        self._bytes = sum(size for size, _ in have.values())
        self._most = most
        self._told: set[str] = set()
        self._rests: dict[str, float] = {}  # until when a file is not sent again, on the monotonic clock

    def look(self, stdout: BinaryIO, *, over: bool) -> None:
        """Send what is new and whole; when the run is `over`, all that is new."""
        found = find(self._folder, self._patterns)
        now_ns = time.time_ns()
        for path, file in found.files.items():
            if self._have.get(path) == file.version:
                continue
            settled = over or abs(now_ns - file.changed_ns) >= SETTLED_S * 1e9
            if not settled or (not over and time.monotonic() < self._rests.get(path, 0.0)):
                continue
            if self._bytes - self._have.get(path, (0, 0))[0] + file.size > self._most:
                self._leave(stdout, "", f"they are more than {self._most / GIB:.3g} GiB: [run] results_gib allows more")
                break
            self._send(stdout, path, file, over=over)
        for path, why in found.left.items():
            self._leave(stdout, path, why)
        stdout.flush()

    def lacking(self) -> dict[str, int]:
        """What the other side has not, whole or not, and what it never can have: paths with their sizes."""
        found = find(self._folder, self._patterns)
        lacks = {path: file.size for path, file in found.files.items() if self._have.get(path) != file.version}
        odd = {path: 0 for path, why in found.left.items() if why == ODD_NAME}
        return {**lacks, **odd, **({"and more of them": 0} if found.more else {})}

    def _leave(self, stdout: BinaryIO, path: str, why: str) -> None:
        if len(self._told) < MOST_LEFT and path + why not in self._told:
            self._told.add(path + why)
            write(stdout, op="left", path=path, why=why)

    def _send(self, stdout: BinaryIO, path: str, file: FoundFile, *, over: bool) -> None:
        """A file that shrinks or grows meanwhile is not whole; when the run is over it is tried at once once more."""
        began = time.monotonic()
        for _ in range(2 if over else 1):
            try:
                descriptor = os.open(file.place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:  # gone meanwhile
                return
            except OSError as error:
                self._leave(stdout, path, f"it can't be read: {error.strerror}")
                return
            try:
                before = os.fstat(descriptor)
                write(stdout, op="file", path=path, size=before.st_size, mtime_ns=before.st_mtime_ns)
                whole = _copy(descriptor, before.st_size, stdout)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            whole = whole and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
            write(stdout, op="sent", whole=whole)
            if whole:
                self._bytes += before.st_size - self._have.get(path, (0, 0))[0]
                self._have[path] = (before.st_size, before.st_mtime_ns)
                break
        self._rests[path] = time.monotonic() + REST * (time.monotonic() - began)


def patterns_of(folder: Path) -> list[str]:
    """`[run] results` of the run, by its spec; empty where there is none."""
    options = read_json(folder / "spec.json").get("options")
    patterns = options.get("results") if isinstance(options, dict) else None
    return [str(pattern) for pattern in patterns] if isinstance(patterns, list) else []


def wants_results(folder: Path) -> bool:
    """Whether what the script has written on this host is wanted at home, as far as is known here."""
    if not patterns_of(folder):
        return False
    try:
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        led = (folder / "coordinator.out").exists() or lead_of(folder, spec).leader == spec.host
        return led or spec.options.results_from == "all"
    except (OSError, ValueError, KeyError, TypeError):  # of another version
        return True


def write(stdout: BinaryIO, **frame: object) -> None:
    stdout.write(json.dumps(frame).encode() + b"\n")


def pause_s(cost_s: float) -> float:
    """Until the next look, when one takes so much of a core.

    >>> pause_s(0.001), pause_s(0.5)
    (2.0, 5.0)
    """
    return min(max(LOOK_S, cost_s / LOOK_SHARE), LONGEST_S)


def _copy(descriptor: int, size: int, stdout: BinaryIO) -> bool:
    """So many bytes, whatever is there by now. Returns whether the file had them."""
    left, whole = size, True
    while left:
        data = os.read(descriptor, min(CHUNK, left)) if whole else b""
        if not data:
            whole, data = False, bytes(min(CHUNK, left))
        stdout.write(data)
        left -= len(data)
    return whole
