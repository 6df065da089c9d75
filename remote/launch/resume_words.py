"""What a run goes on from, as the console that starts it says and keeps it; and read back by one that has to bring the
same once more.

    >>> said(ResumeFrom("night", "best"))
    "goes on from the checkpoint best of 'night'"
    >>> understood("goes on from the newest checkpoint of 'night'")
    ResumeFrom(run='night', checkpoint='', file=None)
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import UsageError
from motley.trainer.contract.wire import Event, WireError, decode

_ON = "goes on from "
_OF_RUN = re.compile(r"the (?:newest checkpoint|checkpoint (\S+)) of '(\S+)'")


def said(wanted: ResumeFrom) -> str:
    if wanted.file is not None:
        return f"{_ON}{wanted.file}"
    which = f"checkpoint {wanted.checkpoint}" if wanted.checkpoint else "newest checkpoint"
    return f"{_ON}the {which} of '{wanted.run}'"


def understood(text: str) -> ResumeFrom | None:
    """None where it says something else."""
    if not text.startswith(_ON):
        return None
    rest = text.removeprefix(_ON)
    with contextlib.suppress(UsageError):
        if found := _OF_RUN.fullmatch(rest):
            return ResumeFrom.of(f"{found[2]}@{found[1]}" if found[1] else found[2])
        if (wanted := ResumeFrom.of(rest)).file is not None:
            return wanted
    return None


def kept(experiment: Path) -> ResumeFrom | None:
    """What the run of this experiment began with; None where it began anew, or on another machine. Hosts tell alike of
    it, and are not asked: a path would be one of this machine."""
    with contextlib.suppress(OSError), (experiment / "events.jsonl").open("rb") as lines:
        for line in lines:
            with contextlib.suppress(WireError):
                event = decode(line) if _ON.encode() in line else None
                if isinstance(event, Event) and event.source == "console" and (wanted := understood(event.text)):
                    return wanted
    return None
