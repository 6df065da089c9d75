"""What /proc shows of this process, its words and its environment, written anew in place.

A process that was forked shows those of the one it was forked from, and one that goes on with another run those of the
run it was started for. Processes of a run are known by what /proc shows (`trainer.host.processes`), so it has to be
right. The kernel reads it from where the program was given it at its start; more than fitted there then does not fit
now. So a process that is to change its title is started with some room: the variable `ROOM`, and perhaps a last word.

    >>> write({**os.environ, "MOTLEY_RUN": "night"}, ["python3", "-m", "motley.trainer", "rank"])
    True
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOM = "MOTLEY_ROOM"  # a variable of no other use
WORDS_ROOM = 512  # bytes that the words of another process may be longer


def room(size: int) -> dict[str, str]:
    """For the environment of a process whose tags may get longer by `size` bytes."""
    return {ROOM: "." * size}


def room_for_words() -> list[str]:
    """For the words of a process of ours that may become another one."""
    return ["--room", "." * WORDS_ROOM]


def fits(environ: Mapping[str, str], words: Sequence[str] | None = None) -> bool:
    """Whether there is room for them; False too where the kernel does not say where they are."""
    regions = _regions()
    if regions is None:
        return False
    (_, for_words), (_, for_environ) = regions
    return len(_packed_environ(environ)) <= for_environ and (words is None or len(_packed(words)) <= for_words)


def write(environ: Mapping[str, str], words: Sequence[str] | None = None) -> bool:
    """Have this environment (but for `ROOM`), in `os.environ` too, and these words; without `words` they stay.

    False when there is no room: then nothing was changed.
    """
    regions = _regions()
    if regions is None or not fits(environ, words):
        return False
    kept = {name: value for name, value in environ.items() if name != ROOM}
    # First the C library's list: it copies what it is given, and nothing in it points to the old place any more.
    os.environ.clear()
    os.environ.update(kept)
    (words_at, for_words), (environ_at, for_environ) = regions
    if words is not None:
        ctypes.memmove(words_at, _packed(words).ljust(for_words, b"\0"), for_words)
    ctypes.memmove(environ_at, _packed_environ(kept).ljust(for_environ, b"\0"), for_environ)
    return True


def _regions() -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Address and bytes of the words and of the environment: see proc(5), arg_start to env_end."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        words, words_end, environ, environ_end = (int(field) for field in fields[45:49])
    except (OSError, ValueError):
        return None
    return ((words, words_end - words), (environ, environ_end - environ)) if words and environ else None


def _packed_environ(environ: Mapping[str, str]) -> bytes:
    return _packed(f"{name}={value}" for name, value in environ.items() if name != ROOM)


def _packed(strings: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(string) + b"\0" for string in strings)
