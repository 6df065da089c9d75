"""Checkpoints: written whole or not at all, proved unchanged when they are read.

The loop saves and loads them on rank 0. A file is what `torch.save` writes, with one line at its end (as the comment of
the zip archive, so that a plain `torch.load` reads it too): the step, and the SHA-256 of everything before it.

    >>> save(folder / "epoch_3.pt", state).sha256  # of the whole file, as sha256sum prints it
    '5f2b…'
    >>> load(folder / "epoch_3.pt")["step"]
    18

The state is a dict of tensors and plain values. Needed: model, optimizer, step (the next one of the whole run), epoch,
seed, global_batch, task. Usual: accuracy, loss, rng, generation, shares. `save` adds format.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from motley.trainer.bootstrap import durable
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.errors import CheckpointDamaged, CheckpointError, CheckpointMissing
from motley.trainer.host import unwritten
from motley.trainer.training.checkpoint_files import Watched, alone, left_over, writing

FORMAT = 1
REQUIRED = ("model", "optimizer", "step", "epoch", "seed", "global_batch", "task")

Alive = Callable[[], object]

_EPOCH = re.compile(r"epoch_(\d+)\.pt")
_CHUNK = 1 << 20
_OTHER = "Name another checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint that is safe on the disk. `sha256` is that of the whole file."""

    path: Path
    bytes: int
    sha256: str


def save(path: Path, state: Mapping[str, Any], *, line: int = 0, alive: Alive = lambda: None) -> Saved:
    """Writes a checkpoint beside its place, syncs it and renames it there: a crash leaves the old file or the new one.

    `line` is that of the state (`trainer.contract.checkpoint_trailer`). `alive` is called again and again while it is
    written. Raises CheckpointError when it can't be written, with the space that is left.
    """
    saved = _save(path, state, line, alive, keep_later=False)
    assert saved is not None
    return saved


def save_unless_later(path: Path, state: Mapping[str, Any], *, line: int, alive: Alive) -> Saved | None:
    """As `save`; but what is there already stays, and None is the answer, when that is whole and of a later step."""
    return _save(path, state, line, alive, keep_later=True)


def _save(path: Path, state: Mapping[str, Any], line: int, alive: Alive, *, keep_later: bool) -> Saved | None:
    lacking = [key for key in REQUIRED if key not in state]
    if lacking:
        raise ValueError(f"a checkpoint needs {', '.join(lacking)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path) as file:
            torch.save({**state, "format": FORMAT}, cast(IO[bytes], Watched(file, alive)))
            digest = _seal(file, int(state["step"]), line, alive)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            with alone(path.parent) if keep_later else contextlib.nullcontext():
                if keep_later and _age(path) > (line, int(state["step"])):
                    return None
                durable.put(file.name, os.fspath(path))
    except (OSError, RuntimeError) as error:
        cause = _system_error(error)
        if cause is None:  # a RuntimeError of torch that no write caused
            raise
        raise CheckpointError(f"{path}: can't be written ({cause.strerror or cause})", _remedy(cause, path)) from error
    return Saved(path=path, bytes=size, sha256=digest)


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU, read without running code from it.

    Raises CheckpointMissing, CheckpointDamaged, or CheckpointError for one of another format.
    """
    try:
        with path.open("rb") as file:
            _verify(file, path)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        remedy = "Check the path, and that the file is on this host"
        raise CheckpointMissing(f"{path}: no such checkpoint", remedy) from error
    except OSError as error:
        cause = f"{path}: can't be read ({error.strerror or error})"
        raise CheckpointError(cause, "Check the file and its rights") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointDamaged(f"{path}: not only tensors and plain values ({_first_line(error)})", _OTHER) from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{path}: expected a checkpoint of format {FORMAT}, found {found!r}", _OTHER)
    lacking = [key for key in REQUIRED if key not in state]
    if lacking:
        raise CheckpointDamaged(f"{path}: lacks {', '.join(lacking)}", _OTHER)
    return dict(state)


def _warn(error: CheckpointError) -> None:
    warnings.warn(str(error), stacklevel=3)


def newest(folder: Path, skipped: Callable[[CheckpointError], None] = _warn) -> list[Path]:
    """The checkpoints of a folder that are whole, the one of the newest state first (`contract.checkpoint_trailer`).

    `skipped` hears of each one left out, and why; by default that is a warning on standard error.
    """
    found: list[tuple[tuple[int, int], float, Path]] = []
    for path in folder.glob("*.pt"):
        try:
            with path.open("rb") as file:
                found.append((_verify(file, path), path.stat().st_mtime, path))
        except OSError as error:
            skipped(CheckpointError(f"{path}: can't be read ({error.strerror or error})", "Skipped"))
        except CheckpointDamaged as error:
            skipped(error)
    return [path for _age, _time, path in sorted(found, reverse=True)]


def prune(folder: Path, keep: int, besides: Sequence[str] = (), *, spare: str = "") -> list[Path]:
    """Removes all but the `keep` latest `epoch_N.pt`, the files named `besides`, and what a crash left half written;
    says which files. The file `spare` stays.

    Raises CheckpointError when the system does not let it.
    """
    try:
        epochs = [(int(match[1]), path) for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name))]
        old = [path for _epoch, path in sorted(epochs)[: max(0, len(epochs) - keep)]]
        old += [folder / name for name in besides if (folder / name).exists()]
        old = [path for path in old if path.name != spare]
        for path in old:
            path.unlink(missing_ok=True)
        return old + left_over(folder)
    except OSError as error:
        cause = f"{folder}: old checkpoints can't be removed ({error.strerror or error})"
        raise CheckpointError(cause, "Check the folder and its rights") from error


def _seal(file: IO[bytes], step: int, line: int, alive: Alive) -> str:
    """Appends the trailer as the comment of the zip archive; the SHA-256 of the whole file."""
    file.seek(-2, os.SEEK_END)
    file.write(checkpoint_trailer.SIZE.to_bytes(2, "little"))  # the length of the comment, 0 until now
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        alive()  # of a large file, on a disk, that takes minutes
    start = checkpoint_trailer.beginning(step, line)
    digest.update(start)
    end = digest.hexdigest().encode() + b"\n"
    file.write(start + end)
    digest.update(end)
    return digest.hexdigest()


def _verify(file: IO[bytes], path: Path) -> tuple[int, int]:
    """How new the state is that it says it has. Raises CheckpointDamaged unless the file is as it was written."""
    if checkpoint_trailer.read(file) is None:
        raise CheckpointDamaged(f"{path}: cut short, or not a checkpoint of Motley ({file.tell()} bytes)", _OTHER)
    said = checkpoint_trailer.proved(file)
    if said is None:
        raise CheckpointDamaged(f"{path}: changed since it was written (its SHA-256 differs)", _OTHER)
    return said.age


def _age(path: Path) -> tuple[int, int]:
    """Of the checkpoint that is there; below all others when there is none, or a damaged one."""
    try:
        with path.open("rb") as file:
            return _verify(file, path)
    except (FileNotFoundError, CheckpointDamaged):
        return -1, -1


def _first_line(error: Exception) -> str:
    """torch goes on with advice to load the file unsafely."""
    return (str(error).splitlines() or ["it ends too soon"])[0]


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind one that torch raised while it wrote."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _remedy(error: OSError, path: Path) -> str:
    if error.errno not in unwritten.NO_ROOM:
        return unwritten.remedy(error, path.parent)
    # There may have been no room for the folder itself.
    folder = next(above for above in path.parents if above.is_dir())
    free = shutil.disk_usage(folder).free
    return f"{free / 2**20:.1f} MiB are free in {folder}: make room there, or lower [run] keep_checkpoints"
