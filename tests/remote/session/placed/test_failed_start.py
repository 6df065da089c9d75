"""The hosts of a run in a Slurm job: which job a start that fails gives back."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.remote.config.load import load
from motley.remote.errors import UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.hosts.pool import Hosts
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.run_hosts import RunHosts
from tests.remote.placement.stand_in_slurm import JOB, StandInSlurm


@pytest.mark.parametrize(("there", "cancelled"), [("", [JOB]), ("7", [])])
async def test_a_start_that_fails_gives_back_what_it_has_submitted_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, cancelled: list[str]
) -> None:
    slurm = StandInSlurm(tmp_path, monkeypatch)
    slurm.queue(
        slurm.row("RUNNING", nodes="n1", job=there) if there else "", slurm.row("RUNNING", nodes="n1", job=there or JOB)
    )
    (tmp_path / "cluster.toml").write_text('[cluster]\nconnect = "slurm"\n[[hosts]]\nname = "fast"\n')
    cluster = load(tmp_path / "cluster.toml")
    async with Hosts(cluster) as hosts:
        run_hosts = RunHosts(cluster, "night", Verbs(hosts, Tree.installed()), ExperimentWriter("night", emit=print))

        with pytest.raises(UsageError, match="another one had it"):
            async with run_hosts.starting():
                raise UsageError("another one had it")

    assert slurm.cancelled == cancelled
