"""The table of causes: what ranks say when they fail, word for word, is recognised, and told with what mends it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from motley.remote.diagnosis import failures_page
from motley.remote.diagnosis.causes import CAUSES, OOM, find
from motley.remote.diagnosis.tracebacks import read

HEAD = 'Traceback (most recent call last):\n  File "train.py", line 20, in <module>\n    main()\n'


def blocks() -> list[tuple[str, str, str]]:
    """Row, a part of what is told of it, and what was said."""
    found = []
    for block in Path(__file__).with_name("said.txt").read_text(encoding="utf-8").split("\n== ")[1:]:
        head, _, said = block.partition("\n")
        name, _, told = head.partition(" | ")
        found.append((name, told, said))
    return found


SAID = blocks()


@pytest.mark.parametrize(("name", "told", "said"), SAID, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(SAID)])
def test_it_is_recognised_and_told_with_a_remedy(name: str, told: str, said: str) -> None:
    words = read((HEAD + said).splitlines())
    assert words.raised
    assert words.error.startswith(said.splitlines()[0].rstrip()[:300])
    found = find(words.texts, None, host="box1", python="/venv/bin/python")
    assert found is not None
    assert found.name == name
    assert told in found.told
    assert not re.search(r"[{]\w+[}]", found.told)
    assert found.aftermath == (name == "peer_gone")


def test_every_row_that_goes_by_words_is_among_them() -> None:
    assert {cause.name for cause in CAUSES if cause.says != r"(?!)"} == {name for name, _, _ in SAID}


@pytest.mark.parametrize(
    ("ended_by", "name"),
    [
        (signal.SIGKILL, "killed"),
        (OOM, "host_memory"),
        (signal.SIGBUS, "bus_error"),
        (signal.SIGILL, "illegal_instruction"),
        (signal.SIGSEGV, "crash"),
        (signal.SIGTERM, None),
    ],
)
def test_a_signal_without_a_word_says_something_too(ended_by: int, name: str | None) -> None:
    found = find((), ended_by, host="box1")
    assert (found.name if found else None) == name


def test_what_nobody_knows_is_not_guessed_at() -> None:
    for said in ("ValueError: no such layer", "KeyError: 'lr'", "RuntimeError: out of luck", "AssertionError", ""):
        assert find([said], None, host="box1") is None


def test_every_row_is_found_by_its_own_example() -> None:
    for cause in CAUSES:
        ended_by = cause.signals[0] if cause.signals else None
        found = find([] if cause.example.startswith("ended by") else [cause.example], ended_by, host="box1")
        assert found is not None
        assert found.name == cause.name


def test_the_page_is_what_the_table_says() -> None:
    page = (Path(__file__).parents[3] / "docs/failures.md").read_text(encoding="utf-8")
    assert page == failures_page.page(), (
        "out of date: python -m motley.remote.diagnosis.failures_page > docs/failures.md"
    )
