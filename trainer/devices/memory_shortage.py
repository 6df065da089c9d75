"""Whether an error means that the memory of a device was not enough.

torch says OutOfMemoryError of what its own allocator can't get. Libraries ask the driver by themselves, for handles,
workspaces and the code of their kernels, and tell of it in their own words. Some of these name memory. Others say only
that something failed inside: that is memory where next to nothing of it is free.

    >>> shortage(error, (torch.device("cuda:0"),))
    Shortage(reason='cuDNN error: CUDNN_STATUS_INTERNAL_ERROR', sure=False, outside=True)

What torch keeps and does not use is not free for a library: it is to be released before the next try. And a device that
an earlier error has made unusable fails in the same words at each call: it is asked whether it still works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch

from motley.trainer.devices import accelerator, printed_errors

# Twice the 500 MB that cuDNN's kernels have taken; its workspaces, which may be larger, come from torch's allocator.
LITTLE = 2**30
ErrorT = TypeVar("ErrorT", bound=BaseException)


class Shortage(NamedTuple):
    """`reason`: the line that says it. `sure`: it names memory; else a single sample that fails so may fail for another
    reason. `outside`: of torch's allocator, so that what torch keeps may have been all that was lacking."""

    reason: str
    sure: bool
    outside: bool


def shortage(
    error: BaseException,
    devices: Sequence[torch.device],
    free: Callable[[torch.device], int | None] | None = None,
) -> Shortage | None:
    """What an error, or one that it was raised from, says of the memory of these devices; None where it is no such.

    To be asked before anything is released. `free`: bytes that the driver has left of a GPU, None where it doesn't say;
    raises RuntimeError for one that no longer works.
    """
    for one in _chain(error):
        if isinstance(one, torch.OutOfMemoryError):
            return Shortage(_line(one, ""), sure=True, outside=False)
        if isinstance(one, RuntimeError):
            if _says(printed_errors.UNUSABLE_DEVICE, one):
                return None
            if found := _told(one, [device for device in devices if accelerator.is_gpu(device)], free or _free):
                return found
    return None


def without_frames(error: ErrorT) -> ErrorT:
    """The same error, for later: the frames of its traceback, and of those it was raised from, are let go of, with all
    that they hold."""
    for one in _chain(error):
        one.__traceback__ = one.__context__ = None
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from, each once: one may have been raised from itself."""
    one: BaseException | None = error
    seen = set[int]()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__


def names_memory(error: BaseException) -> bool:
    """Whether it says by itself, without a look at the device, that a GPU's memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and _says(printed_errors.OUT_OF_MEMORY, error)
        and not _says(printed_errors.UNUSABLE_DEVICE, error)
    )


def _told(
    error: RuntimeError, gpus: Sequence[torch.device], free: Callable[[torch.device], int | None]
) -> Shortage | None:
    """Of an error that is not torch's own for it."""
    for printed in (printed_errors.OUT_OF_MEMORY, *(() if gpus else (printed_errors.OUT_OF_HOST_MEMORY,))):
        if _says(printed, error):
            works = _left(gpus, free) is not None
            sure = printed is printed_errors.OUT_OF_MEMORY  # a CPU's allocator fails of absurd sizes alone
            return Shortage(_line(error, printed.says), sure=sure, outside=True) if works else None
    if gpus and _says(printed_errors.MAYBE_OUT_OF_MEMORY, error):
        left = _left(gpus, free)
        if left and min(left) < LITTLE:
            return Shortage(_line(error, printed_errors.MAYBE_OUT_OF_MEMORY.says), sure=False, outside=True)
    return None


def _left(gpus: Sequence[torch.device], free: Callable[[torch.device], int | None]) -> list[int] | None:
    """The free bytes of each that says them; None where one no longer works."""
    left = []
    for gpu in gpus:
        try:
            found = free(gpu)
        except RuntimeError as error:
            if not names_memory(error):
                return None
            found = 0  # too full even to answer
        left += [] if found is None else [found]
    return left


def _free(gpu: torch.device) -> int | None:
    accelerator.synchronize(gpu)  # what has made it unusable may not have been told yet
    try:
        return accelerator.free_bytes(gpu)
    except RuntimeError:  # not every card of Intel's can be asked
        return None


def _says(printed: printed_errors.Printed, error: BaseException) -> bool:
    return re.search(printed.says, str(error)) is not None


def _line(error: BaseException, says: str) -> str:
    """The first line that says it."""
    lines = str(error).strip().splitlines()
    return next((line.strip() for line in lines if re.search(says, line)), type(error).__name__)
