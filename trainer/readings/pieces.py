"""What a program prints, in pieces to be read: lines, and the states of a progress bar, which it draws over each other.

>>> pieces = Pieces()
>>> pieces.feed(b"loss 0.5\\n 10%|# | 1/10 [00:01<00:09,  1.0it/s]\\r 20%|")
['loss 0.5', ' 10%|# | 1/10 [00:01<00:09,  1.0it/s]']
>>> pieces.unfinished
' 20%|'
"""

from __future__ import annotations

import re

LONGEST = 2048  # bytes; what is longer is no figure
MOST = 256  # the newest pieces of one feed: who floods its output is read as far as that goes
_ENDS = re.compile(rb"[\r\n]")
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours, and the moves of a cursor between several bars


class Pieces:
    """Of one stream of output, in whatever chunks it comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._too_long = False  # the piece that the rest belongs to

    def feed(self, data: bytes) -> list[str]:
        """The pieces that have come to their end, oldest first, without their ends; no empty ones."""
        *ended, rest = _ENDS.split(self._rest + data)
        if self._too_long and ended:
            del ended[0]
            self._too_long = False
        if len(rest) > LONGEST or self._too_long:
            rest, self._too_long = b"", True
        self._rest = rest
        read = [_text(piece) for piece in ended[-MOST:] if len(piece) <= LONGEST]
        return [piece for piece in read if piece.strip()]

    @property
    def unfinished(self) -> str:
        """What has no end yet: a bar as it is on the screen, or the beginning of a line."""
        return _text(self._rest)


def _text(piece: bytes) -> str:
    return _ESCAPES.sub("", piece.decode(errors="replace"))
