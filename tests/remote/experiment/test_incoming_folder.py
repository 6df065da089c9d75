"""A trained model that comes as a folder: whole or not at all, and never outside of its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motley.remote.errors import CommandFailed, UsageError
from motley.remote.experiment.incoming_folder import IncomingFolder

FILES = {
    "README.md": b"# night",
    "empty.txt": b"",
    "motley.json": b'{"files": ["README.md", "empty.txt", "motley.json"]}',
}


def sent(files: dict[str, bytes], **more: Any) -> bytes:
    content = b"".join(files.values())
    listed = [[name, len(value)] for name, value in files.items()]
    head = {"ok": True, "bytes": len(content), "files": listed, "metadata": {"step": 3}, "notes": ["x"], **more}
    return json.dumps(head).encode() + b"\n" + content


def come(place: Path, content: bytes, *, force: bool = False, piece: int = 7) -> tuple[int, dict[str, Any]]:
    incoming = IncomingFolder(place, force=force)
    incoming.begin("box0")
    try:
        for start in range(0, len(content), piece):
            incoming.take(content[start : start + piece])
        assert not incoming.ended("box0", "")
        return incoming.keep()
    finally:
        incoming.close()


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_it_comes_whole_in_pieces_of_any_size(tmp_path: Path, piece: int) -> None:
    size, about = come(tmp_path / "night", sent(FILES), piece=piece)
    assert (size, about) == (sum(map(len, FILES.values())), {"step": 3})
    assert {path.name: path.read_bytes() for path in (tmp_path / "night").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["night"]


def test_one_that_is_there_is_written_over_when_asked_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    place = tmp_path / "night"
    place.mkdir()  # empty: as if it was not there
    come(place, sent(FILES))
    (place / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="night is there already"):
        IncomingFolder(place, force=False)
    come(place, sent({"new.txt": b"new", "motley.json": b"{}"}), force=True)
    assert {path.name for path in place.iterdir()} == {"new.txt", "motley.json", "mine.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["night"]
    (place / "motley.json").unlink()
    with pytest.raises(UsageError, match="none that an export has written"):
        IncomingFolder(place, force=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file: name a folder"):
        IncomingFolder(tmp_path / "file", force=True)


@pytest.mark.parametrize(
    "files",
    [[["../x", 1]], [["a/b", 1]], [[".bashrc", 1]], [["a", 1], ["a", 0]], [["a", 2]], [["a", -1], ["b", 2]], 5, [7]],
)
def test_a_host_that_names_what_is_no_file_leaves_nothing(tmp_path: Path, files: Any) -> None:
    head = json.dumps({"ok": True, "bytes": 1, "files": files, "metadata": {}, "notes": []}).encode() + b"\nx"
    with pytest.raises(CommandFailed):
        come(tmp_path / "night", head)
    assert list(tmp_path.iterdir()) == []


def test_one_that_ends_too_soon_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended 1 bytes too soon"):
        come(tmp_path / "night", sent(FILES)[:-1])
    assert list(tmp_path.iterdir()) == []
