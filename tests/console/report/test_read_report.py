"""A run's folder becomes a report: each figure by the formula that its docstring says."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from motley.console.report import read_report
from motley.console.report.read_report import read, seconds_at
from motley.console.report.tables import evaluations_table, facts
from motley.trainer.contract.wire import Event, Reading, Sample, Usage, encode
from tests.console.report.experiments import BEGAN, event, group, step, summary, write


def trained(folder: Path, **told: object) -> Path:
    """Ten steps on two hosts: five of 100 ms with equal shares, then five of 80 ms; evaluated, one checkpoint."""
    first = event("report", "mlp/digits: 640 samples", 1.0, step=0, steps_total=10, steps_per_epoch=10, shares=[32, 32])
    events = [
        event("started", at=0.0),
        group(at=0.9),
        first,
        event("decision", "moved", 1.5, step=6, before=[32, 32], after=[40, 24], predicted_ms=82.0, current_ms=101.0),
        event("realised", "", 1.8, step=6, before_ms=100.0, predicted_ms=82.0, realised_ms=80.0),
        event(
            "evaluated", "", 2.0, step=10, epoch=1, accuracy=0.9, loss=0.3, figures={"perplexity": 1.35}, seconds=0.5
        ),
        event("checkpoint", "", 2.1, step=10, path="checkpoints/final.pt", seconds=0.25),
        event("ended", "", 2.2, state="finished", left=0),
        event("ended", "", 2.2, "laptop", state="finished", left=0),
    ]
    lines: list[Sample] = []
    for number in range(1, 11):
        ms = 100.0 if number < 6 else 80.0
        at = 1.0 + (number * 0.1 if number < 6 else 0.5 + (number - 5) * 0.08)
        lines += step(number, (32, 32) if number < 6 else (40, 24), ms=ms, at=at, gain=1.25, saved_s=0.125)
    return write(folder, events, lines, told=summary(**told))


def test_what_a_run_came_to(tmp_path: Path) -> None:
    report = read(trained(tmp_path / "night"))
    assert (report.run, report.state, report.going_on, report.task) == ("night", "finished", False, "mlp/digits")
    assert (report.steps, report.steps_total, report.samples, report.global_batch) == (10, 10, 640, 64)
    assert report.samples_per_s == pytest.approx(64 / 0.080)
    assert report.step_ms == 80.0
    assert report.final_loss == 0.5
    assert report.settings["run.epochs"] == 5
    assert report.throughput[0][1] == pytest.approx(640.0)
    assert report.losses[0] == (1.0, 1.0)
    assert [(curve.host, curve.points[0][1], curve.points[-1][1]) for curve in report.shares] == [
        ("desktop", 0.5, 0.625),
        ("laptop", 0.5, 0.375),
    ]
    assert [(one.step, one.epoch, one.accuracy, one.follows) for one in report.evaluations] == [
        (10, 1.0, 0.9, (("perplexity", 1.35),))
    ]
    assert report.notes == ()


def test_an_evaluation_before_the_first_step_is_told_beside_the_last_and_its_time_counts_once(tmp_path: Path) -> None:
    folder = trained(tmp_path / "night")
    before = read(folder).goodput
    assert before.before_s is not None
    assert before.rest_s is not None
    data: dict[str, Any] = {"step": 0, "epoch": 0, "loss": 1.2, "figures": {"perplexity": 3.32}, "seconds": 0.04}
    with (folder / "events.jsonl").open("ab") as file:
        file.write(encode(event("evaluated", "", 0.95, **data)))
    report = read(folder)
    told = dict(facts(report))
    assert told["held out"] == "accuracy 90.0 %, loss 0.300, perplexity 1.35 after epoch 1"
    assert told["before training"] == "loss 1.200, perplexity 3.32"
    assert [row[0] for row in evaluations_table(report).rows] == ["before", "1"]
    goodput = report.goodput
    assert goodput.evaluations_s == pytest.approx(before.evaluations_s + 0.04)
    assert goodput.before_s == pytest.approx(before.before_s - 0.04)
    assert goodput.rest_s == pytest.approx(before.rest_s)


def test_a_decision_has_what_was_predicted_and_what_came(tmp_path: Path) -> None:
    decision = read(trained(tmp_path / "night")).decisions[0]
    assert (decision.names, decision.after) == (("desktop", "laptop"), (40, 24))
    assert (decision.predicted_ms, decision.realised_ms) == (82.0, 80.0)


def test_the_table_by_host_is_of_the_last_half(tmp_path: Path) -> None:
    desktop, laptop = read(trained(tmp_path / "night")).hosts
    assert (desktop.name, desktop.share, laptop.share) == ("desktop", 0.625, 0.375)
    assert desktop.samples_per_s == pytest.approx(40 / 0.080)
    assert (desktop.compute_ms, desktop.wait, desktop.mem_mib, desktop.steps) == (40.0, 0.25, 100.0, 10)
    assert (desktop.devices, desktop.state) == (("cpu",), "finished")


def test_goodput_is_the_time_of_kept_steps_by_all_the_time(tmp_path: Path) -> None:
    figures = read(trained(tmp_path / "night")).goodput
    assert figures.kept_s == pytest.approx(0.9)
    assert figures.all_s == 4.0
    assert figures.part == pytest.approx(0.9 / 4)
    assert (figures.evaluations_s, figures.checkpoints_s, figures.again_s) == (0.5, 0.25, 0.0)
    assert figures.before_s == pytest.approx(1.0 + 1.8)  # 1.8 s of the summary's time lie before the first record
    spent = (figures.kept_s or 0) + 0.75 + (figures.before_s or 0)
    assert figures.rest_s == pytest.approx(max(0.0, 4.0 - spent))


def test_what_balancing_saved_is_told_by_the_fits_and_as_measured(tmp_path: Path) -> None:
    figures = read(trained(tmp_path / "night")).balancing
    assert (figures.gain, figures.saved_s) == (1.25, 0.125)
    assert (figures.equal_ms, figures.later_ms) == (100.0, 80.0)
    assert figures.measured_gain == 1.25


def test_of_static_shares_it_says_why_nothing_is_known(tmp_path: Path) -> None:
    toml = '[run]\ntask = "mlp/digits"\n[balance]\npolicy = "static"\n'
    report = read(write(tmp_path / "night", [group()], [*step(1), *step(2)], told=summary(), toml=toml))
    assert report.balancing.gain is None
    assert "with static shares" in report.balancing.how


def test_steps_that_were_made_again_are_no_goodput(tmp_path: Path) -> None:
    lines = [*step(1), *step(2), *step(3), *step(3, (64,), generation=1, members=(0,), at=5.0)]
    regroups = [{"cause": "lost", "host": "laptop", "step_before": 3, "step_after": 2, "pause_s": 1.5}]
    events = [group(), event("lost", "laptop is lost", 1.5, level="warning", member=1), group(1, (0,), at=3.0)]
    report = read(write(tmp_path / "night", events, lines, told=summary(regroups=regroups)))
    assert report.goodput.kept_s == pytest.approx(0.3)
    assert report.goodput.again_s == pytest.approx(0.1)
    assert report.goodput.again_steps == 1
    assert report.goodput.pauses_s == 1.5
    assert [(one.host, one.cause, one.pause_s) for one in report.regroups] == [("laptop", "lost", 1.5)]
    assert [(one.text, one.level) for one in report.happened] == [("laptop is lost", "warning")]


def test_a_run_without_a_summary_is_told_of_by_what_its_ranks_said(tmp_path: Path) -> None:
    report = read(write(tmp_path / "night", [group(at=0.0)], [*step(1), *step(2)]))
    assert (report.state, report.going_on, report.steps) == ("", True, 2)
    assert report.seconds == pytest.approx(1.2)
    assert any("there is no summary.json" in note for note in report.notes)
    assert any("nothing here says that the run has ended" in note for note in report.notes)


def test_a_run_that_failed_says_why_without_a_summary_too(tmp_path: Path) -> None:
    failed = event("rank_failed", "rank 0 failed", 2.0, member=0, code=1, traceback="ValueError: no such thing")
    ended = [event("ended", "", 3.0, host, state="failed") for host in ("desktop", "laptop")]
    report = read(write(tmp_path / "night", [group(), failed, *ended], step(1)))
    assert report.state == "failed"
    assert "ValueError: no such thing" in report.cause


def test_a_language_model_is_told_of_in_its_units(tmp_path: Path) -> None:
    lines = [sample for number in range(1, 5) for sample in step(number, unit="tokens", units=1000)]
    report = read(write(tmp_path / "night", [group()], lines, told=summary()))
    assert (report.unit, report.counted) == ("tokens", "tokens")
    assert report.rate == pytest.approx(2000 / 0.1)
    assert report.hosts[0].units_per_s == pytest.approx(1000 / 0.1)


def test_a_script_is_told_of_by_what_it_printed(tmp_path: Path) -> None:
    lines: list[Reading | Usage] = [
        Reading(time=BEGAN + n, host="desktop", member=0, step=n, steps_total=9, loss=1 / n, steps_per_s=1.0)
        for n in range(1, 10)
    ]
    lines.append(Usage(time=BEGAN + 3, host="desktop", member=0, cpu=50.0, mem_mib=10.0))
    report = read(write(tmp_path / "night", [group()], lines, told=summary(), toml='[run]\nscript = "train.py"\n'))
    assert (report.script, report.task, report.counted, report.rate) == (True, "train.py", "steps", 1.0)
    assert (report.steps, len(report.losses), report.samples_per_s) == (9, 9, None)
    assert report.hosts[0].cpu == 50.0
    assert report.goodput.part is None
    assert any("a script's own output" in note for note in report.notes)


def test_lines_of_an_older_version_do(tmp_path: Path) -> None:
    folder = write(tmp_path / "night", [group()], step(1), told={"state": "finished"})
    path = folder / "logs/rank_0_metrics.jsonl"
    for key in ("mem_mib", "gpu_util", "step_batch", "gain", "saved_s", "share", "unit", "units"):
        path.write_bytes(path.read_bytes().replace(f'"{key}":'.encode(), b'"was_unknown":'))
    report = read(folder)
    assert (report.steps, report.samples) == (1, 64)


def test_data_of_hosts_may_be_anything(tmp_path: Path) -> None:
    odd: list[Any] = [None, True, [], {}, "x", -1, 1e300, [[]], {"member": {}}]
    kinds = ("group", "report", "decision", "realised", "evaluated", "checkpoint", "regrouped", "ended", "rank_failed")
    keys = ("step", "members", "shares", "before", "after", "predicted_ms", "figures", "seconds", "pause_s", "member")
    events: list[Event] = [event(kind, "x", **dict.fromkeys(keys, value)) for kind in kinds for value in odd]
    told = summary(hosts=odd, regroups=[*odd, {"pause_s": "x"}], seconds=[], gain="x", state=[], cause={})
    report = read(write(tmp_path / "night", events, step(1), told=told))
    assert report.steps == 1


def test_when_a_step_ended_lies_between_those_that_are_known() -> None:
    assert seconds_at(((10.0, 1.0), (20.0, 3.0)), 15) == 2.0
    assert seconds_at(((10.0, 1.0), (20.0, 3.0)), 99) == 3.0
    assert seconds_at((), 1) is None


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_of_cycles_is_afterwards_as_it_was(
    on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    was, folder = gc.isenabled(), write(tmp_path / "night", [group()], step(1), told=summary())
    try:
        (gc.enable if on else gc.disable)()
        assert read(folder).steps == 1
        assert gc.isenabled() == on
        monkeypatch.setattr(read_report, "report_of", fails)
        with pytest.raises(KeyboardInterrupt):
            read(folder)
        assert gc.isenabled() == on
    finally:
        (gc.enable if was else gc.disable)()
