"""The verbs `fetch`, `store` and `prove`: files of a run on this host, given, taken and checked."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

from motley.trainer.bootstrap import durable
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.host.paths import run_folder


def fetch(run: str, host: str, name: str, stdout: BinaryIO) -> int:
    """Write one file of the run's folder to `stdout`. Returns 1 when it is not there or lies outside the folder."""
    folder = run_folder(run, host).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        print(f"no file {name} in {folder}", file=sys.stderr)
        return 1
    with path.open("rb") as file:
        shutil.copyfileobj(file, stdout)
    return 0


def store(run: str, host: str, name: str, stdin: BinaryIO) -> int:
    """Write `stdin` to `checkpoints/<name>` of a run's folder, whole or not at all: a checkpoint to go on from."""
    folder = run_folder(run, host) / "checkpoints"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    place = str(folder / Path(name).name)
    part = durable.part_of(place)
    with open(part, "wb") as file:
        shutil.copyfileobj(stdin, file)
    durable.sync_file(part)
    durable.put(part, place)
    return 0


def prove(run: str, host: str, name: str) -> dict[str, Any]:
    """`{"checkpoint": its trailer}` of `checkpoints/<name>`; with None when it is damaged or can't be read."""
    try:
        with (run_folder(run, host) / "checkpoints" / Path(name).name).open("rb") as file:
            said = checkpoint_trailer.proved(file)
    except OSError:
        said = None
    return {"checkpoint": dataclasses.asdict(said) if said is not None else None}
