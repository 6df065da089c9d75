"""Events of several processes in one file, also when a disk was full meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

from motley.trainer.host.journal import Journal


def test_a_line_that_a_full_disk_cut_short_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path, host="box1", source=source) for source in ("supervisor", "rank 0"))
    first.write("note", "one")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"v":1,"type":"event","ti')
    second.write("note", "two")
    first.write("note", "three")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in (lines[0], *lines[2:])] == ["one", "two", "three"]
