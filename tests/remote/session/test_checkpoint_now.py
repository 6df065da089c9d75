"""A checkpoint that is asked for while a run is on, from any console; on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from motley.console.commands import checkpoint as command
from motley.remote.errors import RunFailed, UsageError
from motley.remote.feed import Ended
from motley.remote.session.checkpoint_now import CheckpointAnswers, Written, written_by
from motley.remote.session.session import Session
from motley.trainer.contract.wire import Event
from tests.remote.stage import Seen, Stage


def event(kind: str, **data: Any) -> Event:
    return Event(time=1.0, host="box1", source="rank 0", kind=kind, text="no room: 0.0 MiB are free", data=data)


DONE = {"step": 12, "path": "checkpoints/step_12.pt", "bytes": 7}


async def answered(record: Event | Ended) -> Written:
    """To the request that `{}` stands for in its data."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ended] = loop.create_future()
    told: list[object] = []
    answers = CheckpointAnswers("night", told.append)

    async def ask(request: str) -> None:
        if isinstance(record, Ended):
            ended.set_result(record)
            return
        answers.hear(event("checkpoint", **DONE, asked=["another console's"]))
        answers.hear(event(record.kind, **{**record.data, "asked": ["x", request]}))

    try:
        return await answers.after(ask, ended)
    finally:
        assert len(told) == 2 * (not isinstance(record, Ended))  # the console hears of all of it as ever


async def test_the_answer_is_an_event_of_whichever_host_has_rank_0() -> None:
    where = "~/.motley/runs/night/box1/checkpoints/step_12.pt"
    assert await answered(event("checkpoint", **DONE)) == Written(step=12, host="box1", path=where, bytes=7)
    with pytest.raises(RunFailed, match="box1: no room: 0.0 MiB are free"):
        await answered(event("note", step=12))
    with pytest.raises(RunFailed, match="'night' finished before it wrote the checkpoint"):
        await answered(Ended(state="finished"))
    with pytest.raises(RunFailed):  # a host that makes no sense
        await answered(event("checkpoint", step="x", path=7))
    assert written_by(event("checkpoint", **{**DONE, "path": "../../\x1b[31mx.pt"}), "night").path.endswith("/x.pt")


async def test_a_checkpoint_from_this_console_and_from_another_one(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = stage.cluster()
    session = stage.session("night", Seen(), cluster)
    await session.launch()
    mine = await session.checkpoint()
    there = stage.run_folder("night", "box0") / "checkpoints"
    assert (mine.host, (there / f"step_{mine.step}.pt").stat().st_size) == ("box0", mine.bytes)

    monkeypatch.setattr("motley.remote.session.runs.Session", lambda *a, **k: Session(*a, **k, tree=stage.tree))
    assert await asyncio.to_thread(command.checkpoint, cluster, "night", json=True) == 0
    out, err = capsys.readouterr()
    other = json.loads(out)
    assert other["path"] == f"~/.motley/runs/night/box0/checkpoints/step_{other['step']}.pt"
    assert (there / f"step_{other['step']}.pt").exists()
    assert "a checkpoint is written at the end of the step" in err

    await session.stop("enough")
    with pytest.raises(UsageError, match="'night' is not under way"):
        await session.checkpoint()
    await session.close()
    with pytest.raises(UsageError, match="'night' is stopped: nothing is trained any more"):
        await asyncio.to_thread(command.checkpoint, cluster, "night", json=False)
