"""`[data] push`: every host of a run has the folder before its ranks start, also one that comes later."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import ConfigError, UsageError
from motley.remote.feed import Progress
from motley.remote.launch.prepare_hosts import preflight
from motley.trainer.host.paths import read_json
from tests.remote.session.test_follow_run import trains
from tests.remote.stage import HOSTS, Seen, Stage


def pushing(stage: Stage, *more: str) -> Cluster:
    stage.cluster(hosts={**HOSTS, **dict.fromkeys(more, "")})
    path = stage.folder / "cluster.toml"
    path.write_text(f'[data]\npush = "pictures"\n{path.read_text()}')
    return load(path)


def place(stage: Stage, host: str) -> Path:
    """Where the ranks of the host look for their data."""
    folder = stage.run_folder("night", host)
    path: str = read_json(folder / "spec.json")["data"]["path"]
    assert path.startswith("~/.motley/data/")
    return folder.parents[3] / path.removeprefix("~/")


async def test_every_host_has_the_data_before_the_run_starts_and_so_has_one_that_joins(stage: Stage) -> None:
    pictures = stage.folder / "pictures"
    (pictures / "a").mkdir(parents=True)
    (pictures / "a" / "one.bin").write_bytes(b"1" * 100_000)
    session = stage.session("night", seen := Seen(), pushing(stage))
    await session.launch()
    await seen.further(3)
    for host in HOSTS:
        assert (place(stage, host) / "a" / "one.bin").read_bytes() == b"1" * 100_000
    sent = {r.host for r in seen.records if isinstance(r, Progress) and r.text.startswith("sending the data")}
    assert sent == set(HOSTS)
    pushing(stage, "box2")
    (pictures / "two.bin").write_bytes(b"2")
    with pytest.raises(UsageError, match="the data here is in .*, that of the run in "):
        await session.join("box2")
    (pictures / "two.bin").unlink()
    await session.join("box2")
    await seen.until(trains(2, generation=1))
    assert (place(stage, "box2") / "a" / "one.bin").read_bytes() == b"1" * 100_000
    await session.stop("enough")


async def test_a_folder_that_is_not_there_is_named_with_its_line(stage: Stage) -> None:
    cluster = pushing(stage)
    for doing in (preflight(cluster, lambda _: None), stage.session("night", Seen(), cluster).launch()):
        with pytest.raises(ConfigError, match=r"cluster\.toml:2: data\.push: there is no folder .*/pictures"):
            await doing
