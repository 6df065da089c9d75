"""A run that goes on from a checkpoint of another, wherever that lies; on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from motley.remote.session.session import Session
from tests.remote.stage import Seen, Stage
from tests.remote.stand_in_rank import sealed


async def launched(stage: Stage, run: str, *, steps: int) -> Session:
    session = stage.session(run, Seen(), stage.cluster(steps=steps))
    await session.launch()
    return session


async def test_going_on_from_a_checkpoint_that_only_the_console_has(stage: Stage) -> None:
    first = await launched(stage, "old", steps=10)
    await first.wait()
    await first.close()
    there = stage.run_folder("old", "box0")
    shutil.rmtree(there)

    second = stage.session("new", Seen(), stage.cluster(steps=5))
    await second.launch(resume="old")
    await second.wait()
    await second.close()
    brought = there / "checkpoints/step_10.pt"
    assert brought.read_bytes() in [p.read_bytes() for p in (stage.experiment("old") / "checkpoints").glob("*.pt")]
    log = (stage.experiment("new") / "logs/rank_0.log").read_text()
    assert log.startswith(f"going on from {there / 'checkpoints'}\n")


async def test_going_on_from_a_checkpoint_by_its_name_and_from_a_file(stage: Stage) -> None:
    first = await launched(stage, "old", steps=30)
    await first.wait()
    await first.close()
    file = stage.folder / "kept" / "mine.pt"
    file.parent.mkdir()
    shutil.copy(stage.run_folder("old", "box0") / "checkpoints/epoch_1.pt", file)
    there = {}
    for run, resume in {"by-name": "old@epoch_2", "by-file": str(file)}.items():
        session = stage.session(run, Seen(), stage.cluster(steps=5))
        await session.launch(resume=resume)
        await session.wait()
        await session.close()
        log = (stage.experiment(run) / "logs/rank_0.log").read_text()
        there[run] = Path(log.partition("\n")[0].removeprefix("going on from "))
    assert there["by-name"] == stage.run_folder("old", "box0") / "checkpoints/epoch_2.pt"
    assert there["by-file"] == stage.run_folder("by-file", "box0") / "checkpoints/step_10.pt"
    assert there["by-file"].read_bytes() == file.read_bytes()
    assert [stage.summary(run)["resumed_from"] for run in there] == ["old", str(file)]
    assert f"goes on from {file}" in (stage.experiment("by-file") / "events.jsonl").read_text()


async def test_going_on_from_what_a_host_held_that_had_lost_its_leader(stage: Stage) -> None:
    first = await launched(stage, "old", steps=10)
    await first.wait()
    await first.close()
    held = sealed(b"held at 12", 12)
    (stage.run_folder("old", "box1") / "checkpoints/held.pt").write_bytes(held)
    second = stage.session("new", Seen(), stage.cluster(steps=5))
    await second.launch(resume="old")
    await second.wait()
    await second.close()
    assert (stage.run_folder("old", "box0") / "checkpoints/step_12.pt").read_bytes() == held
