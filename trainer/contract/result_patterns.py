"""Which paths the patterns of `[run] results` mean, as a shell with `**` would. Standard library only.

>>> wanted = Patterns(["out/**", "*.pt"])
>>> [wanted.match(path) for path in ("out/a.txt", "out/deep/b", "last.pt", "deep/last.pt", "out")]
[True, True, True, False, False]
>>> wanted.may_hold("out/deep"), wanted.may_hold("src")
(True, False)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

TIMES = ".motley-times.json"  # beside results that a run goes on from: {path: mtime in ns} of the originals
ANY = "**"  # so many folders, or none; at the end: all that is below


_GLOB = re.compile(r"[*?[]")


class Patterns:
    """`*` and `?` stand for what has no `/` in it, `[ab]` for one of these characters, `**` for any folders. A name
    without any of them is a file's, or a folder's with all that is in it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._files: list[re.Pattern[str]] = []
        self._folders: list[list[re.Pattern[str] | None]] = []
        for pattern in patterns:
            parts = pattern.rstrip("/").split("/")
            named = _GLOB.search(parts[-1]) is None  # a file of that name, or all that is in a folder
            if pattern.endswith("/"):
                parts.append(ANY)
            elif named:
                self._add([*parts, ANY])
            self._add(parts)

    def _add(self, parts: list[str]) -> None:
        self._files.append(re.compile(_whole(parts), re.DOTALL))
        self._folders.append([None if part == ANY else re.compile(_one(part), re.DOTALL) for part in parts[:-1]])
        if parts[-1] == ANY:
            self._folders[-1].append(None)

    def match(self, path: str) -> bool:
        """A file's path, relative, with / between its parts."""
        return any(pattern.fullmatch(path) for pattern in self._files)

    def may_hold(self, folder: str) -> bool:
        """Whether a file in that folder, or below it, may match."""
        return any(_leads(parts, folder.split("/")) for parts in self._folders)


def problem(pattern: str) -> str:
    """Why it can be no pattern of results; empty when it can.

    >>> problem("/tmp/out/**"), problem("out/**")
    ("is not relative: it begins at the script's working folder", '')
    """
    if not pattern.strip():
        return "is empty"
    if pattern.startswith(("/", "~")):
        return "is not relative: it begins at the script's working folder"
    parts = pattern.rstrip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return 'has a part that is empty, "." or ".."'
    if any(ANY in part and part != ANY for part in parts):
        return 'has "**" beside other characters: it stands for whole folders, as in "out/**"'
    if parts[0] == ANY:
        return 'begins with "**", which would be all of the project; name the folder that the script writes to'
    return "" if pattern.isprintable() else "has a character that can't be printed"


def _leads(parts: list[re.Pattern[str] | None], folders: list[str]) -> bool:
    for number, name in enumerate(folders):
        if number >= len(parts):
            return False
        part = parts[number]
        if part is None:  # whatever is below
            return True
        if not part.fullmatch(name):
            return False
    return len(folders) <= len(parts)


def _whole(parts: list[str]) -> str:
    text = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == ANY:
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _one(part) + ("" if last else "/")
    return text


def _one(part: str) -> str:
    """The pattern of one part of a path."""
    text, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif char == "[" and (end := part.find("]", at + 1)) > 0:
            inside = part[at:end].replace("\\", "\\\\")
            text += f"[{'^' + inside[1:] if inside[0] == '!' else inside}]"
            at = end + 1
        else:
            text += re.escape(char)
    return text
