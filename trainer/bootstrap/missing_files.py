"""Which files of a large tree are new to a host, so that only those are sent. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import json
from typing import BinaryIO

from motley.trainer.bootstrap.code_trees import elsewhere, trees
from motley.trainer.bootstrap.files import answer


def main(_argv: list[str], stdin: BinaryIO) -> None:
    """Of the files on stdin (JSON: {path: [sha256, bytes, mode]}): those that no tree has under the same name."""
    try:
        wanted, places = json.loads(stdin.read()), trees()
        answer({"ok": True, "lacks": [path for path in wanted if elsewhere(places, path, *wanted[path][:2]) is None]})
    except (OSError, ValueError) as error:
        answer({"ok": False, "error": f"{type(error).__name__}: {error}"})
