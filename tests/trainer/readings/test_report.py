"""`motley.report`: what is said is what is read, and a training is never broken by saying it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import motley
from motley.trainer.readings.report import BYTES, Reporter, path_of, read_report
from motley.trainer.readings.said import Said
from motley.trainer.readings.script_reader import ScriptReader


class Scalar:
    """As a tensor or a number of numpy: it can be made a float, and an index."""

    def __float__(self) -> float:
        return 2.5

    def __index__(self) -> int:
        return 7


def reporter(folder: Path) -> Reporter:
    return Reporter({"MOTLEY_DIR": str(folder), "MOTLEY_MEMBER": "3"})


def said(one: Reporter, step: Any, **given: Any) -> None:
    one.say(**{"step": step, "loss": None, "steps": None, "epoch": None, **given})


def test_the_newest_report_is_read_and_what_it_leaves_out_stays(tmp_path: Path) -> None:
    assert read_report(tmp_path, 3) is None
    one = reporter(tmp_path)
    said(one, 7, loss=Scalar(), steps=100, epoch=0.5)
    assert read_report(tmp_path, 3) == Said(step=7, total=100, epoch=0.5, loss=2.5)
    said(one, Scalar(), epoch=1)
    said(one, 8)
    assert read_report(tmp_path, 3) == Said(step=8, total=100, epoch=1.0, loss=2.5)
    assert read_report(tmp_path, 4) is None
    assert os.path.getsize(path_of(tmp_path, 3)) == BYTES


def test_a_loss_that_is_none_is_a_doubt(tmp_path: Path) -> None:
    one = reporter(tmp_path)
    said(one, 1, loss=float("nan"))
    assert read_report(tmp_path, 3) == Said(step=1, doubt="the loss is nan")
    said(one, 2, loss=1e300)
    found = read_report(tmp_path, 3)
    assert found is not None
    assert (found.loss, found.doubt) == (None, "the loss is 1e+300")


@pytest.mark.parametrize(("given", "problem"), [({"step": 1.5}, "step is 1.5"), ({"step": True}, "step is True")])
def test_a_step_that_is_none_is_an_error(tmp_path: Path, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=rf"motley.report: {problem}, which is no whole number"):
        said(reporter(tmp_path), **given)
    with pytest.raises(TypeError, match="loss is 'low', which is no number"):
        said(reporter(tmp_path), 1, loss="low")
    assert list(tmp_path.iterdir()) == []


def test_under_plain_python_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOTLEY_DIR", raising=False)
    motley.report(step=1, loss=2.0)
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_written_is_told_once_and_breaks_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = reporter(tmp_path / "not there")
    said(one, 1)
    said(one, 2)
    assert capsys.readouterr().err.count("motley.report: not written: ") == 1


TABLES = st.fixed_dictionaries(
    {"step": st.integers() | st.floats()},
    optional={"steps": st.integers(), "loss": st.floats(), "epoch": st.floats() | st.text(max_size=5)},
)


@given(st.binary(max_size=300) | (TABLES | st.lists(st.integers(), max_size=3)).map(lambda it: json.dumps(it).encode()))
def test_a_report_that_is_none_is_not_believed(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(path_of(folder, 0)).write_bytes(content)
        found = read_report(folder, 0)
    if found is not None:
        assert isinstance(found.step, int)
        assert found.step >= 0
        assert found.total is None or found.total >= found.step
        assert found.loss is None or abs(found.loss) < 1e39


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"step": 1}')
    os.symlink(tmp_path / "elsewhere", path_of(tmp_path, 3))
    assert read_report(tmp_path, 3) is None
    said(reporter(tmp_path), 5)
    assert (tmp_path / "elsewhere").read_text() == '{"step": 1}'


def test_once_a_script_reports_nothing_else_of_it_counts() -> None:
    reader = ScriptReader()
    reader.feed(b"step 90: loss 9.0\n", now=1.0)
    assert reader.take(now=1.0) is not None
    reader = ScriptReader()
    reader.hear_report(Said(step=10, total=50, loss=2.0), now=2.0)
    reader.feed(b"step 90: loss 9.0\n 40%|####    | 20/50 [00:01<00:02, 5.0it/s]\r", now=3.0)
    reader.feed_lines(b'{"step": 91, "loss": 9.0}\n', now=3.0)
    reader.hear_report(Said(step=12, total=50, loss=2.0), now=3.0)
    figures = reader.take(now=9.0)
    assert figures is not None
    assert (figures.step, figures.total, figures.loss, figures.steps_per_s) == (12, 50, 2.0, 2.0)
