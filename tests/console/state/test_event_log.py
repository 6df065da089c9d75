"""The log: lines in the order of their times, and not half of them about checkpoints."""

from __future__ import annotations

from dataclasses import replace

from motley.console.state.event_log import LIMIT, EventLog
from motley.console.state.snapshot import LogEntry
from motley.console.state.store import Store
from tests.console.scripted import START, event, layout


def entry(time: float, text: str = "") -> LogEntry:
    return LogEntry(time=time, label="box1", text=text or str(time))


def test_a_line_that_comes_late_goes_to_its_place() -> None:
    log = EventLog()
    for time in (3.0, 1.0, 2.0, 2.0, 4.0):
        log.add(entry(time))
    assert [e.time for e in log.entries] == [1.0, 2.0, 2.0, 3.0, 4.0]
    assert log.total == 5


def test_a_full_log_takes_a_late_line_too() -> None:
    log = EventLog()
    for n in range(LIMIT):
        log.add(entry(n))
    log.add(entry(LIMIT - 1.5))
    assert len(log.entries) == LIMIT
    assert [e.time for e in log.entries][-2:] == [LIMIT - 1.5, LIMIT - 1]


def test_of_who_is_waited_for_the_log_keeps_the_newest() -> None:
    store = Store()
    store.apply(layout(), START)
    for n in range(4):
        store.apply(event("waiting", f"waiting for rank {n}", time=START + n), START + n)
    assert [e.text for e in store.log()] == ["waiting for rank 3"]


def test_of_the_checkpoints_of_the_epochs_the_log_keeps_the_newest() -> None:
    store = Store()
    store.apply(layout(), START)
    for epoch in range(5):
        at = START + epoch
        saved = event("checkpoint", f"checkpoint epoch_{epoch}.pt at step {epoch}", time=at)
        store.apply(replace(saved, data={"path": f"checkpoints/epoch_{epoch}.pt"}), at)
        store.apply(event("evaluated", f"epoch {epoch}: accuracy 90 %", time=at), at)
    store.apply(replace(event("checkpoint", "checkpoint final.pt"), data={"path": "checkpoints/final.pt"}), START + 9)
    texts = [e.text for e in store.log()]
    saved_lines = {text for text in texts if "checkpoint" in text}
    assert saved_lines == {"checkpoint final.pt", "checkpoint epoch_4.pt at step 4"}
    assert sum("accuracy" in text for text in texts) == 5
    assert store.snapshot().log_total == len(texts)
