"""What `run.log` was given, when the disk is full: the run goes on, and what is missing can be seen."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from motley.trainer.api.session_member import FiguresFile
from tests.trainer.api.sessions import running
from tests.trainer.api.test_session_groups import WHOLE, loop
from tests.trainer.coordinating import events, summary


def test_a_full_disk_costs_lines_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room: list[int | None] = [None, 10, 0, 0, None, None]  # bytes that each write still finds
    write = os.write

    def cramped(descriptor: int, data: bytes) -> int:
        left = room.pop(0)
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:left])

    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("motley.trainer.api.session_member.os.write", cramped)
        file = FiguresFile(tmp_path, told.append)
        for step in range(6):
            file.write(step, {"loss": 0.5})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] if line.endswith("}") else "torn" for line in lines] == [0, "torn", 4, 5]
    assert told == [
        f"run.log: figures are not written to {tmp_path / 'log.jsonl'} (No space left on device): make room there",
        "run.log: figures are written again; 3 lines are missing",
    ]


def test_a_line_that_a_process_before_has_left_half_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 3, "ti')
    FiguresFile(tmp_path, pytest.fail).write(4, {"loss": float("nan")})
    torn, whole = (tmp_path / "log.jsonl").read_text().splitlines()
    assert torn == '{"step": 3, "ti'
    assert (json.loads(whole)["step"], json.loads(whole)["loss"]) == (4, None)


@pytest.mark.ranks
async def test_a_loop_that_logs_goes_on_when_its_disk_gets_full_and_has_room_again(tmp_path: Path) -> None:
    body = f"""log = os.path.join(os.environ["MOTLEY_DIR"], "log.jsonl")
        if step.number == 4:
            os.rename(log, log + ".before")
            os.symlink("/dev/full", log)
        if step.number == 9:
            os.unlink(log)
            os.rename(log + ".before", log)
        {WHOLE}"""
    after = "run.log(after=1)"  # once the step is done, it is written at once
    async with running(tmp_path, loop(body, after), members=1) as run:
        assert await run.codes() == [0], run.errors()
    assert summary(run.home(0))["state"] == "finished"
    lines = (run.home(0) / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [n for n in (1, 2, 3, 9, 10, 11, 12) for _ in range(2)]
    told = [one["text"] for one in events(run.home(0), "note") if one["text"].startswith("run.log")]
    assert len(told) == 2
    assert "No space left on device" in told[0]
    assert told[1] == "run.log: figures are written again; 10 lines are missing"
