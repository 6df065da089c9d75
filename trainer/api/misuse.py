"""Errors that name the line of the user's script they are about, with what mends it.

>>> raise misuse("this step has had its backward already", "Compute parts of a step in `for … in step.parts(rows=…)`")
SessionError: train.py:31: this step has had its backward already. Compute parts of a step in `for … in step.parts…
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from types import FrameType

from motley.trainer.errors import SessionError

OURS = f"{Path(__file__).parents[2]}{os.sep}"  # the package motley


def misuse(cause: str, remedy: str, *, at: str | None = None) -> SessionError:
    """`at`: the place, where it is not the line that is being run."""
    return SessionError(f"{at or here()}: {cause}", remedy)


def here() -> str:
    """`train.py:31`: the innermost line outside of Motley that has led here."""
    return named(line())


def line() -> tuple[str, int]:
    """The same as the file's whole path and a number: for what is noted at each step, and named hardly ever."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)


def named(place: tuple[str, int]) -> str:
    path, number = place
    return f"{_name(path)}:{number}" if path else "the script"


@functools.cache
def project() -> Path:
    """The folder that the user's script is in."""
    script = sys.argv[0] if sys.argv and os.path.isfile(sys.argv[0]) else ""
    return Path(script).resolve().parent if script else Path.cwd()


def _name(path: str) -> str:
    whole = Path(path)
    return str(whole.relative_to(project())) if whole.is_relative_to(project()) else whole.name
