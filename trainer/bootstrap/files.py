"""Where things lie on a host, reading small files there, and answering. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

HOME = os.path.expanduser("~")
OURS = os.path.join(HOME, ".motley")
CODE = os.path.join(OURS, "code")


def text(path: str) -> str:
    """What is in it; empty when it can't be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def names(folder: str) -> list[str]:
    """What lies in it, sorted; nothing when it can't be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def command(name: str, folders: Iterable[str] = ()) -> bool:
    """Whether there is one of this name, in PATH or in these folders. (`shutil.which` takes longer to import.)"""
    return any(os.access(os.path.join(folder, name), os.X_OK) for folder in folders or os.get_exec_path())


def answer(table: dict[str, Any]) -> None:
    sys.stdout.write("\nmotley:" + json.dumps(table) + "\n")
    sys.stdout.flush()
