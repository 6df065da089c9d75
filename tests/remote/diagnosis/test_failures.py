"""Of several ranks that failed, which one is told of first: by corrected clocks, and by what each of them said."""

from __future__ import annotations

from typing import Any

import pytest

from motley.remote.diagnosis.failures import UNSURE_S, WINDOW_S, Failures, Report, later
from motley.remote.feed import Link
from motley.trainer.contract.wire import Event

START = 1_700_000_000.0
CLOCKS = {"box0": 0.0, "box1": 312.0, "box2": -95.5}  # ahead of the master's, in seconds
PEER = "RuntimeError: [pair.cc:598] Connection closed by peer [10.0.0.2]:28048"


def failed(member: int, after_s: float, error: str = "", *, code: int = 1, **data: Any) -> Event:
    """The end of the rank on `box<member>`, so long after START, as that host's clock has it."""
    host = f"box{member}"
    trace = (
        f'Traceback (most recent call last):\n  File "train.py", line {member}, in f\n    g()\n{error}' if error else ""
    )
    data = {"traceback": trace, "root_cause": code not in (205, 206), **data}
    time = START + after_s + CLOCKS[host]
    text = f"rank {member}: exit code {code}"
    return Event(
        time=time, host=host, source="supervisor", kind="rank_failed", text=text, level="error",
        data={"member": member, "code": code, **data},
    )  # fmt: skip


def own_word(member: int, after_s: float, **data: Any) -> Event:
    """What the rank said of itself when it failed."""
    host = f"box{member}"
    time = START + after_s + CLOCKS[host]
    return Event(time=time, host=host, source="rank", kind="fault", text="", data={"member": member, **data})


def report_of(*events: Event, late_s: float = 0.0) -> Report:
    """Clocks are measured after the events were heard, as when a run is found that failed before."""
    failures = Failures()
    for event in events:
        failures.hear(event)
    for host, ahead_s in CLOCKS.items():
        for jitter_s in (0.4, 0.003, 0.02):
            failures.hear(Link(host=host, up=True, text="connected", clock_offset_s=ahead_s - jitter_s - late_s))
        failures.hear(Link(host=host, up=False, text="gone"))
    report = failures.report()
    assert report is not None
    return report


def test_the_earliest_by_corrected_clocks_is_the_root_and_the_others_follow() -> None:
    report = report_of(
        failed(0, 2.4, "ValueError: as a consequence"),
        failed(2, 5.2, code=205),
        failed(1, 2.0, "KeyError: 'lr'"),
    )
    assert (report.root.host, report.headline, report.told) == ("box1", "rank 1 failed: KeyError: 'lr'", "")
    assert report.others == (
        "0.4 s later: rank 0 on box0: ValueError: as a consequence",
        "3.2 s later: rank 2 on box2 ended after it",
    )


def test_several_within_milliseconds_are_told_as_such_and_a_known_cause_goes_first() -> None:
    report = report_of(
        failed(0, 1.000, "RuntimeError: out of luck"),
        failed(1, 1.004, "ModuleNotFoundError: No module named 'einops'", python="/venv/bin/python"),
    )
    assert report.headline == "rank 1 failed: ModuleNotFoundError: No module named 'einops'"
    assert "On box1: /venv/bin/python -m pip install einops" in report.told
    assert report.others == ("at the same time: rank 0 on box0: RuntimeError: out of luck",)


def test_beyond_what_clocks_can_tell_a_known_cause_does_not_go_first() -> None:
    report = report_of(
        failed(0, 1.0, "RuntimeError: out of luck"),
        failed(1, 1.0 + 3 * UNSURE_S, "ModuleNotFoundError: No module named 'einops'"),
    )
    assert report.root.host == "box0"


def test_who_only_lost_another_rank_is_not_the_root_however_early() -> None:
    report = report_of(
        failed(0, 1.0, PEER),
        failed(2, 0.5, code=205),
        failed(1, 3.0, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    )
    assert report.root.host == "box1"
    assert "hosts.box1.max_batch" in report.told
    assert report.others == (
        f"2.0 s before: rank 0 on box0: {PEER}",
        "2.5 s before: rank 2 on box2 ended after it",
    )


def test_when_all_only_lost_each_other_the_first_to_say_so_is_told_with_where_to_look() -> None:
    theirs = PEER.replace("[pair", "[/pytorch/third_party/gloo/gloo/transport/tcp/pair").replace("28048", "31000")
    report = report_of(failed(0, 1.0, PEER), failed(1, 1.4, theirs), failed(2, 6.0, code=205))
    assert report.hosts == ("box0", "box1")
    assert "motley check" in report.told
    assert report.others == ("0.4 s later: so did rank 1 on box1", "5.0 s later: rank 2 on box2 ended after it")


def test_ranks_that_were_told_to_end_have_no_root() -> None:
    failures = Failures()
    failures.hear(failed(0, 1.0, code=205))
    failures.hear(failed(1, 1.0, code=206))
    assert failures.report() is None


@pytest.mark.parametrize(
    ("code", "oom_kills", "means"),
    [(-9, 1, "The memory of box1 is full"), (-9, 0, "Something on box1 killed"), (137, 0, "Something on box1 killed")],
)
def test_a_killed_rank_comes_before_those_that_lost_it(code: int, oom_kills: int, means: str) -> None:
    report = report_of(
        failed(1, 1.0, code=code, oom_kills=oom_kills, traceback="step 811\nstep 812"),
        failed(0, 0.9, PEER),
    )
    assert report.headline == "rank 1 failed: ended by signal 9 (SIGKILL)"
    assert report.told.startswith(means)


def test_a_killed_rank_comes_after_an_error_that_another_one_raised() -> None:
    report = report_of(failed(1, 1.0, code=-9), failed(0, 1.2, "ValueError: no such layer"))
    assert report.root.host == "box0"
    assert report.others == ("0.2 s before: rank 1 on box1: ended by signal 9 (SIGKILL)",)


def test_a_crash_is_a_cause_of_its_own() -> None:
    report = report_of(failed(1, 1.0, code=-11), failed(0, 1.2, "ValueError: no such layer"))
    assert report.headline == "rank 1 failed: ended by signal 11 (SIGSEGV)"
    assert "PYTHONFAULTHANDLER" in report.told


def test_a_rank_s_own_word_tells_when_it_failed_and_why() -> None:
    """Its process may take seconds to end, and a script's minder waits until it is known whose fault it was."""
    report = report_of(
        own_word(1, 1.0, error="ValueError: first", remedy=""),
        failed(0, 1.5, "KeyError: 'second'"),
        failed(1, 4.0, "ValueError: first"),
    )
    assert report.headline == "rank 1 failed: ValueError: first"
    assert report.others == ("0.5 s later: rank 0 on box0: KeyError: 'second'",)


def test_a_script_that_failed_by_itself_is_the_root_though_its_minder_was_told_to_end() -> None:
    report = report_of(
        own_word(0, 1.0, code=1),
        own_word(1, 1.3, code=3),
        failed(0, 3.8, PEER),
        failed(1, 3.9, "ValueError: no such layer", code=206),
    )
    assert report.headline == "rank 1 failed: ValueError: no such layer"
    assert report.others == (f"0.3 s before: rank 0 on box0: {PEER}",)


def test_what_an_earlier_attempt_failed_of_is_forgotten() -> None:
    phase = Event(
        time=START, host="box1", source="rank 1", kind="phase", text="", data={"member": 1, "phase": "joining"}
    )
    failures = Failures()
    for event in (own_word(1, 1.0, code=1), phase, failed(1, 9.0, code=206), failed(0, 8.0, "KeyError: 'lr'")):
        failures.hear(event)
    report = failures.report()
    assert report is not None
    assert report.root.host == "box0"


def test_what_was_survived_long_before_is_not_the_root() -> None:
    report = report_of(failed(1, 0.0, "ValueError: a newcomer"), failed(0, WINDOW_S + 1, "KeyError: 'lr'"))
    assert (report.root.host, report.others) == ("box0", ())


def test_the_remedy_of_the_trainer_s_own_error_goes_before_the_table() -> None:
    cause = "cuda:0: one sample does not fit into its memory (CUDA out of memory)"
    report = report_of(own_word(1, 1.0, error=cause, remedy="Take a smaller model"), failed(1, 1.1, ""))
    assert (report.headline, report.told) == (f"rank 1 failed: {cause}", "Take a smaller model")


def test_the_cause_of_the_summary_keeps_the_step_that_the_leader_knows() -> None:
    report = report_of(failed(1, 1.0, "KeyError: 'lr'"))
    assert report.cause("rank 1 on box1 failed at step 812") == "rank 1 on box1 failed at step 812: KeyError: 'lr'"
    assert report.cause("rank 0 on box0 failed: exit code 1") == "rank 1 on box1 failed: KeyError: 'lr'"
    assert report.cause() == "rank 1 on box1 failed: KeyError: 'lr'"
    killed = report_of(failed(1, 1.0, code=-9))
    assert killed.cause("rank 1 on box1 was lost; it was started anew 3 times").startswith(
        "rank 1 on box1 was lost; it was started anew 3 times. Something on box1 killed"
    )


def test_many_ranks_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    for member in range(40):
        monkeypatch.setitem(CLOCKS, f"box{member}", member * 100.0)
    letters = "abcdefghij"
    report = report_of(*(failed(n, n * 0.1, f"ValueError: {letters[n % 10] * (1 + n // 10)}") for n in range(40)))
    assert report.root.host == "box0"
    assert len(report.others) <= 6
    assert "more ranks failed: see the log" in report.others[-1]


@pytest.mark.parametrize("odd", [{"member": "x"}, {"member": None}, {"member": 1, "code": "y", "traceback": 7}])
def test_odd_data_of_a_host_raises_nothing(odd: dict[str, Any]) -> None:
    failures = Failures()
    for kind in ("fault", "rank_failed", "phase"):
        failures.hear(Event(time=START, host="box1", source="supervisor", kind=kind, text="odd", data=odd))
        failures.report()


def test_a_time_that_clocks_can_not_tell_is_the_same_time() -> None:
    assert [later(s) for s in (0.0, 0.04, 0.4, -12.0)] == ["at the same time"] * 2 + ["0.4 s later", "12 s before"]
