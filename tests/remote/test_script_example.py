"""examples/script, with real ranks: DDP over gloo by what the environment says, and going on after a killed rank."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.load import load
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Event
from tests.remote.stage import Seen, Stage
from tests.support.proc import cmdline

pytestmark = [pytest.mark.ranks, pytest.mark.long]
EXAMPLE = Path(__file__).parents[2] / "examples/script"


def says(word: str) -> Any:
    return lambda record: isinstance(record, LogLine) and word in record.text


def epochs(seen: Seen) -> list[tuple[int, int]]:
    """(epoch, ranks) of each line that rank 0 has printed."""
    lines = [record.text for record in seen.records if isinstance(record, LogLine)]
    found = [re.match(r"epoch (\d+) of \d+ on (\d+) ranks: loss [0-9.]+$", line) for line in lines]
    return [(int(match[1]), int(match[2])) for match in found if match]


async def test_it_trains_and_goes_on_from_its_checkpoint_after_a_loss(stage: Stage) -> None:
    shutil.copytree(EXAMPLE, stage.folder, dirs_exist_ok=True)
    cluster = load(stage.folder / "cluster.toml", [f"cluster.port={stage.port}", 'run.args=["--epochs", "40"]'])
    session = stage.session("night", seen := Seen(), cluster)
    training = asyncio.ensure_future(seen.until(says("epoch 3 of 40")))
    await session.launch()
    await training
    scripts = [pid for pid in stage.alive() if b"train.py" in cmdline(pid)]
    assert len(scripts) == 2
    os.kill(max(scripts), signal.SIGKILL)
    ended = await session.wait()
    await session.close()
    assert ended.state == "finished"
    (restarted,) = [r for r in seen.records if isinstance(r, Event) and r.kind == "restarted"]
    assert "was ended by signal 9 (SIGKILL)" in restarted.text
    told = epochs(seen)
    assert told[-1] == (40, 2)
    assert {ranks for _, ranks in told} == {2}
    assert sorted({epoch for epoch, _ in told}) == list(range(1, 41))
    assert len(told) <= 41, "an epoch other than the newest was done twice"
    assert stage.alive() == []
