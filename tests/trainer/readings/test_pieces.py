"""Output in pieces: lines, redraws of a bar, and what floods or never ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.readings.pieces import LONGEST, MOST, Pieces


def test_lines_and_redraws_are_pieces_and_colours_and_cursor_moves_are_not() -> None:
    pieces = Pieces()
    assert pieces.feed(b"one\r\n\x1b[32mtwo\x1b[0m\r three\x1b[A\n\n") == ["one", "two", " three"]
    assert pieces.feed(b"fo") == []
    assert pieces.unfinished == "fo"
    assert pieces.feed(b"ur\nfive") == ["four"]
    assert pieces.unfinished == "five"


def test_what_is_longer_than_any_figure_is_left_out_wherever_it_is_cut() -> None:
    text = b"a\n" + b"x" * (3 * LONGEST) + b"\nb\n"
    for size in (1, 100, LONGEST, 2 * LONGEST, len(text)):
        pieces = Pieces()
        found = [piece for i in range(0, len(text), size) for piece in pieces.feed(text[i : i + size])]
        assert found == ["a", "b"]


def test_of_a_flood_the_newest_are_read() -> None:
    pieces = Pieces()
    found = pieces.feed(b"".join(b"%d\n" % i for i in range(1000)))
    assert found == [str(i) for i in range(1000 - MOST, 1000)]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_cuts_of_any_bytes_give_the_same_pieces(cuts: list[bytes]) -> None:
    whole, cut = Pieces(), Pieces()
    assert [piece for data in cuts for piece in cut.feed(data)] == whole.feed(b"".join(cuts))
    assert cut.unfinished == whole.unfinished
