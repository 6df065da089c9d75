"""What the store makes of a run's records: figures, the state of the run, and records that are odd."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import pytest

from motley.console.state.curve import Curve
from motley.console.state.event_log import LIMIT as LOG_LIMIT
from motley.console.state.snapshot import Snapshot
from motley.console.state.store import Store
from motley.remote.feed import CaughtUp, Ended, Link, LogLine, Progress
from tests.console import scripted
from tests.console.scripted import BATCH, START, event, layout, sample
from tests.support.counting import calls


def played(steps: int = scripted.STEPS) -> Store:
    store = Store()
    for _, record in [*scripted.startup("home-1"), *scripted.training(steps)]:
        store.apply(record, START)
    return store


def test_a_whole_run_goes_from_starting_to_running_to_ended() -> None:
    store = Store()
    assert store.snapshot().phase == "idle"
    phases = []
    for _, record in [*scripted.startup("home-1"), *scripted.training(30)]:
        store.apply(record, START)
        phases.append(store.snapshot().phase)
    store.apply(Ended(state="finished", summary=scripted.summary("home-1")), START + 9)
    phases.append(store.snapshot().phase)
    assert list(dict.fromkeys(phases)) == ["starting", "running", "ended"]
    assert store.snapshot().state == "finished"


def test_cluster_throughput_is_the_samples_of_a_step_over_its_slowest_rank() -> None:
    store = Store()
    store.apply(layout(), START)
    for member, step_ms in enumerate((100.0, 100.0, 128.0, 110.0)):
        store.apply(sample(1, member, step_ms=step_ms), START)
    shown = store.snapshot()
    assert shown.samples_per_s == pytest.approx(BATCH / 0.128)
    assert [step for step, _ in shown.throughput] == [1]


def test_loss_of_a_step_is_weighted_by_the_samples_of_each_rank() -> None:
    store = Store()
    store.apply(layout(), START)
    for member, (batch, loss) in enumerate(((128, 1.0), (64, 2.0), (64, 4.0), (0, None))):
        store.apply(sample(1, member, batch=batch, loss=loss), START)
    assert store.snapshot().loss == pytest.approx((128 * 1 + 64 * 2 + 64 * 4) / 256)


def test_a_step_is_counted_only_when_all_ranks_have_spoken() -> None:
    store = Store()
    store.apply(layout(), START)
    for member in range(3):
        store.apply(sample(1, member), START)
    assert store.snapshot().throughput == ()
    store.apply(sample(1, 3), START)
    assert len(store.snapshot().throughput) == 1


def test_a_host_whose_lines_do_not_come_does_not_stop_the_chart_nor_lower_it() -> None:
    store = Store()
    store.apply(layout(), START)
    for step in range(31, 400):
        for member in range(3):
            store.apply(sample(step, member, step_ms=100.0), START)
    points = store.snapshot().throughput
    assert len(points) > 50
    assert all(rate == pytest.approx(BATCH / 0.1) for _, rate in points)


def test_a_later_generation_that_repeats_steps_takes_their_place() -> None:
    store = Store()
    store.apply(layout(), START)
    for step in range(1, 21):
        for member in range(4):
            store.apply(sample(step, member), START)
    for member in range(4):
        store.apply(sample(11, member, generation=1), START)
    shown = store.snapshot()
    assert shown.step == 11
    assert [step for step, _ in shown.throughput] == list(range(1, 12))


def test_decisions_carry_names_and_the_realised_time_comes_later() -> None:
    first, second = played().snapshot().decisions
    assert first.names == scripted.HOSTS
    assert (first.before, first.after) == ((64, 64, 64, 64), (112, 64, 40, 40))
    assert second.step == 31
    assert second.realised_ms is not None


def test_ages_are_on_the_masters_clock() -> None:
    store = Store()
    store.apply(layout(), START)
    store.apply(sample(1, 1, time=START + 3600), START)
    store.apply(Link(host="laptop", up=True, text="connected", clock_offset_s=3599.0), START)
    assert store.snapshot().ranks[1].seen == START + 1


def test_waiting_ends_when_the_group_is_there() -> None:
    store = Store()
    store.apply(layout(), START)
    missing = [{"member": 1, "host": "laptop", "phase": "importing torch"}]
    store.apply(event("waiting", "waiting", missing=missing, waited_s=12.0), START)
    waiting = store.snapshot().waiting
    assert waiting is not None
    assert (waiting.missing, waiting.since) == ((("laptop", "importing torch"),), START - 12)
    store.apply(event("group", "4 ranks", members=[], shares=[]), START)
    assert store.snapshot().waiting is None


def test_a_failed_rank_is_a_problem_with_the_last_line_of_its_traceback() -> None:
    store = Store()
    store.apply(layout(), START)
    trace = 'Traceback (most recent call last):\n  File "loop.py", line 3\nValueError: no such layer'
    store.apply(event("rank_failed", "rank 2 ended", host="box1", level="error", member=2, traceback=trace), START)
    problem = store.snapshot().problems[0]
    assert (problem.host, problem.cause) == ("box1", "rank 2 failed: ValueError: no such layer")
    assert "motley logs home-1 --rank 2" in problem.remedy
    assert store.snapshot().ranks[2].phase == "failed"


def test_a_rank_that_was_killed_is_explained_by_the_exception_it_had_just_printed() -> None:
    store = Store()
    store.apply(layout(), START)
    trace = "Traceback (most recent call last):\n    raise x\ntorch.OutOfMemoryError: 2 GiB"
    store.apply(event("rank_failed", "", host="box1", level="error", member=2, code=-9, traceback=trace), START)
    problem = store.snapshot().problems[0]
    assert problem.cause == "rank 2 failed: ended by signal 9 (SIGKILL), after torch.OutOfMemoryError: 2 GiB"
    assert "hosts.box1.max_batch" in problem.remedy


ODD: list[dict[str, Any]] = [
    {"member": "x", "missing": 3, "members": [1], "step": None, "before": "no", "accuracy": "high"},
    {"members": 5, "missing": {"member": 1}, "restart": math.nan, "step": math.inf, "steps_total": -math.inf},
    {"member": 10**400, "members": [{"member": 10**400}, {"member": math.nan}], "steps_total": 10**400, "step": 1e308},
    {"before": [math.nan, 10**400, "x", 1], "after": [math.inf, None], "waited_s": 10**400, "generation": 1e999},
    {"member": math.nan, "phase": ["joining"], "members": [{"member": 1.5, "host": {"a": 1}, "device": []}]},
]


@pytest.mark.parametrize("odd", [{}, *ODD])
@pytest.mark.parametrize(
    "kind",
    [
        *("phase", "waiting", "group", "decision", "realised", "report", "evaluated", "rank_failed", "lost"),
        *("restarted", "gave_up", "advice"),
    ],
)
def test_events_with_missing_or_odd_data_are_taken_without_an_error(kind: str, odd: dict[str, Any]) -> None:
    store = played(12)
    store.apply(event(kind, "odd", **odd), START)
    assert isinstance(store.snapshot(), Snapshot)


def test_text_in_the_data_of_an_event_is_one_line() -> None:
    store = played(12)
    store.apply(
        event("decision", "new split", step=13, before=[1], after=[2], why="because\n12:00:00  box1  all is lost"),
        START,
    )
    store.apply(event("phase", "joining", host="laptop", member=1, phase="joining\nnow"), START)
    store.apply(event("group", "2 ranks", members=[{"member": 0, "host": "box\n1", "device": "cpu\n"}]), START)
    shown = store.snapshot()
    assert shown.decisions[-1].why == "because 12:00:00 box1 all is lost"
    assert shown.ranks[1].phase == "joining now"
    assert (shown.ranks[0].host, shown.ranks[0].device) == ("box 1", "cpu")


def test_a_step_without_a_time_makes_no_figure() -> None:
    """A chart of endless throughput could not be drawn."""
    store = played(12)
    for member in range(4):
        store.apply(sample(13, member, step_ms=5e-324), START)
    assert all(math.isfinite(rate) for _, rate in store.snapshot().throughput)
    assert all(math.isfinite(rate) for rank in store.snapshot().ranks for rate in rank.trend)


def test_hosts_that_did_not_answer_a_stop_are_named_with_what_to_do() -> None:
    store = played(2)
    store.apply(Ended(state="stopped", unanswered=("laptop",)), START)
    problem = store.snapshot().problems[-1]
    assert problem.host == "laptop"
    assert "motley stop home-1" in problem.remedy


def test_the_log_is_bounded_and_counts_all() -> None:
    store = Store()
    for n in range(LOG_LIMIT + 10):
        store.apply(LogLine(host="box1", member=2, text=str(n)), START)
    assert (len(store.log()), store.log()[-1].text) == (LOG_LIMIT, str(LOG_LIMIT + 9))
    assert store.snapshot().log_total == LOG_LIMIT + 10


def test_progress_that_repeats_itself_is_logged_once() -> None:
    store = Store()
    for fraction in (0.1, 0.5, 0.9):
        store.apply(Progress(host="box1", stage="push", text="41 files", fraction=fraction), START)
    store.apply(Progress(host="box1", stage="push", text="41 files", done=True), START)
    assert [entry.text for entry in store.log()] == ["push: 41 files"]


def test_a_failed_stop_leaves_the_run_running() -> None:
    store = played(3)
    store.stopping()
    store.unstopped([], START)
    assert store.snapshot().phase == "running"


def test_the_start_of_a_run_that_was_found_is_its_first_event() -> None:
    store = Store()
    store.begin(START + 500)
    store.apply(layout(attached=True), START + 500)
    store.apply(event("started", "1 rank started", time=START + 20), START + 501)
    assert store.snapshot().started == START + 20


def test_nothing_of_what_was_before_is_shown_as_if_it_were_now_while_it_is_read() -> None:
    store = Store()
    store.apply(dataclasses.replace(layout(attached=True), behind=True), START + 500)
    for step in range(1, 21):
        for member in range(4):
            store.apply(sample(step, member), START + 500)
    shown = store.snapshot()
    assert (shown.behind, shown.phase, shown.step, shown.loss, shown.samples_per_s) == (True, "starting", 0, None, None)
    assert (shown.throughput, shown.losses, shown.started) == ((), (), None)
    assert all(rank.samples_per_s is None for rank in shown.ranks)
    store.apply(event("report", "digits", time=START, steps_total=605, steps_per_epoch=20), START + 500)
    store.apply(event("evaluated", "epoch 1: accuracy 91.20%", time=START + 9, accuracy=0.912), START + 500)
    store.apply(CaughtUp(over=False), START + 500)
    shown = store.snapshot()
    assert (shown.behind, shown.phase, shown.step, shown.epochs) == (False, "running", 20, 31)
    assert (shown.accuracy, shown.best_accuracy) == (0.912, 0.912)
    assert shown.losses


def test_a_record_costs_no_more_after_twelve_thousand_others() -> None:
    store = Store()
    store.apply(layout(), START)

    def steps(first: int) -> None:
        for step in range(first, first + 1000):
            for member in range(4):
                store.apply(sample(step, member), START)

    early, *_, late = (calls(functools.partial(steps, first)) for first in (1, 1001, 2001, 3001))
    assert late < 1.1 * early


def test_a_curve_keeps_its_means_while_it_halves_its_points() -> None:
    curve = Curve(limit=8)
    for step in range(1, 101):
        curve.add(step, total=float(step), weight=1.0)
    points = curve.points()
    assert len(points) <= 8
    assert points[0][0] < points[-1][0]
    assert points[-1][1] == pytest.approx(points[-1][0], rel=0.01)


def test_a_host_that_could_not_be_reached_is_no_failure_any_more_once_it_is_heard() -> None:
    store = Store()
    store.apply(layout(), START)
    store.apply(Progress(host="box2", stage="connect", text="no answer", done=True, failed=True), START)
    store.apply(Link(host="box2", up=False, text="no answer"), START)
    assert [host.failed for host in store.snapshot().hosts if host.name == "box2"] == [True]
    store.apply(Link(host="box2", up=True, text="connected"), START)
    assert [host.failed for host in store.snapshot().hosts if host.name == "box2"] == [False]
    store.apply(Progress(host="box2", stage="start", text="its ranks did not start", failed=True), START)
    store.apply(Link(host="box2", up=True, text="connected"), START)
    assert [host.failed for host in store.snapshot().hosts if host.name == "box2"] == [True]
