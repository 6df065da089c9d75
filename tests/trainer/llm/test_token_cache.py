"""Tokens that a host keeps: a second start does not make them again. Whatever is wrong with what is kept, the rows are
right."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from motley.trainer.llm.options import Options
from motley.trainer.llm.rows import token_cache
from motley.trainer.llm.rows.dataset import Rows, load_rows
from motley.trainer.llm.rows.token_rows import TokenRows
from motley.trainer.verbs.clean import items
from tests.trainer.llm.words import Words

ROWS = [{"prompt": f"what is {n} ?", "completion": f"it is {n} again"} for n in range(40)]


class Spoken(Words):
    """With a text that says all of it, as fast tokenizers have; `asked`: how many texts it was given."""

    def __init__(self, text: str = "words") -> None:
        super().__init__()
        self.backend_tokenizer, self.asked = SimpleNamespace(to_str=lambda: text), 0

    def __call__(self, texts: Any, **given: Any) -> dict[str, list[list[int]]]:
        self.asked += len(texts) if texts != [""] else 0
        return super().__call__(texts, **given)


@pytest.fixture(autouse=True)
def _small_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 0)
    monkeypatch.setattr(token_cache, "SPARE_BYTES", 0)


@pytest.fixture(name="place")
def _place(home: Path) -> Path:
    return home / ".motley/data/token-rows"


def loaded(folder: Path, tokenizer: Words, notes: list[str] | None = None, **given: Any) -> Rows:
    if not (folder / "t.jsonl").exists():
        (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    table: dict[str, Any] = {"model": "m", "train": "t.jsonl", "test_fraction": 0.1}
    heard = notes if notes is not None else []
    return load_rows(Options(**(table | given)), folder, tokenizer, lambda text, _: heard.append(text))


def same(one: TokenRows | None, other: TokenRows | None) -> bool:
    assert one is not None
    assert other is not None
    rows = zip((one[n] for n in range(len(one))), (other[n] for n in range(len(other))), strict=True)
    return all(a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in rows)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Writing more to a file fails, as on a full disk."""
    before = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        setrlimit(RLIMIT_FSIZE, before)


@pytest.mark.parametrize("given", [{}, {"packing": True, "length": 30}, {"test_fraction": 0.0}, {"test": "t.jsonl"}])
def test_a_second_start_has_the_same_rows_without_tokenising(
    tmp_path: Path, place: Path, given: dict[str, Any]
) -> None:
    tokenizer, notes = Spoken(), list[str]()
    first = loaded(tmp_path, tokenizer, **given)
    asked = tokenizer.asked
    again = loaded(tmp_path, tokenizer, notes, **given)
    assert asked > 0
    assert tokenizer.asked == asked
    assert same(first.train, again.train)
    assert (first.test is None) == (again.test is None)
    assert first.test is None or same(first.test, again.test)
    assert (again.told, again.identity) == (first.told, first.identity)
    assert notes == ["the tokens of t.jsonl are here from an earlier start"]
    assert len(list(place.iterdir())) == 1
    assert place.stat().st_mode & 0o077 == 0


def test_whatever_rows_follow_from_makes_others(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Spoken()
    loaded(tmp_path, tokenizer)
    for given in ({"length": 6}, {"packing": True}, {"loss_on": "all"}, {"test_fraction": 0.2}, {"system": "yes"}):
        before = tokenizer.asked
        loaded(tmp_path, tokenizer, **given)
        assert tokenizer.asked > before, given
    loaded(tmp_path, other := Spoken("other words"))
    assert other.asked
    monkeypatch.setattr(token_cache, "_version", lambda _: "9")
    before = tokenizer.asked
    loaded(tmp_path, tokenizer)
    assert tokenizer.asked > before
    count = len(list(place.iterdir()))
    (tmp_path / "t.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1]) + "\n")
    assert len(loaded(tmp_path, tokenizer).train) == 1
    assert len(list(place.iterdir())) == count + 1 == 9


def test_what_can_t_be_known_by_its_text_or_is_small_is_not_kept(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(tmp_path, Words())
    loaded(tmp_path, Spoken(), trust_remote_code=True)
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1 << 20)
    loaded(tmp_path, Spoken())
    assert not place.exists()


@pytest.mark.parametrize("harm", ["empty", "short", "long", "a byte", "no table", "other"])
def test_what_is_damaged_is_made_again(tmp_path: Path, place: Path, harm: str) -> None:
    tokenizer = Spoken()
    first = loaded(tmp_path, tokenizer)
    (kept,) = place.iterdir()
    content = kept.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"\n") + 41] ^= 1
    kept.write_bytes(
        {"empty": b"", "short": content[:-9], "long": content + b"x", "a byte": bytes(flipped), "no table": b"[]\n",
         "other": content.replace(b'"ids": ', b'"ids": -')}[harm]
    )  # fmt: skip
    asked = tokenizer.asked
    again = loaded(tmp_path, tokenizer)
    assert tokenizer.asked > asked
    assert same(first.train, again.train)
    assert kept.read_bytes() == content


def test_a_full_disk_costs_what_is_kept_and_nothing_else(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(tmp_path, Spoken(), first := list[str]())
    (kept,) = place.iterdir()
    kept.unlink()
    with room_for(500):
        rows = loaded(tmp_path, Spoken(), notes := list[str]())
    assert len(rows.train) == 36
    assert notes == [*first, "the tokens are not kept for the next start: File too large"]
    assert list(place.iterdir()) == []
    monkeypatch.setattr(token_cache, "SPARE_BYTES", 1 << 60)
    loaded(tmp_path, Spoken(), notes)
    assert "MiB are free in" in notes[-1]
    monkeypatch.setattr(token_cache, "MOST_BYTES", 10)
    loaded(tmp_path, Spoken(), notes)
    assert notes[-1].endswith("and 0 are kept at most")
    assert list(place.iterdir()) == []


def test_the_longest_unused_goes_first_and_so_does_half_a_file_of_long_ago(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Spoken()
    kept: list[Path] = []
    for length in (20, 21, 22):
        loaded(tmp_path, tokenizer, length=length)
        (new,) = set(place.iterdir()) - {*kept}
        kept.append(new)
    for age, path in zip((300, 200, 100), kept, strict=True):
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    loaded(tmp_path, tokenizer, length=20)  # the oldest is used again
    for age, name in ((10**6, ".old.1-1.part"), (0, ".new.1-1.part")):
        (place / name).write_bytes(b"")
        os.utime(place / name, ((place / name).stat().st_mtime - age,) * 2)
    monkeypatch.setattr(token_cache, "MOST_BYTES", int(3.5 * kept[0].stat().st_size))
    loaded(tmp_path, tokenizer, length=23)
    there = set(place.iterdir())
    assert (kept[0] in there, kept[1] in there, kept[2] in there) == (True, False, True)
    assert {path.name for path in there if path.suffix == ".part"} == {".new.1-1.part"}


def test_clean_knows_it(tmp_path: Path, place: Path) -> None:
    loaded(tmp_path, Spoken())
    (item,) = items("box0")
    assert (item.kind, item.name, item.used) == ("data", place.name, "")
    assert item.bytes > 0
