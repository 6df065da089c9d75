"""`run.trace_steps`: a file that trace viewers open, with the steps asked for in it, and an event that says where."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from motley.trainer.host.journal import Journal
from motley.trainer.training.profiler_trace import WARM_UP_STEPS, Tracer


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]


def traced(folder: Path, *, steps: int, asked: int) -> None:
    """A run of so many steps, each of one matrix product."""
    journal = Journal(folder, host="box", source="rank 2")
    tracer = Tracer(folder, journal, member=2, steps=asked, device=torch.device("cpu"))
    matrix = torch.ones(8, 8)
    for step in range(1, steps + 1):
        matrix @ matrix
        tracer.step_ended(step, last=step == steps)


def products(path: Path) -> int:
    table = json.loads(gzip.decompress(path.read_bytes()))
    return sum(event.get("name") == "aten::matmul" for event in table["traceEvents"])


def test_the_steps_after_warm_up_are_in_the_trace(tmp_path: Path) -> None:
    traced(tmp_path, steps=20, asked=4)
    path = tmp_path / "trace_rank_2.json.gz"
    assert products(path) == 4
    (event,) = events(tmp_path)
    assert (event["kind"], event["data"]["path"]) == ("trace", path.name)
    assert event["data"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert event["data"]["bytes"] == path.stat().st_size
    assert "steps 4 to 7" in event["text"]
    assert str(path) in event["text"]


def test_a_shorter_run_leaves_a_shorter_trace(tmp_path: Path) -> None:
    traced(tmp_path, steps=WARM_UP_STEPS + 2, asked=10)
    assert products(tmp_path / "trace_rank_2.json.gz") == 2
    assert events(tmp_path)[0]["data"]["steps"] == 2


def test_a_run_too_short_for_a_trace_says_so(tmp_path: Path) -> None:
    traced(tmp_path, steps=WARM_UP_STEPS, asked=10)
    assert [event["kind"] for event in events(tmp_path)] == ["note"]
    assert not list(tmp_path.glob("*.gz"))
