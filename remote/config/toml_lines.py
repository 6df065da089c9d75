"""The line of every key in a TOML text: the standard parser gives values without their places.

`remote.config.load` calls it to say where a wrong value stands. The text has passed the real parser before, so the
scanner only has to follow the structure: tables, arrays of tables, dotted keys, inline tables, strings of every kind.

    >>> key_lines('[run]\\nepochs = 3\\n[[hosts]]\\nname = "box1"\\n')[("hosts", 0, "name")]
    4
"""

from __future__ import annotations

import re
from typing import NamedTuple, Union

KeyPath = tuple[Union[str, int], ...]

_TOKEN = re.compile(
    r'''(?P<text>"""(?:\\.|[^\\])*?"{3,5} | \'\'\'.*?\'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
      | (?P<newline>\n)
      | (?P<mark>[\[\]{}=,.])
      | (?P<bare>[^\s\[\]{}=,.#"']+)
      | \#[^\n]* | [^\S\n]+ | .''',
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str  # "text", "newline", "mark", "bare", "end"
    value: str
    line: int


def key_lines(text: str) -> dict[KeyPath, int]:
    """From the path of each key, table and array item to the line (from 1) on which it begins."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def _tokens(text: str) -> list[_Token]:
    tokens = []
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup is not None:
            tokens.append(_Token(match.lastgroup, match.group(), line))
        line += match.group().count("\n")
    return [*tokens, _Token("newline", "\n", line), _Token("end", "", line)]


def _unquote(token: _Token) -> str:
    """The name a key stands for. A quoted key with escapes is left so: the line of its table is found instead."""
    return token.value[1:-1] if token.kind == "text" else token.value


class _Scanner:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.arrays: dict[KeyPath, int] = {}  # arrays of tables, and how many tables each has so far

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.token
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def document(self) -> None:
        table: KeyPath = ()
        while self.token.kind != "end":
            if self.token.kind == "newline":
                self.take()
            elif self.token.value == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path that the keys after it belong to."""
        line = self.take().line
        is_array = self.token.value == "["
        names = self.names("]")
        path: KeyPath = ()
        for number, name in enumerate(names, start=1):
            path = (*path, name)
            self.lines.setdefault(path, line)
            if is_array and number == len(names):
                self.arrays[path] = self.arrays.get(path, 0) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path] - 1)
                self.lines.setdefault(path, line)
        while self.token.kind not in ("newline", "end"):
            self.take()
        return path

    def names(self, until: str) -> list[str]:
        """The parts of a dotted key; stops behind the mark `until`."""
        names = []
        while self.token.kind not in ("newline", "end"):
            token = self.take()
            if token.kind in ("text", "bare"):
                names.append(_unquote(token))
            elif token.value == until:
                break
        return names

    def pair(self, table: KeyPath) -> None:
        line = self.token.line
        path = table
        for name in self.names("="):
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.value(path)

    def value(self, path: KeyPath) -> None:
        if self.token.value in ("[", "{"):
            opening = self.take().value
            self.items("]" if opening == "[" else "}", path, is_table=opening == "{")
        else:
            while self.token.kind not in ("newline", "end") and self.token.value not in (",", "]", "}"):
                self.take()

    def items(self, close: str, path: KeyPath, *, is_table: bool) -> None:
        """What stands between brackets, over as many lines as it takes."""
        number = 0
        while self.token.kind != "end":
            if self.token.value == close:
                self.take()
                return
            if self.token.kind == "newline" or self.token.value in (",", "]", "}"):
                self.take()
            elif is_table:
                self.pair(path)
            else:
                self.lines.setdefault((*path, number), self.token.line)
                self.value((*path, number))
                number += 1
