"""What a run had told before it was looked at: in the order of its times, whatever order the hosts sent it in."""

from __future__ import annotations

import pytest

from motley.remote.experiment.backlog import Backlog
from motley.remote.feed import CaughtUp, Ended, FeedRecord, Link, LogLine
from tests.console.scripted import event


def test_what_was_before_comes_in_the_order_of_its_times_by_the_masters_clock() -> None:
    told: list[FeedRecord] = []
    backlog = Backlog(told.append)
    backlog.hold()
    backlog.take(event("note", "third", host="a", time=30.0))
    backlog.take(event("note", "first", host="a", time=10.0))
    backlog.take(event("note", "second, by a clock an hour ahead", host="b", time=3620.0))
    backlog.take(LogLine(host="a", member=0, text="output of before", time=29.0))
    assert told == []
    backlog.take(Link(host="b", up=True, text="connected", clock_offset_s=3600.0))
    backlog.release(over=False)
    words = [getattr(record, "text", record) for record in told[1:]]
    (line,) = [record for record in told if isinstance(record, LogLine)]
    assert line.at_latest
    assert words == ["first", "second, by a clock an hour ahead", "output of before", "third", CaughtUp(over=False)]


def test_a_line_of_which_the_host_knows_the_time_is_told_at_that_time() -> None:
    told: list[FeedRecord] = []
    backlog = Backlog(told.append)
    backlog.hold()
    backlog.take(LogLine(host="a", member=0, text="one", time=20.0, exact=True))
    backlog.take(LogLine(host="a", member=0, text="two", time=40.0, exact=True))
    backlog.take(event("note", "between", host="a", time=30.0))
    backlog.release(over=False)
    assert [getattr(record, "text", "") for record in told] == ["one", "between", "two", ""]
    assert not any(record.at_latest for record in told if isinstance(record, LogLine))


def test_the_lines_of_a_rank_keep_their_order_whatever_their_file_says_of_the_time() -> None:
    told: list[FeedRecord] = []
    backlog = Backlog(told.append)
    backlog.hold()
    backlog.take(LogLine(host="a", member=0, text="one", time=90.0))  # from the copy here, written late
    backlog.take(LogLine(host="a", member=1, text="of another", time=80.0))
    backlog.take(LogLine(host="a", member=0, text="two", time=50.0))  # from the host
    backlog.take(event("note", "between", host="a", time=60.0))
    backlog.release(over=False)
    words = [getattr(record, "text", "") for record in told]
    assert words == ["one", "two", "between", "of another", ""]


def test_of_more_than_is_kept_back_at_once_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.remote.experiment.backlog.MOST", 4)
    told: list[FeedRecord] = []
    backlog = Backlog(told.append)
    backlog.hold()
    for at in (3.0, 1.0, 2.0, 4.0, 6.0, 5.0):
        backlog.take(event("note", f"at {at:.0f}", time=at))
    assert [getattr(record, "text", "") for record in told] == ["at 1", "at 2", "at 3", "at 4"]
    backlog.release(over=False)
    assert [getattr(record, "text", "") for record in told[4:]] == ["at 5", "at 6", ""]


def test_once_it_has_caught_up_all_is_passed_on_as_it_comes() -> None:
    told: list[FeedRecord] = []
    backlog = Backlog(told.append)
    backlog.hold()
    backlog.release(over=False)
    backlog.release(over=False)
    late = event("note", "of now", time=1.0)
    backlog.take(late)
    printed = LogLine(host="a", member=0, text="of now", time=1.0)
    backlog.take(printed)
    assert told == [CaughtUp(over=False), late, printed]


def test_the_end_of_a_run_comes_after_what_was_before_it() -> None:
    told: list[FeedRecord] = []
    backlog = Backlog(told.append)
    backlog.hold()
    said, end = event("ended", "all is over"), Ended(state="finished")
    backlog.take(said)
    backlog.take(end)
    assert told == [said, CaughtUp(over=True), end]
