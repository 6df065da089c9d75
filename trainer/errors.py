"""The errors of `trainer` that stop a rank: each says the cause and what to do next; the rank's caller adds who it is.

TrainerError                message: the cause, then the remedy
├── TaskError               run.task names no model or data set that exists
├── SessionError            a loop of the user's own uses `motley.session()` in a way that can't work
├── GroupRefused            NCCL takes no group of these ranks
├── OutOfMemory             not even one sample fits into a device's memory
├── Diverged                    the loss or the weights are not finite, and run.on_nan says to stop
├── DataError               a data set is missing, damaged, in another format, or can't be downloaded
└── CheckpointError         a checkpoint can't be written or used
    ├── CheckpointMissing   no such file
    └── CheckpointDamaged   cut short, changed since it was written, or not a checkpoint

>>> str(DataError("x.gz: 3 bytes long, expected 5", "Copy it anew"))
'x.gz: 3 bytes long, expected 5. Copy it anew'
"""

from __future__ import annotations


class TrainerError(Exception):
    """Base of all of them. `cause` says what is wrong and where, `remedy` what mends it."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{cause}. {remedy}" if remedy else cause)


class TaskError(TrainerError):
    pass


class SessionError(TrainerError):
    pass


class GroupRefused(TrainerError):
    pass


class OutOfMemory(TrainerError):
    pass


class Diverged(TrainerError):
    pass


class DataError(TrainerError):
    pass


class CheckpointError(TrainerError):
    pass


class CheckpointMissing(CheckpointError):
    pass


class CheckpointDamaged(CheckpointError):
    pass


def told(error: Exception) -> tuple[str, str]:
    """The cause in one line, and the remedy where the error is one of ours.

    >>> told(KeyError("lr"))
    ("KeyError: 'lr'", '')
    """
    if isinstance(error, TrainerError):
        return error.cause, error.remedy
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):  # it only announces what comes
        second = rest.partition("\n")[0].strip()
        first = f"{first} {second}".strip()
    return f"{name}: {first}" if first else name, ""
