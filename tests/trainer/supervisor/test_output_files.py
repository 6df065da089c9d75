"""What a process prints without an end, or without the end of a line, has its bounds."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from motley.trainer.supervisor.output_files import CAP_BYTES, KEPT, READ_BYTES, TURN_BYTES, OutputFile

BIG = 2**20


def output(folder: Path, cap: int = CAP_BYTES) -> tuple[OutputFile, int]:
    """And the end to write into, of a large pipe."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, BIG)
    os.set_blocking(reader, False)
    return OutputFile(folder, "rank_0", reader, cap=cap), writer


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("rank_0*.out")]


def test_a_progress_bar_without_line_ends_is_cut_at_the_cap(tmp_path: Path) -> None:
    kept, writer = output(tmp_path, cap=1000)
    bar = b"".join(b"\r%3d%%" % (n % 100) for n in range(200_000))
    for at in range(0, len(bar), READ_BYTES):
        os.write(writer, bar[at : at + READ_BYTES])
        assert kept.pump()
    os.close(writer)
    assert not kept.pump()
    kept.close()
    files = list(tmp_path.glob("rank_0*.out"))
    assert len(files) > KEPT
    assert max(sizes(tmp_path)) <= 1000 + 2 * READ_BYTES + 1
    assert sum(sizes(tmp_path)) < (KEPT + 2) * (1000 + 2 * READ_BYTES)
    assert all(path.read_bytes()[-1:] in (b"\n", b"") for path in files)  # whole lines only, for who follows


def test_lines_are_cut_at_their_ends(tmp_path: Path) -> None:
    kept, writer = output(tmp_path, cap=1000)
    for number in range(60):
        os.write(writer, b"%03d" % number + b"x" * 96)
        kept.pump()
        os.write(writer, b"\n")
        kept.pump()
    os.close(writer)
    kept.pump()
    kept.close()
    lines = [line for path in tmp_path.glob("rank_0*.out") for line in path.read_bytes().splitlines()]
    assert {len(line) for line in lines} == {99}
    assert len(sizes(tmp_path)) > 2


def test_whoever_prints_without_end_does_not_hold_the_supervisor(tmp_path: Path) -> None:
    kept, writer = output(tmp_path)
    os.write(writer, b"x" * BIG)  # and more would come meanwhile
    assert kept.pump()
    assert sum(sizes(tmp_path)) == TURN_BYTES
    while sum(sizes(tmp_path)) < BIG:
        assert kept.pump()
    os.close(writer)
    assert not kept.pump()
    kept.close()
