"""A lock of this host is one process's at a time."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from motley.trainer.host.file_lock import locked


def test_one_has_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path), path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert path.stat().st_mode & 0o777 == 0o600


def test_on_a_disk_without_locks_one_that_is_not_needed_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with locked(tmp_path / "lock", needed=False):
        pass
    with pytest.raises(OSError, match="No locks available"), locked(tmp_path / "lock"):
        raise AssertionError("it is not alone")


def test_an_error_while_it_is_held_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), locked(tmp_path / "lock", needed=False):
        raise OSError("mine")
    with locked(tmp_path / "lock"):  # it was let go
        pass
