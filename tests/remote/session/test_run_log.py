"""What `motley logs` shows, and in which order."""

from __future__ import annotations

from motley.remote.feed import LogLine
from motley.remote.session.run_log import rows_of, text_of
from motley.trainer.contract.wire import Event


def printed(at: float, host: str, member: int, text: str) -> LogLine:
    return LogLine(host=host, member=member, text=text, time=at, exact=True)


def event(at: float, host: str, kind: str, text: str) -> Event:
    return Event(time=at, host=host, source="rank 0", kind=kind, text=text)


def test_what_happened_is_in_order_of_time_over_all_hosts_and_what_ranks_printed_follows() -> None:
    records = [
        LogLine(host="box2", member=1, text="rank 1 of 2 on box2"),
        event(30.0, "box1", "evaluated", "epoch 1: accuracy 91.20%, loss 0.3021"),
        event(10.0, "box1", "started", "1 rank started"),
        event(20.0, "box2", "lost", "box2 is lost\nmore of it"),
        event(25.0, "box1", "checkpoint", "checkpoint epoch_1.pt at step 40"),
        event(5.0, "box2", "phase", "rank 1: importing torch"),
        event(26.0, "box1", "fingerprint", "fingerprint of the gradient of step 41"),
    ]
    rows = rows_of(records)
    assert [row.time for row in rows] == [10.0, 20.0, 30.0, None]
    assert [row.text for row in rows] == [
        "1 rank started", "box2 is lost", "epoch 1: accuracy 91.20%, loss 0.3021", "rank 1 of 2 on box2",
    ]  # fmt: skip
    assert text_of(rows[2]).split(maxsplit=2)[1:] == ["box1", "epoch 1: accuracy 91.20%, loss 0.3021"]
    assert text_of(rows[3]) == " " * 10 + "box2 #1       rank 1 of 2 on box2"
    assert rows_of(records[:1], 7.0)[0].time == 7.0


def test_lines_of_ranks_are_among_the_events_where_their_host_has_noted_when_they_were_printed() -> None:
    records = [
        LogLine(host="box3", member=2, text="nobody knows when", time=12.0),
        printed(11.0, "box2", 1, "loading"),
        printed(25.0, "box2", 1, "step 1"),
        printed(15.0, "box2", 1, "after the clock was set back"),
        printed(21.0, "box1", 0, "step 1"),
        event(10.0, "box1", "started", "1 rank started"),
        event(20.0, "box2", "lost", "box3 is lost"),
    ]
    rows = rows_of(records, 99.0)
    assert [(row.time, row.text) for row in rows] == [
        (10.0, "1 rank started"), (11.0, "loading"), (20.0, "box3 is lost"), (21.0, "step 1"), (25.0, "step 1"),
        (15.0, "after the clock was set back"), (99.0, "nobody knows when"),
    ]  # fmt: skip
    assert text_of(rows[1])[8:] == "  box2 #1       loading"
