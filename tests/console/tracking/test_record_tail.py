"""Records are read once each, as far as the console has committed them."""

from __future__ import annotations

import json
from pathlib import Path

from motley.console.tracking.record_tail import RecordTail
from motley.trainer.contract.wire import Event, encode
from tests.console.report.experiments import event, step, write


def test_what_comes_later_is_read_later_and_nothing_twice(tmp_path: Path) -> None:
    folder = write(tmp_path / "night", [event("report")], step(1))
    tail = RecordTail(folder)
    assert [type(record).__name__ for record in tail.read()] == ["Event", "Sample", "Sample"]
    assert list(tail.read()) == []
    line = encode(event("lost", at=9.0))
    with (folder / "events.jsonl").open("ab") as file:
        file.write(line[:20])
    assert list(tail.read()) == []
    with (folder / "events.jsonl").open("ab") as file:
        file.write(line[20:])
    assert [record.kind for record in tail.read() if isinstance(record, Event)] == ["lost"]


def test_only_what_is_committed_is_read(tmp_path: Path) -> None:
    """What is beyond is cut off when the console comes back after a crash, and may come again in another order."""
    folder = write(tmp_path / "night", [event("report")], [*step(1), *step(2)])
    whole = (folder / "logs/rank_0_metrics.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    tail = RecordTail(folder)
    (folder / "offsets.json").write_text(json.dumps({"sizes": {"logs/rank_0_metrics.jsonl": first}, "offsets": {}}))
    assert [record.step for record in tail.read() if not isinstance(record, Event)] == [1]  # type: ignore[union-attr]
    sizes = {"logs/rank_0_metrics.jsonl": len(whole) + 50}  # of a file that is shorter than it should be
    (folder / "offsets.json").write_text(json.dumps({"sizes": sizes, "offsets": {}}))
    assert [record.step for record in tail.read() if not isinstance(record, Event)] == [2]  # type: ignore[union-attr]


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "night", [event("report")], step(1))
    path = folder / "logs/rank_0_metrics.jsonl"
    path.write_bytes(b"\x00{\n" + b"x" * (3 << 20) + b"\n" + path.read_bytes())
    tail = RecordTail(folder)
    assert len(list(tail.read())) == 3
    assert tail.unreadable > 0
