"""A report that is kept beside what it was read from: the same again, and made anew when it does not fit."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from motley.console.report import digest, read_report
from motley.console.report.read_report import read
from motley.console.report.report import Report
from tests.console.report.experiments import event, group, step, summary, write


@pytest.fixture(autouse=True)
def every_run_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "LEAST", 0)


def recorded(folder: Path) -> Path:
    samples = [sample for number in range(1, 12) for sample in step(number, unit="tokens", units=7)]
    decision = event("decision", "moved", 1.2, step=4, before=[32, 32], after=[40, 24], predicted_ms=9.0)
    evaluated = event("evaluated", "", 1.5, step=3, epoch=1, accuracy=0.5, loss=0.7, figures={"perplexity": 2.0})
    regroups = [{"cause": "lost", "host": "laptop", "step_before": 6, "step_after": 5, "pause_s": 0.4}]
    events = [group(), decision, evaluated, event("lost", "laptop is lost", 1.7, level="warning", member=1)]
    return write(folder, events, samples, told=summary(regroups=regroups, gain=1.2, saved_s=3.0))


def again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """What is read where no record may be."""
    with monkeypatch.context() as patched:
        patched.setattr(read_report, "gather", lambda *_: pytest.fail("the records were read"))
        return read(folder)


def test_a_report_that_was_kept_is_the_same_without_reading_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded(tmp_path / "night")
    report = read(folder)
    assert (folder / digest.NAME).stat().st_mode & 0o777 == 0o600
    assert again(folder, monkeypatch) == report


def test_it_is_made_anew_when_a_file_of_the_run_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("events.jsonl", "summary.json", "cluster.toml", "logs/rank_1_metrics.jsonl"):
        folder = recorded(tmp_path / name.replace("/", "-"))
        read(folder)
        file = folder / name
        content = file.read_bytes()
        file.write_bytes(content.replace(b"laptop", b"labtop").replace(b"epochs = 3", b"epochs = 4"))
        assert file.read_bytes() != content
        assert len(file.read_bytes()) == len(content)
        with pytest.raises(pytest.fail.Exception):
            again(folder, monkeypatch)
    folder = recorded(tmp_path / "night")
    read(folder)
    os.rename(folder, tmp_path / "day")
    with pytest.raises(pytest.fail.Exception):
        again(tmp_path / "day", monkeypatch)


ODD: tuple[Any, ...] = (None, "x", -1, 1e300, True, [], [[1]], {}, {"name": 3}, [{"points": [[1]]}], "\x1b[2J")


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_digest_of_somebody_else_is_checked_value_by_value(odd: object, tmp_path: Path) -> None:
    folder = recorded(tmp_path / "night")
    honest = read(folder)
    file = folder / digest.NAME
    table = json.loads(file.read_bytes())
    for field in dataclasses.fields(Report):
        file.write_text(json.dumps({**table, "report": {**table["report"], field.name: odd}}))
        report = read(folder)
        changed = {f.name for f in dataclasses.fields(Report) if getattr(report, f.name) != getattr(honest, f.name)}
        assert changed <= {field.name}
        assert "\x1b" not in json.dumps(dataclasses.asdict(report), ensure_ascii=False)
        assert type(getattr(report, field.name)) in (type(getattr(honest, field.name)), type(odd), float, type(None))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"v": 1}', b"9" * 6000, b"[" * 100_000])
def test_one_that_can_not_be_read_is_as_none(content: bytes, tmp_path: Path) -> None:
    folder = recorded(tmp_path / "night")
    report = read(folder)
    (folder / digest.NAME).write_bytes(content)
    assert read(folder) == report


def test_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "night")
    target = tmp_path / "target"
    target.write_text("mine")
    (folder / digest.NAME).symlink_to(target)
    read(folder)
    assert target.read_text() == "mine"
    assert not (folder / digest.NAME).is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night", "target"]


def test_none_is_kept_of_a_run_that_goes_on_or_that_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recorded(tmp_path / "night")
    (folder / "summary.json").unlink()
    read(folder)
    monkeypatch.setattr(digest, "LEAST", 1 << 20)
    small = recorded(tmp_path / "small")
    read(small)
    digest.begin_digest(small)
    assert not (folder / digest.NAME).exists()
    assert not (small / digest.NAME).exists()
    assert digest._begun == []


def test_what_would_not_be_read_back_as_it_is_is_not_kept(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "night")
    (folder / "summary.json").write_text(json.dumps(summary(epochs=-1e38)))
    report = read(folder)
    assert not (folder / digest.NAME).exists()
    assert read(folder) == report


def test_it_is_made_beside_a_console_whose_run_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recorded(tmp_path / "night")
    file = folder / "logs" / "rank_0_metrics.jsonl"
    with file.open("ab") as appended:
        appended.truncate(9 << 20)  # one line without an end: nothing of it is read
    digest.begin_digest(folder)
    assert digest._begun.pop().wait(60) == 0
    assert again(folder, monkeypatch).steps == 11
