"""Everything wrong with a cluster.toml, each with its place: collected, so that all of it is said at once.

`remote.config.load` fills it from several checks and raises what it holds as one `ConfigError`.

    >>> problems = Problems({("run", "steps"): 7}, "cluster.toml")
    >>> problems.add(("run", "steps"), "must be at least 1, is 0")
    >>> problems.lines({})
    ['cluster.toml:7: run.steps: must be at least 1, is 0']
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from motley.remote.config.toml_lines import KeyPath
from motley.remote.sanitize import clean

_T = TypeVar("_T")


class Problems:
    """Collects problems by the path of their key, and knows which keys come from the command line."""

    def __init__(self, lines: Mapping[KeyPath, int], file: str) -> None:
        self._lines = lines
        self._file = file
        self._found: list[tuple[KeyPath, str]] = []
        self._options: list[str] = []
        self._sources: dict[KeyPath, str] = {}

    def __bool__(self) -> bool:
        return bool(self._found or self._options)

    def set_by(self, option: str, path: KeyPath) -> None:
        """Says that an option of the command line has set a key, and the tables around it that the file has not."""
        self._sources[path] = option
        for parent in (path[:length] for length in range(2, len(path))):
            if parent not in self._lines:
                self._sources.setdefault(parent, option)

    def add(self, path: KeyPath, text: str) -> None:
        """A problem with a key; `path` is empty for the file as a whole."""
        self._found.append((path, text))

    def add_option(self, option: str, text: str) -> None:
        """A problem with an option of the command line that reaches no key."""
        self._options.append(_line(option, text))

    def touches(self, *paths: KeyPath) -> bool:
        """Whether one of these keys, or what is in it or around it, is known to be wrong: no need to check further."""
        return any(p[: len(q)] == q[: len(p)] for p in paths for q, _ in self._found if q)

    def line(self, path: KeyPath) -> int | None:
        """The line of a key, else of the table it belongs to."""
        return _nearest(self._lines, path)

    def lines(self, table: Mapping[str, Any]) -> list[str]:
        """One line each: where, which key, what. In the order of the file, the command line last."""
        in_file, set_here = [], []
        for path, text in self._found:
            source, line = _nearest(self._sources, path), self.line(path)
            if source:
                set_here.append(_line(source, text))
            else:
                where = f"{self._file}:{line}" if line else self._file
                key = f"{dotted(path, table)}: " if path else ""
                in_file.append((line or 0, _line(where, f"{key}{text}")))
        return [text for _, text in sorted(in_file, key=lambda item: item[0])] + set_here + self._options


def _line(where: str, what: str) -> str:
    """Made safe each by itself: nothing that was typed into the one takes the other with it, or its own beginning."""
    return clean(": ".join(clean(part.replace("\r", " ")) for part in (where, what)))


def _nearest(known: Mapping[KeyPath, _T], path: KeyPath) -> _T | None:
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((known[p] for p in prefixes if p in known), None)


def dotted(path: KeyPath, table: Mapping[str, Any]) -> str:
    """A key as a person names it: ("hosts", 0, "port") -> `hosts.box1.port`, or `hosts.#1.port` without a name."""
    parts = []
    for depth, part in enumerate(path):
        if isinstance(part, int):
            parts.append((_host_name(part, table) if path[:depth] == ("hosts",) else None) or f"#{part + 1}")
        else:
            parts.append(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False))
    return ".".join(parts)


def host_names(table: Mapping[str, Any]) -> list[Any]:
    """What stands for the name of each host in the file, valid or not; None where there is none."""
    hosts = table.get("hosts")
    return [host.get("name") if isinstance(host, dict) else None for host in hosts] if isinstance(hosts, list) else []


def _host_name(index: int, table: Mapping[str, Any]) -> str | None:
    """The name of a host where it tells it from the others."""
    names = host_names(table)
    return names[index] if isinstance(names[index], str) and names.count(names[index]) == 1 else None
