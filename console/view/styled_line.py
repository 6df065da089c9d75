"""A line of the screen as plain data: spans of text, each with the role that its colour comes from.

The pure functions of `figures`, `plot`, `rows` and `view` make lines; `widgets.lines` paints them, tests read them:

    >>> text((("run", "strong"), (" 3", "muted")))
    'run 3'

Widths are terminal cells, so wide characters and emoji keep the columns straight.
"""

from __future__ import annotations

from typing import Literal, get_args

from rich.cells import cell_len, set_cell_size

Role = Literal["text", "strong", "muted", "good", "warn", "bad", "accent", "second", "inverse"]
ROLES: tuple[Role, ...] = get_args(Role)

Span = tuple[str, Role]
Line = tuple[Span, ...]


def text(line: Line) -> str:
    """The line without its roles."""
    return "".join(part for part, _ in line)


def width_of(line: Line) -> int:
    return sum(cell_len(part) for part, _ in line)


def fit(value: str, width: int, *, right: bool = False) -> str:
    """`value` in exactly `width` cells: padded, or cut with an ellipsis at its end."""
    length = cell_len(value)
    if length > width:
        return set_cell_size(value, width - 1) + "…" if width > 1 else set_cell_size(value, width)
    pad = " " * (width - length)
    return pad + value if right else value + pad


def clip(line: Line, width: int) -> Line:
    """The line in at most `width` cells, cut with an ellipsis where it is longer."""
    if width_of(line) <= width:
        return line
    spans: list[Span] = []
    left = width
    for part, role in line:
        length = cell_len(part)
        if length < left:
            spans.append((part, role))
            left -= length
            continue
        if left > 0:
            spans.append((fit(part + "…", left), role))
        break
    return tuple(spans)


def spread(left: Line, right: Line, width: int) -> Line:
    """`left` at the left edge and `right` at the right one; `right` goes first when there is no room for both."""
    space = width - width_of(left) - width_of(right)
    if space < 2:
        return clip(left, width)
    return (*left, (" " * space, "text"), *right)


def join(spans: list[Line], separator: str) -> Line:
    """Groups of spans in a row, with `separator` (muted) between them."""
    line: list[Span] = []
    for group in spans:
        if line and group:
            line.append((separator, "muted"))
        line.extend(group)
    return tuple(line)


def wrap(value: str, width: int) -> list[str]:
    """`value` in lines of at most `width` cells, broken between words where there is one to break at."""
    lines: list[str] = []
    current = ""
    for word in value.split():
        while cell_len(word) > width > 0:
            if current:
                lines.append(current)
                current = ""
            head = set_cell_size(word, width).rstrip() or word[:1]
            lines.append(head)
            word = word[len(head) :]
        if current and cell_len(current) + 1 + cell_len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    return [*lines, current] if current else lines or [""]
