"""`held.pt`: what ranks write that wait without a leader, perhaps several of one host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from motley.trainer.contract import checkpoint_trailer
from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import spec
from tests.trainer.training.test_checkpoint import state


def rank(folder: Path, number: int, *, line: int) -> Recorder:
    """One whose last group was formed when a console had named another leader so many times."""
    heard: Any = Unheard()
    recorder = Recorder(folder, Journal(folder, host="box1", source=f"rank {number}"), heard, spec(1))
    recorder.joining(line)
    return recorder


def held(folder: Path) -> tuple[int, int]:
    return checkpoint_trailer.listed(folder / "checkpoints")["held.pt"].age


def test_of_several_ranks_of_a_host_the_newest_state_stays_and_is_told_of(tmp_path: Path) -> None:
    rank(tmp_path, 1, line=1).save("held", 412, state(412), keep=3)
    rank(tmp_path, 2, line=1).save("held", 411, state(411), keep=3)
    rank(tmp_path, 3, line=0).save("held", 700, state(700), keep=3)
    assert held(tmp_path) == (1, 412)
    rank(tmp_path, 2, line=2).save("held", 400, state(400), keep=3)
    assert held(tmp_path) == (2, 400)
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["data"]["step"] for event in told] == [412, 400]


def test_any_other_checkpoint_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    one = rank(tmp_path, 1, line=0)
    one.save("best", 412, state(412), keep=3)
    one.save("best", 411, state(411), keep=3)
    assert checkpoint_trailer.listed(tmp_path / "checkpoints")["best.pt"].step == 411
