"""The cluster of a job that was started once more, for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.load import load


def cluster_of(folder: Path) -> Cluster:
    """Nodes of a job that was started once more: `fast` leads, `slow-1` and `slow-2` are the others."""
    (folder / "cluster.toml").write_text(
        '[cluster]\nconnect = "slurm"\n[[hosts]]\nname = "fast"\n[[hosts]]\nname = "slow"\nnodes = 2\n'
        "[slurm]\nrequeue = true\n"
    )
    cluster = load(folder / "cluster.toml")

    def placed(host: Host) -> Host:
        assert host.slurm is not None
        about = dataclasses.replace(host.slurm, job="7", node=f"n-{host.name}", restarts=1)
        return dataclasses.replace(host, address="10.0.0.1", slurm=about)

    return dataclasses.replace(cluster, hosts=tuple(map(placed, cluster.hosts)))
