"""Balancing where samples differ in what they cost: shares of work, fitted by work."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from motley.profiles.cost import CostModel
from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep, StepWork
from motley.trainer.balance.thread_trial import ThreadTrial
from motley.trainer.contract.spec import BalanceOptions, Member
from motley.trainer.host.journal import Journal
from tests.trainer.balance.rows_simulated import rows_of_run

SETTLED = 60  # steps


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ranks_of_1_to_a_quarter_keep_093_of_their_speed_on_rows_of_32_to_2048_tokens(
    tmp_path: Path, seed: int
) -> None:
    for name in ("work", "rows"):
        (tmp_path / name).mkdir()
    by_work = rows_of_run(tmp_path / "work", seed=seed, by_work=True, steps=300)
    by_rows = rows_of_run(tmp_path / "rows", seed=seed, by_work=False, steps=300)
    print(f"seed {seed}: by work {by_work.busy(SETTLED):.3f}, by rows {by_rows.busy(SETTLED):.3f}", by_work.shares[-1])
    assert by_work.busy(SETTLED) >= 0.93
    assert by_rows.busy(SETTLED) < by_work.busy(SETTLED) - 0.04
    assert max(by_work.shares[-1]) / 64 == pytest.approx(4 / 7, abs=0.04)


def test_the_same_run_is_the_same_and_its_gain_is_about_what_equal_rows_would_take(tmp_path: Path) -> None:
    runs = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        runs.append(rows_of_run(tmp_path / name, seed=5, by_work=True, steps=200))
    assert runs[0].took_ms == runs[1].took_ms
    assert runs[0].shares == runs[1].shares
    true = sum(runs[0].equal_ms[SETTLED:]) / sum(runs[0].took_ms[SETTLED:])
    assert runs[0].gain is not None
    print(f"gain {runs[0].gain:.3f}, against equal rows {true:.3f}")
    assert runs[0].gain == pytest.approx(true, rel=0.05)


def test_few_rows_a_step_are_shared_out_without_a_wrong_fit(tmp_path: Path) -> None:
    """Eight rows for three ranks: work is far from the shares in every step, and the fits are right all the same."""
    run = rows_of_run(tmp_path, seed=7, by_work=True, steps=300, batch=8)
    print("batch 8:", run.busy(SETTLED), run.shares[-1], run.gain)
    assert run.shares[-1][0] > run.shares[-1][1] > run.shares[-1][2]
    assert run.busy(SETTLED) > 0.7


def test_a_rank_that_becomes_slower_is_followed(tmp_path: Path) -> None:
    run = rows_of_run(tmp_path, seed=3, by_work=True, steps=200, slower=(100, 0, 3.0))
    assert run.shares[99][0] > run.shares[99][1]
    assert run.shares[-1][0] < run.shares[-1][1]
    assert run.shares[130][0] < 30


def test_steps_of_other_work_are_one_point_of_the_line_and_lie_on_it() -> None:
    model = CostModel()
    for window in range(40):
        works = [10 * (1 + 0.04 * math.sin(window * 5 + step)) for step in range(5)]
        model.observe_varied([(w, 3.0 + 2.0 * w) for w in works])
    assert model.predict(10).ms == pytest.approx(23.0, rel=0.002)
    assert len(model.as_dict()["points"]) <= 2
    model.observe_varied([(w, 3.0 + 2.0 * w) for w in (2.0, 40.0, 2.1, 41.0, math.pi)])
    assert model.predict(40).ms == pytest.approx(83.0, rel=0.03)
    again = CostModel.from_dict(model.as_dict())
    assert again.predict(5.5) == model.predict(5.5)


def test_the_number_of_threads_is_tried_with_steps_of_other_work() -> None:
    """Two threads are twice as fast; each step has other rows, and the trial ends as soon as with like ones."""
    found = []
    for works in ([16.0] * 40, [16.0 + 6 * math.sin(3 * n) for n in range(40)]):
        trial, steps = ThreadTrial((1, 2)), 0
        for work in works:
            if trial.over:
                break
            said = trial.measured(16, 10.0 * work / trial.count, work)
            assert math.isnan(said)
            steps += 1
        assert (trial.count, trial.over) == (2, True)
        assert trial.measured(16, 7.0, 15.0) == 7.0  # as it was measured
        found.append(steps)
    assert found[0] == found[1] < 20


def test_a_decision_is_judged_by_steps_as_if_they_had_the_mean_work(tmp_path: Path) -> None:
    members = [Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(2)]
    balancer = Balancer(BalanceOptions(), members, (8, 8), Journal(tmp_path, host="box0", source="rank 0"))
    shares: tuple[int, ...] = (8, 8)
    for number in range(1, 13):
        rows: list[list[MeasuredStep]] = [[], []]
        for step in range(5):
            times = 1 + 0.3 * math.sin(5 * number + step)  # of the mean work
            works = [share * times for share in shares]
            busy = [works[0] * 10, works[1] * 30]
            for rank in (0, 1):
                part = StepWork(shares[rank], works[rank])
                rows[rank].append(MeasuredStep(shares[rank], 1.0, busy[rank], max(busy) + 5, part=part))
        shares = balancer.decide(5 * number, rows, shares)
    assert shares == (12, 4)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    after = next(event["data"]["after"] for event in events if event["kind"] == "decision")
    realised = next(event["data"] for event in events if event["kind"] == "realised")
    assert realised["before_ms"] == pytest.approx(8 * 30 + 5)
    assert realised["realised_ms"] == pytest.approx(max(after[0] * 10, after[1] * 30) + 5)
