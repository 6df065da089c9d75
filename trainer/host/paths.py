"""Where things are on a host: everything of ours lies under `~/.motley`.

>>> run_folder("night", "box1", home=Path("/home/ada"))
PosixPath('/home/ada/.motley/runs/night/box1')
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import motley
from motley.trainer.bootstrap import durable

HERE = Path(motley.__file__).resolve().parents[1]  # the tree that this process runs from: of a checkout, or on a host
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def safe_name(name: str) -> str:
    """`name` when it can be one part of a path, else ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: letters, digits, '.', '_' and '-', not starting with '.' or '-'")
    return name


def runs_folder(home: Path | None = None) -> Path:
    return (home or Path.home()) / ".motley" / "runs"


def run_folder(run: str, host: str, home: Path | None = None) -> Path:
    """The folder of one run on one host; the host's name is in it because homes may be shared."""
    return runs_folder(home) / safe_name(run) / safe_name(host)


def project_folder(tree: str, home: Path | None = None) -> Path:
    """Where the user's own files lie, by their hash."""
    return (home or Path.home()) / ".motley" / "code" / safe_name(tree)


def write_json(path: Path, table: dict[str, Any], mode: int = 0o600, *, sync: bool = True) -> None:
    """Write `table` so that a reader sees the old content or the new, never half of it, also after a power cut.

    It waits for the disk; without `sync` it does not, and the file may be empty after a power cut. Raises OSError.
    """
    durable.write(path, json.dumps(table).encode(), mode, sync=sync)


def read_json(path: Path) -> dict[str, Any]:
    """The table in `path`; empty when there is none or it is damaged."""
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def open_next(folder: Path, stem: str, suffix: str) -> tuple[int, Path]:
    """Open the first of `stem.suffix`, `stem.1.suffix`, … that does not exist, for appending: (descriptor, path)."""
    number = 0
    while True:
        path = folder / (f"{stem}{suffix}" if number == 0 else f"{stem}.{number}{suffix}")
        try:
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600), path
        except FileExistsError:
            number += 1
