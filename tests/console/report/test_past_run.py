"""An experiment folder that is read afterwards: whole, torn, of an older version, or somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motley.console.report.past_run import LONGEST, PastRun, flat, folder_of
from motley.console.report.step_lines import StepLine
from motley.remote.errors import UsageError
from motley.trainer.contract.wire import Event
from tests.console.report.experiments import event, step, summary, write


def test_records_come_in_order_of_time_over_all_files(tmp_path: Path) -> None:
    samples = [*step(1), *step(2)]
    past = PastRun.open(write(tmp_path / "night", [event("report", at=0.0), event("ended", at=9.0)], samples))
    found = list(past.records())
    assert [record.time for record in found] == sorted(record.time for record in found)
    assert [type(record) for record in found] == [Event, StepLine, StepLine, StepLine, StepLine, Event]
    assert past.problems == [
        "there is no summary.json: what the run came to is read from what its ranks told; "
        "`motley attach night` brings what its hosts still have"
    ]


def test_settings_are_those_that_the_run_had_and_no_hosts(tmp_path: Path) -> None:
    past = PastRun.open(write(tmp_path / "night", told=summary()))
    assert past.settings["run"]["epochs"] == 5  # by the command line
    assert flat(past.settings) == {"run.task": "mlp/digits", "run.global_batch": 64, "run.epochs": 5}
    assert "hush" not in str(past.settings)


def test_a_damaged_line_is_left_out_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "night", [event("report")], [*step(1), *step(2)], told=summary())
    path = folder / "logs/rank_0_metrics.jsonl"
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(first + b"\n\x00\xff{\n" + b"x" * (3 * LONGEST) + b"\n" + second[:30])
    past = PastRun.open(folder)
    found = [record for record in past.records() if isinstance(record, StepLine) and record.member == 0]
    assert [sample.step for sample in found] == [1]
    assert past.problems == [
        "2 lines of logs/rank_0_metrics.jsonl can't be read, and are left out",
        "logs/rank_0_metrics.jsonl ends within a line, which is left out",
    ]


def test_a_last_line_without_its_newline_is_left_out_though_it_is_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "night", [event("report")], [*step(1), *step(2)], told=summary())
    path = folder / "logs/rank_0_metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    past = PastRun.open(folder)
    assert [(line.member, line.step) for line in past.records() if isinstance(line, StepLine)] == [
        (0, 1),
        (1, 1),
        (1, 2),
    ]
    assert past.problems == ["logs/rank_0_metrics.jsonl ends within a line, which is left out"]


def test_what_leads_elsewhere_or_would_keep_its_reader_waiting_is_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "night", [event("report")], told=summary())
    (folder / "events.jsonl").unlink()
    os.mkfifo(folder / "events.jsonl")
    (tmp_path / "secret").write_text('{"state": "hush"}')
    (folder / "summary.json").unlink()
    (folder / "summary.json").symlink_to(tmp_path / "secret")
    past = PastRun.open(folder)
    assert list(past.records()) == []
    assert past.summary == {}


@pytest.mark.parametrize("text", ["[run", "run = 3\n# Changed on the command line:\n# --set run.epochs=5", "a.b = {"])
def test_a_cluster_toml_that_is_none_costs_the_settings_alone(tmp_path: Path, text: str) -> None:
    past = PastRun.open(write(tmp_path / "night", told=summary(), toml=text))
    assert past.settings.get("run", {}) in ({}, {"epochs": 5})
    assert past.summary["state"] == "finished"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"steps": NaN}', '{"steps": 1e999, "state": "\\u001b[2J"}']
)
def test_a_summary_that_is_none_is_left_out(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path / "night")
    (folder / "summary.json").write_text(text)
    past = PastRun.open(folder)
    assert past.summary.get("steps") is None
    assert "\x1b" not in str(past.summary)


def test_what_is_no_experiment_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    write(tmp_path / "experiments/night")
    with pytest.raises(UsageError, match=r"no such experiment; the newest there: night; name a run"):
        PastRun.open(tmp_path / "experiments/nigth")
    (tmp_path / "experiments/empty").mkdir()
    with pytest.raises(UsageError, match="is no experiment"):
        PastRun.open(tmp_path / "experiments/empty")


def test_a_run_goes_by_its_name_or_by_a_path(tmp_path: Path) -> None:
    assert folder_of("night", tmp_path / "cluster.toml") == tmp_path / "experiments/night"
    assert folder_of("./old/night", tmp_path / "cluster.toml") == Path("old/night")
    assert folder_of("..", tmp_path / "cluster.toml") == Path("..")
