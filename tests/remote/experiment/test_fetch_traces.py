"""Profiler traces are brought home from the hosts of the ranks that wrote them, under names of our own form only."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from motley.remote.experiment.fetch import Fetcher
from motley.remote.experiment.folder import Experiment
from motley.remote.hosts.pool import Hosts
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.wire import Event
from tests.remote.stage import Stage

CONTENT = b"a trace" * 1000


def announced(path: object, host: str) -> Event:
    data = {"path": path, "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    return Event(time=1.0, host=host, source="rank 1", kind="trace", text="", data=data)


async def brought(stage: Stage, event: Event) -> list[Path]:
    """Announce a trace to a harvest; the files of the experiment's `traces` afterwards. Nothing may go wrong."""
    said: list[str] = []
    async with Hosts(stage.cluster()) as hosts:
        for name in ("box0", "box1"):
            await hosts.get(name)
        folder = stage.run_folder("night", "box1")
        folder.mkdir(parents=True)
        (folder / "trace_rank_1.json.gz").write_bytes(CONTENT)
        experiment = Experiment.create(stage.experiment("night"), "")
        harvest = Fetcher(Verbs(hosts, stage.tree), "night", experiment, say=said.append)
        harvest.trace(event)
        await harvest.finish()
        await harvest.close()
        experiment.close()
    assert said == []
    return sorted((experiment.folder / "traces").iterdir())


async def test_a_trace_comes_from_the_host_of_its_rank(stage: Stage) -> None:
    (path,) = await brought(stage, announced("trace_rank_1.json.gz", "box1"))
    assert path.name == "trace_rank_1.json.gz"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("../trace_rank_1.json.gz", "box1"), ("traces/trace_rank_1.json.gz", "box1"), ("rank_1.out", "box1"),
        ("trace_rank_1.json.gz", "elsewhere"), (None, "box1"),
    ],
)  # fmt: skip
async def test_a_host_does_not_choose_what_is_fetched_or_where_it_lies(stage: Stage, path: object, host: str) -> None:
    assert await brought(stage, announced(path, host)) == []
