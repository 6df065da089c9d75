"""Hosts that are there anyway: nothing is asked for, nothing given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import Unreachable
from motley.remote.hosts.slurm_connection import SlurmConnection, step
from motley.remote.placement.placement import is_placed, lent, placement_of
from motley.remote.ssh.dial import Dialer


async def test_the_same_cluster_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[[hosts]]\nname = "box1"\n')
    cluster, said = load(path), list[str]()
    placement = placement_of(cluster, "night")

    assert not is_placed(cluster)
    assert await placement.place(said.append) is cluster
    assert await placement.found(said.append) is cluster
    assert (await placement.state()).phase == "running"
    assert await placement.end(said.append) == ""
    async with lent(cluster, "check", said.append) as there:
        assert there is cluster
    assert said == []


async def test_a_host_without_a_node_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[cluster]\nconnect = "slurm"\n[[hosts]]\nname = "node"\n')
    cluster = load(path)
    (host,) = cluster.hosts

    with pytest.raises(Unreachable, match="it is no node of Slurm's at the moment"):
        await SlurmConnection.open(host, cluster.slurm, Dialer())
    assert host.slurm is not None
    assert "--het-group" not in " ".join(step(host.slurm, "python3", "true"))
