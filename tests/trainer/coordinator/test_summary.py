"""summary.json from the ledger: the figures that a user compares runs by."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.coordinator.regroup_log import RegroupLog
from motley.trainer.coordinator.summary import RunSummary

HOSTS = ("box1", "box1", "box2")


def spec() -> Spec:
    return Spec(
        run="night", host="box1", token="00" * 32, leader="box1", leader_address="127.0.0.1", port=29500,
        members=tuple(Member(member=i, host=h, local_rank=i % 2, device="cpu") for i, h in enumerate(HOSTS)),
        options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(),
        env={}, before_s=2.0, phases={"connect_s": 0.5},
    )  # fmt: skip


def report(steps: range, ms: float, batches: list[int], **more: Any) -> dict[str, Any]:
    rows = [[step, sum(batches), ms, 1.0 / step] for step in steps]
    return {"steps": rows, "batches": [batches] * len(rows), **more}


def test_throughput_is_the_median_of_the_last_half_and_hosts_add_up_to_it() -> None:
    ledger = RunSummary.of(spec(), received=100.0)
    ledger.take_report(report(range(1, 6), 500.0, [64, 64, 64]))
    ledger.take_report(report(range(6, 11), 100.0, [96, 64, 32], rebalances=1, epoch=2))
    ledger.take_report({"steps": [], "batches": [], "eval": {"accuracy": 0.9, "loss": 0.3}})
    table = ledger.summary("finished", {"box1": "finished", "box2": "finished"}, now=110.0)
    assert table["samples_per_s"] == pytest.approx(1920.0)
    assert [(h["name"], h["ranks"], h["share"], h["samples_per_s"]) for h in table["hosts"]] == [
        ("box1", 2, pytest.approx(160 / 192, abs=1e-4), pytest.approx(1600.0)),
        ("box2", 1, pytest.approx(32 / 192, abs=1e-4), pytest.approx(320.0)),
    ]
    assert (table["steps"], table["epochs"], table["samples"], table["rebalances"]) == (10, 2, 1920, 1)
    assert table["seconds"] == pytest.approx(12.0)
    assert table["final_loss"] == pytest.approx(0.1)
    assert table["eval"] == {"accuracy": 0.9, "loss": 0.3}
    assert table["phases"] == {"connect_s": 0.5}
    assert "cause" not in table


def test_what_is_counted_besides_samples_is_told_in_all_and_by_host() -> None:
    """Of steps that nobody could tell of it is not known: they do not count as none."""
    ledger = RunSummary.of(spec(), received=0.0)
    rows = {"unit": "tokens", "units": [[3000, 1000, 1000], [3200, 900, 900], None]}
    ledger.take_report(report(range(1, 4), 100.0, [64, 64, 64], **rows))
    ledger.take_report({"steps": [[4, 192, 100.0, None]], "batches": [[64, 64, 64]]})
    table = ledger.summary("finished", {}, now=1.0)
    assert "tokens_per_s" not in table  # of the last half of the steps nothing is known
    ledger.take_report(report(range(5, 9), 100.0, [64, 64, 64], unit="tokens", units=[[3000, 1000, 1000]] * 4))
    table = ledger.summary("finished", {}, now=1.0)
    assert table["tokens_per_s"] == pytest.approx(50_000.0)
    by_host = [host["tokens_per_s"] for host in table["hosts"]]
    assert by_host == [
        pytest.approx(24_100 / 30_000 * 50_000, abs=0.1),
        pytest.approx(5_900 / 30_000 * 50_000, abs=0.1),
    ]
    assert table["samples_per_s"] == pytest.approx(1920.0)


def test_steps_without_a_global_loss_keep_the_last_known_one() -> None:
    ledger = RunSummary.of(spec(), received=0.0)
    ledger.take_report(report(range(1, 3), 100.0, [64, 64, 64]))
    ledger.take_report({"steps": [[3, 192, 100.0, None]], "batches": [[64, 64, 64]]})
    table = ledger.summary("stopped", {}, now=1.0)
    assert (table["steps"], table["final_loss"]) == (3, pytest.approx(0.5))
    assert {host["state"] for host in table["hosts"]} == {"lost"}


def test_a_run_that_made_no_step_has_a_whole_summary_with_its_cause() -> None:
    ledger = RunSummary.of(spec(), received=0.0)
    ledger.cause = "gave up waiting for rank 2 on box2 (importing torch)"
    table = ledger.summary("failed", {"box1": "failed", "box2": "failed"}, now=1.0)
    assert (table["steps"], table["samples_per_s"], table["final_loss"], table["eval"]) == (0, 0.0, None, None)
    assert table["cause"].startswith("gave up")


GOOD = {"steps": [[1, 192, 100.0, 1.0]], "batches": [[64, 64, 64]], "epoch": 1, "before": 7}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"steps": [[1]], "batches": [[1]]},
        {**GOOD, "unit": "tokens", "units": [[1, 2, "many"]]},
        {**GOOD, "unit": 7, "units": [[1, 2, 3]]},
        {**GOOD, "unit": "tokens", "units": 5},
        {"steps": [["x", 1, 1, 1]], "batches": [[1]]},
        {**GOOD, "steps": [[1, 192, 100.0, 1.0], [2, 2**70, 1.0, 1.0]], "batches": [[64], [64]]},
        {**GOOD, "steps": [[1, 192, "fast", 1.0]]},
        {**GOOD, "steps": [[1, 192, math.nan, 1.0]]},
        {**GOOD, "steps": [[1, 192, 100.0, [1.0]]]},
        {**GOOD, "batches": [[10**400]]},
        {**GOOD, "batches": [["64"]]},
        {**GOOD, "epoch": math.inf},
        {**GOOD, "eval": [1]},
        {**GOOD, "eval": {"accuracy": "good"}},
        {**GOOD, "first_step_s": 10**400},
        {**GOOD, "began": [1]},
        {**GOOD, "began": ["x", 1]},
    ],
)
def test_of_a_malformed_report_nothing_is_kept(bad: dict[str, Any]) -> None:
    ledger = RunSummary.of(spec(), received=0.0)
    with pytest.raises((KeyError, TypeError, ValueError)):
        ledger.take_report(bad)
    assert ledger == RunSummary.of(spec(), received=0.0)


def test_a_run_that_diverged_has_no_final_loss() -> None:
    """JSON has no word for it."""
    ledger = RunSummary.of(spec(), received=0.0)
    ledger.take_report(report(range(1, 3), 100.0, [64, 64, 64], eval={"accuracy": 0.1, "loss": math.inf}))
    ledger.take_report({"steps": [[3, 192, 0.0, math.nan], [4, 192, 5e-324, 1e308]], "batches": [[64], [64]]})
    table = ledger.summary("finished", {}, now=1.0)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert (table["steps"], table["final_loss"], table["eval"]) == (4, None, {"accuracy": 0.1, "loss": None})


def test_a_ledger_that_begins_in_mid_run_counts_the_samples_before() -> None:
    ledger = RunSummary(run="night", before_s=0.0, received=0.0, member_hosts=("box1", "box2"))
    ledger.take_report({"steps": [[41, 256, 50.0, 0.7]], "batches": [[128, 128]], "before": 40 * 256})
    ledger.take_report({"steps": [[42, 256, 50.0, 0.7]], "batches": [[128, 128]], "before": 41 * 256})
    assert (ledger.steps, ledger.samples) == (42, 42 * 256)


def test_steps_that_nobody_could_tell_of_have_their_samples() -> None:
    """Rank 0's process hung, and the one that followed knows nothing of steps 3 and 4; step 6 it tells twice."""
    ledger = RunSummary.of(spec(), received=0.0)
    ledger.take_report(report(range(1, 3), 100.0, [64, 64, 64], before=0))
    ledger.take_report(report(range(5, 7), 100.0, [64, 64, 64], before=4 * 192))
    ledger.take_report(report(range(6, 9), 100.0, [64, 64, 64], before=5 * 192))
    ledger.take_report(report(range(7, 9), 100.0, [64, 64, 64]))
    table = ledger.summary("finished", {}, now=1.0)
    assert (table["steps"], table["samples"]) == (8, 8 * 192)


def test_a_run_that_goes_on_from_another_counts_its_own_samples_and_says_what_was_before() -> None:
    """Its seconds are its own: samples of the run before would make it look faster than it is."""
    resumed = replace(spec(), resume="/home/ada/.motley/runs/first/box1/checkpoints")
    ledger = RunSummary.of(resumed, received=0.0)
    before = {"before": 40 * 192, "began": [40, 40 * 192]}
    ledger.take_report(report(range(41, 51), 100.0, [64, 64, 64], **before))
    ledger.take_report({"steps": [], "batches": [], "epoch": 5})
    table = ledger.summary("finished", {}, now=1.0)
    assert (table["resumed_from"], table["steps_before"]) == ("first", 40)
    assert (table["steps"], table["samples"]) == (50, 10 * 192)
    assert table["samples_per_s"] == pytest.approx(1920.0)
    ours = RunSummary.of(spec(), received=0.0).summary("finished", {}, now=1.0)
    assert not {"resumed_from", "steps_before"} & set(ours)


def test_what_a_new_coordinator_took_over_is_told() -> None:
    regroups = RegroupLog({0: "box1", 1: "box2", 2: "box3"})
    regroups.taken_over((1, 2), "box2", 41)
    regroups.formed(4, (1, 2), 41)
    regroups.resumed(4, 3.25)
    assert regroups.told(4) == "box1 lost at step 41: went on after 3.2 s"
    same = RegroupLog({0: "box1", 1: "box2"})
    same.taken_over((0, 1), "box1", 7)
    same.formed(2, (0, 1), 7)
    same.resumed(2, 1.0)
    assert same.told(2) == "box1 got a new coordinator at step 7: went on after 1.0 s"
