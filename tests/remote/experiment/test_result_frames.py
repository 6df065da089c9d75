"""Results from a host's disk to the one here: both ends, without the way between them."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.remote.errors import CommandFailed
from motley.remote.experiment import result_frames, results_folder
from motley.remote.experiment.result_frames import NoRoom, ResultFrames
from motley.remote.experiment.results_folder import ResultsFolder, newest
from motley.trainer.contract.result_patterns import Patterns
from motley.trainer.results.send import Sender

MOST = 10**9


class Ends:
    """A run's folder on a host, and the results here."""

    def __init__(self, folder: Path) -> None:
        self.there = folder / "there"
        self.experiment = folder / "here"
        self.folder = ResultsFolder(self.experiment, "box1")
        self.told: list[tuple[str, str]] = []
        (self.there / "work/out").mkdir(parents=True)
        self.experiment.mkdir()

    def write(self, path: str, text: str, *, old: bool = True) -> None:
        place = self.there / "work" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        if old:  # as if it had been changed at another time than now
            os.utime(place, (5e9, 5e9))

    def sent(self, *, over: bool = False, most: int = MOST) -> bytes:
        stream = io.BytesIO()
        Sender(self.there, Patterns(["out/**"]), self.folder.have(), most).look(stream, over=over)
        return stream.getvalue()

    def take(self, data: bytes, *, cut: int = 0, most: int = MOST) -> ResultFrames:
        frames = ResultFrames(self.folder, most=most, tell=lambda path, why: self.told.append((path, why)))
        try:
            for start in range(0, len(data), cut or len(data) or 1):
                frames.feed(data[start : start + (cut or len(data))])
        finally:
            frames.close()
        return frames

    def here(self) -> dict[str, str]:
        return {path: (self.folder.path / path).read_text() for path in sorted(self.folder.have())}


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    assert not list(made.experiment.rglob("*.part"))


@pytest.mark.parametrize("cut", [0, 1, 7, 4096])
def test_what_is_new_comes_however_the_stream_is_cut(ends: Ends, cut: int) -> None:
    texts = {"out/a": "a" * 10_000, "out/deep/b": "", "out/new\u00ebst": "line\n{}\n"}
    for path, text in texts.items():
        ends.write(path, text)
    frames = ends.take(ends.sent(), cut=cut)
    assert (ends.here(), frames.kept, ends.told) == (texts, 3, [])
    assert ends.sent() == b""
    ends.write("out/a", "another")
    ends.take(ends.sent(), cut=cut)
    assert ends.here() == {**texts, "out/a": "another"}


def test_what_was_changed_just_now_waits_until_the_run_is_over(ends: Ends) -> None:
    ends.write("out/a", "half", old=False)
    assert ends.sent() == b""
    ends.take(ends.sent(over=True))
    assert ends.here() == {"out/a": "half"}


def test_a_file_that_is_replaced_while_it_is_read_is_not_kept(ends: Ends) -> None:
    ends.write("out/a", "x" * 1_000_000)

    class Slow(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            if len(data) > 1000 and self.tell() < 500_000:
                ends.write("out/a", "shorter", old=False)
            return super().write(data)

    stream = Slow()
    sender = Sender(ends.there, Patterns(["out/**"]), {}, MOST)
    sender.look(stream, over=False)
    assert ends.take(stream.getvalue()).kept == 0
    assert ends.here() == {}
    sender.look(stream := Slow(), over=True)
    ends.take(stream.getvalue())
    assert ends.here() == {"out/a": "shorter"}


def test_results_that_grow_without_end_are_bounded_and_told(ends: Ends) -> None:
    ends.write("out/a", "x" * 600)
    ends.write("out/b", "x" * 600)
    frames = ends.take(ends.sent(most=1000), most=1000)
    assert (set(ends.here()), frames.kept) == ({"out/a"}, 1)
    ((path, why),) = ends.told
    assert path == ""
    assert "[run] results_gib allows more" in why
    with pytest.raises(CommandFailed, match="more than was asked for"):  # of a host that does not heed it
        ends.take(ends.sent(), most=1000)
    assert set(ends.here()) == {"out/a"}


def test_many_small_files_are_sent_once_each(ends: Ends) -> None:
    for folder in range(10):
        (ends.there / f"work/out/{folder}").mkdir()
        for number in range(500):
            os.close(os.open(ends.there / f"work/out/{folder}/{number}", os.O_CREAT, 0o600))
    stream = io.BytesIO()
    sender = Sender(ends.there, Patterns(["out/**"]), {}, MOST)
    sender.look(stream, over=True)
    assert stream.getvalue().count(b'"op": "file"') == 5_000
    sender.look(again := io.BytesIO(), over=True)
    assert again.getvalue() == b""


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../b", "", ".", "a//b", "a\x1bb", "x" * 300])
def test_a_name_that_leads_out_is_refused(ends: Ends, path: str, tmp_path: Path) -> None:
    import json

    before = sorted(tmp_path.rglob("*"))
    frame = json.dumps({"op": "file", "path": path, "size": 3, "mtime_ns": 1}).encode()
    ends.take(frame + b"\nabc" + b'{"op": "sent", "whole": true}\n')
    assert ends.here() == {}
    assert "not every disk" in ends.told[0][1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_here_is_not_followed(ends: Ends, tmp_path: Path) -> None:
    ends.write("out/a", "text")
    ends.folder.path.mkdir(parents=True)
    (ends.folder.path / "out").symlink_to(tmp_path)
    ends.take(ends.sent())
    assert not (tmp_path / "a").exists()
    assert "is a link here" in ends.told[0][1]


def test_where_a_file_here_is_in_the_way_the_others_come(ends: Ends) -> None:
    ends.write("out/a/b", "below")
    ends.write("out/c", "beside")
    (ends.folder.path / "out").mkdir(parents=True)
    (ends.folder.path / "out/a").write_text("mine")
    ends.take(ends.sent())
    assert ends.here() == {"out/a": "mine", "out/c": "beside"}
    assert [path for path, _ in ends.told] == ["out/a/b"]


def test_a_full_disk_here_ends_it_and_leaves_what_was_kept(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.write("out/a", "first")
    ends.take(ends.sent())
    ends.write("out/a", "second")
    usage = os.statvfs(ends.experiment)
    monkeypatch.setattr(results_folder, "RESERVE", usage.f_frsize * usage.f_blocks)
    with pytest.raises(NoRoom, match="No space left"):
        ends.take(ends.sent())
    assert ends.here() == {"out/a": "first"}


def test_a_disk_that_fills_up_in_the_middle_of_a_file(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.write("out/a", "x" * 10_000)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results_folder.IncomingResult, "write", full)
    with pytest.raises(NoRoom):
        ends.take(ends.sent())
    assert ends.here() == {}


@pytest.mark.parametrize(
    "data",
    [
        b"no json\n", b"[]\n", b'{"op": "file"}\n', b'{"op": "sent", "whole": true}\n', b'{"op": "what"}\n',
        b"x" * 70_000,
        b'{"op": "file", "path": "a", "size": -1, "mtime_ns": 1}\n',
        b'{"op": "file", "path": "a", "size": 1e99, "mtime_ns": 1}\n',
    ],
)  # fmt: skip
def test_what_is_no_frame_is_told(ends: Ends, data: bytes) -> None:
    with pytest.raises(CommandFailed, match="can't be read"):
        ends.take(data)


def test_what_a_console_that_was_killed_has_left_half_done_goes_and_counts_for_nothing(ends: Ends) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    ends.write("out/a", "text")
    ends.take(ends.sent())
    part = ends.folder.path / f"out/.b.{gone.pid}-7.part"
    part.write_text("half")
    mine = ends.folder.path / f"out/.c.{os.getpid()}-7.part"
    mine.write_text("under way")
    assert set(ends.folder.have()) == {"out/a"}
    ends.take(b"")
    assert (part.exists(), mine.exists()) == (False, True)
    mine.unlink()
    shutil.rmtree(ends.folder.path / "out")
    (ends.folder.path / ".b.1-7.part").touch()
    ends.folder.point_latest()
    assert newest(ends.experiment) is None
    (ends.folder.path / ".b.1-7.part").unlink()


def test_a_host_that_never_comes_to_an_end_is_bounded(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b'{"op": "file", "path": "out/%d", "size": 0, "mtime_ns": 1}\n'
    with pytest.raises(CommandFailed, match="an unexpected 'file'"):
        ends.take(frame % 1 + frame % 2)
    monkeypatch.setattr(result_frames, "MOST_FILES", 3)
    with pytest.raises(CommandFailed, match="more than 3 files"):
        ends.take(b"".join(frame % n + b'{"op": "sent", "whole": true}\n' for n in range(9)))
    assert len(ends.here()) == 3
    ends.take(b"".join(b'{"op": "left", "path": "%d", "why": "x"}\n' % n for n in range(900)))
    assert len(ends.told) == result_frames.MOST_TOLD


def test_latest_leads_to_the_newest(ends: Ends) -> None:
    assert newest(ends.experiment) is None
    ends.write("out/a", "text")
    ends.take(ends.sent())
    ends.folder.point_latest()
    assert newest(ends.experiment) == ends.folder.path
    other = ResultsFolder(ends.experiment, "box2")
    other.path.mkdir()
    other.point_latest()
    assert os.readlink(ends.experiment / "results/latest") == "box2"
    assert newest(ends.experiment) is None  # there is nothing in it
