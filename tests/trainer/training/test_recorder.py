"""What rank 0 says of the checkpoints that it writes, when the disk does not let it do all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import events, spec
from tests.trainer.training.test_checkpoint import state


def test_a_checkpoint_is_told_of_although_an_old_one_can_t_be_removed_which_is_tried_again(tmp_path: Path) -> None:
    line: Any = Unheard()
    recorder = Recorder(tmp_path, Journal(tmp_path, host="box1", source="rank 0"), line, spec(1))
    old = tmp_path / "checkpoints" / "step_2.pt"

    def save(step: int) -> bool:
        return recorder.save(f"step_{step}", step, state(step), keep=1, why="steps")

    assert save(2)
    old.unlink()
    old.mkdir()  # which nobody can unlink
    assert save(4)
    old.rmdir()
    old.touch()
    assert save(6)
    assert [path.name for path in old.parent.glob("step_*.pt")] == ["step_6.pt"]
    assert [event["data"]["step"] for event in events(tmp_path, "checkpoint")] == [2, 4, 6]
    (said,) = events(tmp_path, "note")
    assert (said["level"], said["data"]["step"]) == ("warning", 4)
    assert "old checkpoints can't be removed" in said["text"]


def test_one_that_can_t_be_written_does_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    line: Any = Unheard()
    recorder = Recorder(tmp_path, Journal(tmp_path, host="box1", source="rank 0"), line, spec(1))
    folder = tmp_path / "checkpoints"
    assert recorder.save("step_2", 2, state(2), keep=1, why="steps")
    (folder / "step_4.pt").mkdir()  # a file can't take its place
    assert not recorder.save("step_4", 4, state(4), keep=1, why="steps")
    assert (folder / "step_2.pt").exists()
    assert recorder.save("step_6", 6, state(6), keep=1, why="steps")
    assert not (folder / "step_2.pt").exists()
