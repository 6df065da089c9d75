"""What earlier attempts of a run have left in this home: a pod that leads, and begins again, goes on from the newest.

A volume outlives its pods. What lies in a pod's folder there is of an attempt that has ended; it is put aside, as
`<run>.1`, `<run>.2`, …, for each host by itself. Another pod may have led meanwhile, and checkpoints are where that one
had its folder: so all hosts of all attempts are looked through.

Whether a checkpoint is newer than another one, both say themselves (`Trailer.age`) within one attempt. But lines are
counted anew when all pods begin again, so each beginning notes which checkpoints there were before it: what is noted
more often is older, whichever line it says it is of.

    >>> put_aside(folder)
    PosixPath('/workspace/.motley/runs/night.1/gpu')
    >>> first_whole(left(runs, "night"), say).path
    PosixPath('/workspace/.motley/runs/night/cpu-0/checkpoints/step_900.pt')
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from motley.trainer.bootstrap import durable
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.host.paths import read_json

BEFORE = "before.json"  # in the folder of a pod that began the run: the checkpoints that there were then


class Left(NamedTuple):
    """A checkpoint that was left, and what it says of itself."""

    path: Path
    trailer: Trailer

    @property
    def attempt(self) -> str:
        """The name of its folder among the runs: `night`, or `night.1` where it was put aside."""
        return self.path.parents[2].name

    @property
    def told(self) -> str:
        return f"{self.path.parents[1].name}/{self.path.name}, step {self.trailer.step:,}"


def is_finished(folder: Path) -> bool:
    """Whether the run has come to its end here: nothing is left to do."""
    return read_json(folder / "state.json").get("state") == "finished"


def put_aside(folder: Path) -> Path | None:
    """Where the attempt of this folder lies from now on; None where there was none. Raises OSError."""
    if not (folder / "spec.json").exists():
        return None
    number = 1
    while (place := folder.parent.with_name(f"{folder.parent.name}.{number}") / folder.name).exists():
        number += 1
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.rename(folder, place)
    return place


def left(runs: Path, run: str) -> list[Left]:
    """Of all hosts and attempts of a run, the newest first. Whether they are whole is not known."""
    beginning = run + "."
    aside = [
        place
        for place in sorted(runs.glob("*"))
        if place.name.startswith(beginning) and place.name[len(beginning) :].isdecimal()
    ]
    attempts = [runs / run, *aside]
    before = [_noted(file) for one in attempts for file in one.glob(f"*/{BEFORE}")]
    found = [
        Left(folder / name, trailer)
        for one in attempts
        for folder in sorted(one.glob("*/checkpoints"))
        for name, trailer in checkpoint_trailer.listed(folder).items()
    ]

    def age(one: Left) -> tuple[int, tuple[int, int]]:
        return -sum(one.trailer.sha256 in noted for noted in before), one.trailer.age

    return sorted(found, key=age, reverse=True)


def first_whole(found: Iterable[Left], say: Callable[[str], object]) -> Left | None:
    """`say` is told of those before it, which are damaged. Reads each to its end."""
    for one in found:
        try:
            with one.path.open("rb") as file:
                if checkpoint_trailer.proved(file) == one.trailer:
                    return one
            why = "it is damaged"
        except OSError as error:
            why = error.strerror or str(error)
        say(f"checkpoint left out: {one.path}: {why}")
    return None


def note_before(folder: Path, found: Iterable[Left]) -> None:
    """The run begins in this folder, and these checkpoints are older than any of this attempt. Raises OSError."""
    durable.make_folder(folder, 0o700)
    durable.write(folder / BEFORE, json.dumps([one.trailer.sha256 for one in found]).encode())


def _noted(file: Path) -> frozenset[str]:
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError):  # cut short by a power cut: the attempt had not begun
        return frozenset()
    return frozenset(map(str, table)) if isinstance(table, list) else frozenset()
