"""`motley.report(step=…, loss=…)`: what a script says of its training itself, and how its supervisor hears it.

    motley.report(step=40, loss=loss)               # in the script; under plain python it does nothing
    read_report(folder, member=0)                   # in the supervisor: the newest one

A file in the run's folder holds the newest report of a rank, and nothing else: a script may report every step for a
week. It costs some 20 µs.
"""

from __future__ import annotations

import json
import math
import operator
import os
import sys
from typing import Any, SupportsFloat

from motley.trainer.readings.said import MOST_STEPS, Said, sound

BYTES = 256  # of the file: a report is written and read in one piece
FOLDER, MEMBER = "MOTLEY_DIR", "MOTLEY_MEMBER"


def report(
    *, step: int, loss: SupportsFloat | None = None, steps: int | None = None, epoch: float | None = None
) -> None:
    """Say that the training has done `step` steps.

    `loss` is a number or a tensor with one element, which is waited for: every tenth step is often enough on a GPU.
    `steps` are those of the whole training, `epoch` may have a fraction. What is left out stays as it was said last.
    Each rank may report; shown are the figures of the first that tells a loss. A script that has called
    `motley.session()` is shown anyway. Raises TypeError for a step that is no whole number, or a loss that is none;
    a full disk loses the report, and says so once.
    """
    _here.say(step=step, loss=loss, steps=steps, epoch=epoch)


class Reporter:
    """One process's reports. It writes nothing where no run has started the process."""

    def __init__(self, env: Any = os.environ) -> None:
        self._env = env
        self._file: int | None = None
        self._said: dict[str, Any] = {}
        self._broken = False

    def say(self, *, step: int, loss: SupportsFloat | None, steps: int | None, epoch: float | None) -> None:
        given = {
            "step": _whole(step, "step"),
            "loss": None if loss is None else _number(loss, "loss"),
            "steps": None if steps is None else _whole(steps, "steps"),
            "epoch": None if epoch is None else _number(epoch, "epoch"),
        }
        self._said |= {name: value for name, value in given.items() if value is not None}
        if self._broken or FOLDER not in self._env or MEMBER not in self._env:
            return
        try:
            self._write(json.dumps(self._said).encode())
        except OSError as error:
            self._broken = True
            print(f"motley.report: not written: {error}", file=sys.stderr)

    def _write(self, line: bytes) -> None:
        if self._file is None:
            path = path_of(self._env[FOLDER], int(self._env[MEMBER]))
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.pwrite(self._file, line[: BYTES - 1].ljust(BYTES - 1) + b"\n", 0)


def path_of(folder: str | os.PathLike[str], member: int) -> str:
    return os.path.join(folder, f"report_{member}.json")


def read_report(folder: str | os.PathLike[str], member: int) -> Said | None:
    """The newest report of a rank; None where there is none, or none that can be read. A loss that is no number, or
    larger than any, is a doubt."""
    try:
        descriptor = os.open(path_of(folder, member), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        table = json.loads(os.pread(descriptor, BYTES, 0))
        step, steps = table["step"], table.get("steps")
        loss, epoch = (None if table.get(name) is None else float(table[name]) for name in ("loss", "epoch"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    finally:
        os.close(descriptor)
    if not isinstance(step, int) or not 0 <= step <= MOST_STEPS:
        return None
    total = steps if isinstance(steps, int) and step <= steps <= MOST_STEPS else None
    known = epoch if epoch is not None and math.isfinite(epoch) else None
    return sound(Said(step=step, total=total, epoch=known, loss=loss))


def _whole(value: Any, name: str) -> int:
    """Of any kind of integer, numpy's too."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"motley.report: {name} is {value!r}, which is no whole number")
    return operator.index(value)


def _number(value: SupportsFloat, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"motley.report: {name} is {value!r}, which is no number") from error


_here = Reporter()
