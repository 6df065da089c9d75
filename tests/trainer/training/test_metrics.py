"""A rank's lines when its disk is full: the run goes on, and what is missing can be seen."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.wire import Sample, decode
from motley.trainer.training.metrics import MetricsFile


def sample(seq: int) -> Sample:
    return Sample(
        seq=seq, step=seq + 1, epoch=0, time=0.0, host="box1", member=0, rank=0, generation=0, batch=8, loss=1.0,
        compute_ms=1.0, wait_ms=0.0, data_ms=0.0, step_ms=1.0, samples_per_s=8.0,
    )  # fmt: skip


def test_a_full_disk_costs_lines_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    room: list[int | None] = [None, 40, 0, 0, None, None]  # bytes that each write still finds
    write = os.write

    def cramped(descriptor: int, data: bytes) -> int:
        left = room.pop(0) if descriptor > 2 else None
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:left])

    file = MetricsFile(tmp_path, member=0)
    with monkeypatch.context() as patch:
        patch.setattr("motley.trainer.training.metrics.os.write", cramped)
        for _ in range(6):
            file.write(sample(file.next_seq))
    found: list[Any] = []
    for line in (tmp_path / "rank_0.jsonl").read_bytes().splitlines():
        with_end = line.endswith(b"}")
        found.append(decode(line).seq if with_end else "torn")  # type: ignore[union-attr]
    assert found == [0, "torn", 4, 5]
    said = capfd.readouterr().err.splitlines()
    assert "No space left on device" in said[0]
    assert said[1:] == ["metrics are written again; 2 lines are missing"]
    assert MetricsFile(tmp_path, member=0).next_seq == 6
