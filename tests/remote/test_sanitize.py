"""Nothing a rank prints may steer the terminal of the person who watches it."""

from __future__ import annotations

import math
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motley.remote.sanitize import MAX_CHARS, clean, clean_lines, clean_table

HANGS_S = 120.0
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HOSTILE = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x9d\x90\r\n\t\x07\x08[]0;mPX\\\u202e")))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        pytest.param("loss 0.31\n", "loss 0.31", id="plain"),
        pytest.param("\x1b[1;31mred\x1b[0m", "red", id="colour"),
        pytest.param("\x9b2Jgone\x9bH", "gone", id="one-character CSI"),
        pytest.param("\x1b]0;my title\x07text", "text", id="window title"),
        pytest.param("\x1b]52;c;ZXZpbA==\x1b\\text", "text", id="clipboard"),
        pytest.param("\x1b]8;;http://a.example\x1b\\link\x1b]8;;\x1b\\", "link", id="hyperlink"),
        pytest.param("\x1bP1$r0m\x1b\\text", "text", id="device control"),
        pytest.param("\x1b(0lqk\x1b(B", "lqk", id="character set"),
        pytest.param("\x1bcreset", "reset", id="terminal reset"),
        pytest.param("\x1b]0;never closed", "0;never closed", id="open string keeps its text"),
        pytest.param("a\x1b[31", "a31", id="cut off in the middle"),
        pytest.param(" 10%|#   |\r 50%|##  |\r100%|####|\n", "100%|####|", id="progress bar"),
        pytest.param("100% done\r\x1b[K", "100% done", id="progress bar, then erased"),
        pytest.param("windows line\r\n", "windows line", id="CR LF"),
        pytest.param("a\tb", "a       b", id="tab"),
        pytest.param("ok\nERROR host lost", "ok ERROR host lost", id="a line can't pose as two"),
        pytest.param("a\u2028b\x85c\vd", "a b c d", id="other breaks"),
        pytest.param("invoice\u202egpj.exe", "invoicegpj.exe", id="text direction"),
        pytest.param("bo\u200bx\u00ad1\ufeff", "box1", id="invisible"),
        pytest.param("bell\x07 back\x08space\x00\x7f", "bell backspace", id="controls"),
        pytest.param("half \udcff a character", "half  a character", id="surrogate"),
        pytest.param("Genauigkeit 95 % ✓ 精度", "Genauigkeit 95 % ✓ 精度", id="letters of the world"),
    ],
)
def test_a_line_is_shown_without_what_would_steer_the_terminal(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_no_character_of_unicode_that_controls_or_hides_gets_through() -> None:
    every = (chr(code) for code in range(sys.maxunicode + 1))
    unsafe = [c for c in every if unicodedata.category(c) in UNSAFE]
    through = [f"U+{ord(c):04X}" for c in unsafe if clean(f"é{c}é").replace(" ", "") not in ("éé", "é")]
    assert len(unsafe) > 2000
    assert through == []


@settings(derandomize=True)
@given(HOSTILE)
def test_whatever_comes_in_what_goes_out_is_safe_and_stays_as_it_is(raw: str) -> None:
    shown = clean(raw)
    assert not {unicodedata.category(c) for c in shown} & UNSAFE
    assert clean(shown) == shown
    assert len(shown) <= MAX_CHARS


def test_a_huge_line_is_cut_and_says_by_how_much() -> None:
    shown = clean("x" * 1_000_000)
    assert len(shown) <= MAX_CHARS
    assert shown.endswith("characters cut)")
    kept = shown.count("x")
    assert f"({1_000_000 - kept:,} characters cut)" in shown
    assert clean(shown) == shown


def test_lines_of_a_traceback_stay_lines() -> None:
    assert clean_lines("Traceback:\n  \x1b[1mfile\x1b[0m\nError\r\n") == "Traceback:\n  file\nError\n"


def test_tables_are_made_safe_to_their_depths() -> None:
    table = {"rank\x1b[2J": [{"text": "a\x1b[31mb", "n": 3, "none": None, "ok": True, "loss": 0.5}, ("\u202e",)]}
    assert clean_table(table) == {"rank": [{"text": "ab", "n": 3, "none": None, "ok": True, "loss": 0.5}, [""]]}


def test_a_table_nested_without_end_is_cut_off() -> None:
    nested: Any = "\x1b[31m"
    for _ in range(5000):
        nested = [nested]
    assert "\x1b" not in str(clean_table(nested))


def test_a_hostile_megabyte_ends(tmp_path: Path) -> None:
    """In work that grows with its length; were it the square of that, this would take hours."""
    program = tmp_path / "megabytes.py"
    program.write_text(
        "from motley.remote.sanitize import clean\n"
        r"for unit in ('\x1b]', '\x1b[1', '\x1b[;', '\x1bP\r', '\t', '\u202e', '\x1b ', '\x9d', '\x90x', '\x9b1'):"
        "\n    clean(unit * (1_000_000 // len(unit)))\n"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, str(program)], env=env, check=True, timeout=HANGS_S)


def test_numbers_that_nobody_could_reckon_with_are_none() -> None:
    table = {"a": [math.nan, -math.inf, 1e300, 10**400, 2**63], "b": [0, -1.5, 2**62, 1e30, True, False]}
    assert clean_table(table) == {"a": [None] * 5, "b": table["b"]}
