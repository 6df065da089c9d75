"""When a rank has printed what: the marks that the supervisor makes, and what a viewer makes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motley.trainer.contract.wire import Chunk
from motley.trainer.host.printed_times import FINE, MarksFile, MarksReader, times_of
from motley.trainer.supervisor.output_files import KEPT, OutputFile
from motley.trainer.verbs.attach import new_chunks
from tests.support.full_disk import small_disk


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def marks(path: Path) -> list[str]:
    return path.with_suffix(".marks").read_text().splitlines()


def printed(chunks: list[Chunk]) -> list[tuple[str, float | None]]:
    """Each line with its time, as a console reads it."""
    found: list[tuple[str, float | None]] = []
    for chunk in chunks:
        times, at = {int(number): float(at) for number, at in chunk.times}, None
        for number, line in enumerate(chunk.text.splitlines()):
            at = times.get(number, at)
            found.append((line, at))
    return found


def test_there_is_one_mark_a_second_and_only_where_something_is_printed(tmp_path: Path) -> None:
    clock = Clock()
    file = MarksFile(tmp_path / "rank_0.1.out", clock)
    for after, byte in ((0.0, 0), (0.5, 10), (0.4, 20), (0.2, 30), (500.0, 40), (-3600.0, 50)):
        clock.now += after
        file.before(byte)
    file.close()
    assert marks(tmp_path / "rank_0.1.out") == ["[0, 1000.0]", "[30, 1001.1]", "[40, 1501.1]", "[50, -2098.9]"]


def test_what_prints_for_days_has_marks_that_are_further_apart(tmp_path: Path) -> None:
    clock = Clock()
    file = MarksFile(tmp_path / "rank_0.out", clock)
    for byte in range(10 * FINE):
        file.before(byte)
        clock.now += 1.0
    file.close()
    assert 2 * FINE < len(marks(tmp_path / "rank_0.out")) < 4 * FINE


def test_marks_that_a_full_disk_does_not_take_come_with_the_next_output(tmp_path: Path) -> None:
    clock = Clock()
    with small_disk(tmp_path / "disk", size="64k", files=10) as disk:
        file = MarksFile(disk.folder / "rank_0.out", clock)
        disk.fill()
        file.before(0)
        disk.make_room()
        clock.now += 0.1
        file.before(8)
        file.close()
        assert marks(disk.folder / "rank_0.out") == ["[8, 1000.1]"]


@pytest.mark.parametrize(
    ("known", "start", "expected"),
    [
        ([], 0, []),
        ([(0, 1.0)], 0, [[0, 1.0]]),
        ([(0, 1.0), (4, 2.0), (8, 3.0), (12, 4.0)], 4, [[0, 2.0], [1, 3.0]]),
        ([(2, 1.0), (6, 2.0)], 0, [[0, 1.0], [1, 2.0]]),  # a line is of when it got its end
        ([(0, 1.0), (5, 2.0), (6, 3.0)], 0, [[0, 1.0], [1, 3.0]]),
        ([(4, 2.0)], 0, [[1, 2.0]]),  # before it nothing is known
    ],
)
def test_the_lines_of_a_chunk_have_the_times_of_their_marks(
    known: list[tuple[int, float]], start: int, expected: list[list[float]]
) -> None:
    assert times_of(known, start, b"one\ntwo\n") == expected


def test_what_a_rank_printed_comes_with_its_times_from_any_offset_and_over_all_its_files(tmp_path: Path) -> None:
    clock = Clock()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    output = OutputFile(tmp_path, "rank_0", reader, cap=40, clock=clock)
    viewer, offsets, expected = MarksReader(tmp_path), dict[str, int](), []
    seen: list[tuple[str, float | None]] = []
    for number in range(24):
        clock.now += 5.0
        os.write(writer, f"line {number:02}\nand more\nhalf".encode())
        assert output.pump()
        before = f"halfline {number:02}" if number else f"line {number:02}"
        expected += [(before, clock.now), ("and more", clock.now)]
        chunks = list(new_chunks(tmp_path, offsets, whole=False, marks=viewer))
        offsets |= {chunk.file: chunk.end for chunk in chunks}
        seen += printed(chunks)
    os.close(writer)
    assert not output.pump()
    output.close()
    assert seen == expected
    assert len(offsets) > KEPT + 2
    late = printed(list(new_chunks(tmp_path, {}, whole=True, marks=MarksReader(tmp_path))))  # what the caps have left
    assert late == [pair for pair in [*expected, ("half", clock.now)] if pair in late]
    assert 6 < len(late) < len(expected)
    names = {path.name.removesuffix(".out") for path in tmp_path.glob("*.out") if path.stat().st_size}
    assert {path.name.removesuffix(".marks") for path in tmp_path.glob("*.marks")} == names


def test_half_a_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rank_0.marks").write_text("[0, 5.0]\n[4, 6\n[8, 7.0]\n{}\n[12")
    (tmp_path / "rank_0.out").write_text("one\ntwo\nsix\nten\n")
    (chunk,) = new_chunks(tmp_path, {}, whole=False, marks=MarksReader(tmp_path))
    assert chunk.times == [[0, 5.0], [2, 7.0]]
