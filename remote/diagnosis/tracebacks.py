"""What a process said last: the error that ended it and the calls that led there, out of the end of its output. Pure.

    >>> words = read([
    ...     "Traceback (most recent call last):",
    ...     '  File "train.py", line 3, in <module>',
    ...     "    import einops",
    ...     "ModuleNotFoundError: No module named 'einops'",
    ... ])
    >>> words.error, words.calls
    ("ModuleNotFoundError: No module named 'einops'", (('File "train.py", line 3, in <module>', '  import einops'),))

Several tracebacks may stand there, and the last line is seldom the error: torch warns after it, an interpreter that
shuts down complains, threads and workers print theirs. The lines are clean already (`remote.sanitize`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FOLLOWING = 8  # lines of an error's own text after its first one
LONGEST = 300  # characters of it that are told
_RANK = re.compile(r"^\[rank\d+\]: ")  # torch.distributed puts it before every line of a traceback
_BEGIN = "Traceback (most recent call last):"  # a progress bar may stand before it, in the same line
_ERROR = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt)\b")
_WHAT = re.compile(r"^\s*what\(\):\s*(.+)")  # of a C++ exception that nobody caught
_FATAL = re.compile(r"^Fatal Python error: .+")
_LOG = re.compile(r"^(?:\[rank\d+\]:)?\[[WEIF]\d")  # a line of torch's own log
_MARKS = re.compile(r"^\s*[~^]+\s*$")  # under the source, from Python 3.11 on
_PLACE = re.compile(r'(File ")(?:/[^"]*)?/(?:\.motley/code/[0-9a-f]{8,}|site-packages|dist-packages)/')
_LIBRARY = re.compile(r'File "[^"]*/(?:site-packages|dist-packages|lib/python3[.\d]*)/|File "<')


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """`error` is one line, empty when nothing was said. `texts`: where to look for a cause, the likeliest first."""

    error: str = ""
    texts: tuple[str, ...] = ()
    calls: tuple[tuple[str, ...], ...] = ()  # the lines of each, the innermost last
    raised: bool = False  # an exception; else only the last line


@dataclass(frozen=True, slots=True)
class _Trace:
    error: str
    text: str  # with the lines that follow
    calls: tuple[tuple[str, ...], ...]
    aside: bool  # of a thread, which does not end the process
    end: int  # index of the line of the error


def read(lines: Sequence[str], *, near: int | None = None) -> Words:
    """`near`: an exception counts only among so many last lines, for a process that something else has ended."""
    kept = [_RANK.sub("", line.rstrip()) for line in lines]
    while kept and not kept[-1]:
        kept.pop()
    earliest = 0 if near is None else len(kept) - near
    traces = [trace for trace in _traces(kept) if trace.error]
    traces = [trace for trace in traces if not trace.aside] or traces
    if traces:
        last = traces[-1]
        if last.end < earliest:
            return Words()
        texts = tuple(dict.fromkeys(trace.text for trace in reversed(traces)))
        return Words(error=_whole(last.text), texts=texts, calls=last.calls, raised=True)
    for pattern in (_WHAT, _ERROR, _FATAL):
        for i in range(len(kept) - 1, max(earliest, 0) - 1, -1):
            if found := pattern.match(kept[i]):
                error = found[1] if found.groups() else kept[i]
                return Words(error=error[:LONGEST], texts=("\n".join((error, *_after(kept, i))),), raised=True)
    if near is not None or not kept:
        return Words()
    return Words(error=kept[-1].strip()[:LONGEST], texts=(kept[-1],))


def shown(words: Words, limit: int) -> tuple[str, ...]:
    """The calls in at most `limit` lines: the innermost ones, and the last of the user's own where that is outside."""
    calls = [tuple(_PLACE.sub(r"\1", line) for line in call) for call in words.calls]
    own = max((i for i, call in enumerate(words.calls) if not _LIBRARY.search(call[0])), default=-1)
    first = len(calls)
    room = limit
    while first and len(calls[first - 1]) <= room:
        first -= 1
        room -= len(calls[first])
    if not 0 <= own < first:
        return tuple(line for call in calls[first:] for line in call)
    room = limit - len(calls[own])
    first = len(calls)
    while first > own + 1 and len(calls[first - 1]) <= room:
        first -= 1
        room -= len(calls[first])
    outer = list(calls[own])
    if first > own + 1:
        outer[-1] += " …"
    return (*outer, *(line for call in calls[first:] for line in call))


def _traces(lines: Sequence[str]) -> Iterator[_Trace]:
    for i, line in enumerate(lines):
        if not line.endswith(_BEGIN):
            continue
        before = next((said for said in reversed(lines[:i]) if said), "")
        if before.startswith("Exception ignored"):
            continue
        end = i + 1
        while end < len(lines) and lines[end].startswith((" ", "\t")):
            end += 1
        error = lines[end] if end < len(lines) else ""
        text = "\n".join((error, *_after(lines, end)))
        yield _Trace(error, text, _calls(lines[i + 1 : end]), before.startswith("Exception in thread"), end)


def _whole(text: str) -> str:
    """The first line of an error, and the second where the first only announces it: `Error(s) in … for Net:`."""
    first, _, rest = text.partition("\n")
    more = rest.partition("\n")[0].strip()
    return (f"{first} {more}" if first.endswith(":") and more else first)[:LONGEST]


def _after(lines: Sequence[str], end: int) -> list[str]:
    """The rest of an error's text, as far as that can be told."""
    found: list[str] = []
    for line in lines[end + 1 : end + 1 + FOLLOWING]:
        if not line or line.endswith(_BEGIN) or _LOG.match(line):
            break
        found.append(line)
    return found


def _calls(lines: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    calls: list[list[str]] = []
    for line in lines:
        if _MARKS.match(line):
            continue
        if line.lstrip().startswith('File "') or not calls:
            calls.append([line.strip()])
        else:
            calls[-1].append("  " + line.strip())
    return tuple(map(tuple, calls))
