"""Files that survive a power cut: after one, each is as it was before, or whole. See `trainer.bootstrap`.

A rename alone is not enough: the disk may learn of the new name before it has what is in the file, and the power cut
leaves an empty one. So the content is synced, then renamed into its place, then the folder is synced.

    >>> write("summary.json", b"{}")        # what is there afterwards is there for good
"""

from __future__ import annotations

import contextlib
import os
import threading


def write(path: str | os.PathLike[str], content: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Put a whole file in place, of which nobody ever sees a part. Raises OSError, and the old one stays then.

    Without `sync` it does not wait for the disk, and after a power cut it may be empty: for what is soon written again.
    """
    place = os.fspath(path)
    part = part_of(place)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(handle, mode)
            if sync:
                os.fsync(handle)
        os.rename(part, place)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise
    if sync:
        sync_folder(os.path.dirname(place))


def part_of(place: str) -> str:
    """Where a file is written beside its place; another one for each thread of each process."""
    folder, name = os.path.split(place)
    return os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_native_id()}.part")


def put(source: str, place: str) -> None:
    """Rename what is synced into its place, for good. A folder can't take the place of another one."""
    os.rename(source, place)
    sync_folder(os.path.dirname(place))


def sync_file(path: str) -> None:
    _sync(path, os.O_RDONLY)


def sync_folder(path: str) -> None:
    """The names in it: which files are there."""
    _sync(path or ".", os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: str | os.PathLike[str], mode: int = 0o777) -> None:
    """The folder, and those above it that are missing; each is there for good when the next is made in it."""
    place = os.path.abspath(os.fspath(path))
    if os.path.isdir(place):
        return
    above = os.path.dirname(place)
    make_folder(above, mode)
    with contextlib.suppress(FileExistsError):  # another process was quicker; or it is a file: the next step tells
        os.mkdir(place, mode)
    sync_folder(above)


def sync_disk(path: str) -> None:
    """Everything that was written to the disk that `path` is on: for thousands of files. Raises OSError."""
    import ctypes

    handle = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(handle)
