"""Bytes of ranks -> text that is safe to show: nothing a host prints may steer the user's terminal.

`remote` calls this at the SSH boundary on every log line and event, so nothing behind it needs to think of escapes.

    >>> clean("epoch 1:  50%\\repoch 1: 100% \\x1b[32mdone\\x1b[0m\\n")
    'epoch 1: 100% done'
"""

from __future__ import annotations

import re
from typing import Any

from motley.trainer.contract.wire import LARGEST, MOST

MAX_CHARS = 4000  # of one line: more than any screen, little enough to keep a log of thousands
MAX_DEPTH = 32  # of a table; what lies deeper is left out

# Escape sequences by ECMA-48, each introduced by ESC and a letter or by its one-character (C1) form. A string (title,
# clipboard, image: OSC, DCS, SOS, PM, APC) goes with its content, in which no other sequence begins. One that is never
# closed loses its introducer only: no text disappears.
_ESCAPE = re.compile(
    r"""(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]) [^\x07\x18\x1a\x1b\x90\x98\x9b-\x9f]* (?:\x07|\x1b\\|\x9c)  # a string
      | (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]                                                              # CSI
      | \x1b [ -/]* [0-~]                                                                                # short ones
    """,
    re.VERBOSE,
)

# Breaks of lines other than the carriage return: a caller hands over one line, so these become spaces.
_BREAK = re.compile("[\n\v\f\x85\u2028\u2029]")

# Unicode categories Cc, Cf and Cs, and the letters and marks that are invisible by design: what turns text around
# (bidi), hides it, or makes two different names look the same.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def clean(text: str) -> str:
    """One line without escapes, control and invisible characters, at most `MAX_CHARS` long.

    Of a progress bar that redraws itself with carriage returns the last state stays. Breaks inside become spaces,
    tabs are expanded. `clean(clean(x)) == clean(x)`.
    """
    text = _BREAK.sub(" ", _ESCAPE.sub("", text.rstrip("\r\n")))
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    text = _INVISIBLE.sub("", text).expandtabs()
    if len(text) <= MAX_CHARS:
        return text
    keep = MAX_CHARS - 40
    return f"{text[:keep]} … ({len(text) - keep:,} characters cut)"


def clean_lines(text: str) -> str:
    """The same for text of several lines, such as a traceback: each one cleaned, the newlines kept."""
    return "\n".join(clean(line) for line in text.split("\n"))


def clean_table(value: Any) -> Any:
    """A JSON value that can be shown and reckoned with: all text in it made safe, keys too, and None for numbers that
    are none, or beyond what `wire` takes. Newlines stay (`clean_lines`): data holds tracebacks."""
    return _clean_value(value, MAX_DEPTH)


def _clean_value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_lines(value)
    if isinstance(value, (int, float)):
        return value if abs(value) < (MOST if isinstance(value, int) else LARGEST) else None
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        return {clean(str(key)): _clean_value(item, depth - 1) for key, item in value.items()}
    return [_clean_value(item, depth - 1) for item in value]
