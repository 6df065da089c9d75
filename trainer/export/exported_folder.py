"""The files of an exported folder, one after the other: `trainer.verbs.export` sends them.

>>> table, pieces = laid_out_folder({"README.md": b"…", "model.safetensors": weights}, {"run": "night"})
>>> table
[('README.md', 1), ('model.safetensors', 265432), ('motley.json', 96)]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from motley.trainer.contract.exported import MARK, is_plain
from motley.trainer.errors import TaskError
from motley.trainer.export.safetensors_file import laid_out

PIECE = 4 << 20  # bytes
Pieces = Iterable[bytes | memoryview]


def laid_out_folder(files: Mapping[str, object], metadata: Mapping[str, Any]) -> tuple[list[tuple[str, int]], Pieces]:
    """Names and sizes, and the bytes of all in that order, in pieces. `files`: as `Task.export` gives them.

    Raises TaskError for what is no file, TrainerError for tensors that safetensors can't hold, OSError.
    """
    about = json.dumps({**metadata, "files": sorted({*files, MARK})}, indent=2).encode() + b"\n"
    table: list[tuple[str, int]] = []
    contents: list[Callable[[], Pieces]] = []
    for name, content in sorted({**files, MARK: about}.items()):
        if not is_plain(name):
            raise TaskError(f"a file of the exported folder is called {name!r}", "Take letters, digits and . _ + -")
        size, pieces = _opened(name, content)
        table.append((name, size))
        contents.append(pieces)
    return table, (piece for pieces in contents for piece in pieces())


def _opened(name: str, content: object) -> tuple[int, Callable[[], Pieces]]:
    if isinstance(content, bytes):
        return len(content), lambda: [content]
    if isinstance(content, Path):
        return content.stat().st_size, lambda: _read(content)
    if isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values()):
        size, pieces = laid_out(content, {"format": "pt"})
        return size, lambda: pieces
    raise TaskError(f"{name} of the exported folder is a {type(content).__name__}", "Give bytes, a path, or tensors")


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
