"""Tables as YAML with comments. A key that begins with `#` is a comment on the key that follows it.

    >>> print(text({"#image": "with torch", "image": "motley:0.1.0"}), end="")
    # with torch
    image: motley:0.1.0

PyYAML writes the values; where each key stands, its own reader says. kubectl has another reader, by other rules: what
one of them takes for a number, a date, a truth or nothing is quoted.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

WIDTH = 110  # of comments
MARK = "#"
# Text that no reader may take for anything else: the rules of kubectl's (goyaml v2) go by the first sign and by words,
# and know 5e-5, 1e3, 0o17 and y, which PyYAML's don't.
_FIRST = re.compile(r"[0-9+\-.~]")
_WORDS = frozenset(("", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "<<", "="))
Path = tuple[Any, ...]


class _Dumper(yaml.SafeDumper):
    """Text of several lines is written as such, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Keys, too."""
    style = "|" if "\n" in text else '"' if _FIRST.match(text) or text.lower() in _WORDS else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def plain(value: Any) -> Any:
    """The same without comments."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not str(key).startswith(MARK)}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def text(table: dict[str, Any]) -> str:
    """One document, without `---`."""
    written = yaml.dump(plain(table), Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    comments = dict(_comments(table, ()))
    lines = written.splitlines()
    places = [(line, comments[path]) for path, line in _places(yaml.compose(written), ()) if path in comments]
    for line, comment in sorted(places, reverse=True):
        indent = len(lines[line]) - len(lines[line].lstrip())
        lines[line:line] = [f"{' ' * indent}# {part}" for part in wrapped(comment, WIDTH - indent)]
    return "\n".join(lines) + "\n"


def wrapped(comment: str, width: int = WIDTH) -> list[str]:
    """In lines; those that it has stay, and a line that begins with a space is a command, which is never cut."""
    lines = []
    for line in comment.splitlines():
        lines += [line] if line.startswith(" ") else textwrap.wrap(line, width, break_on_hyphens=False)
    return lines


def _comments(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(key, str) and key.startswith(MARK):
            yield (*path, key[len(MARK) :]), item
        else:
            yield from _comments(item, (*path, key))


def _places(node: Any, path: Path) -> Iterator[tuple[Path, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line
            yield from _places(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _places(item, (*path, number))
