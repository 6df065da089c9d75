"""What `motley check` says of gloo and NCCL."""

from __future__ import annotations

import dataclasses

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.launch.placement import misfits, place
from motley.remote.preflight.judge import judge
from tests.remote.conftest import MakeCluster
from tests.remote.preflight.test_judge import CARD, CUDA, GOOD

TWO = """
[cluster]
name = "lab"
[[hosts]]
name = "box1"
address = "10.0.0.1"
[[hosts]]
name = "box2"
address = "10.0.0.2"
"""


def found(cluster: Cluster) -> list[tuple[str, str, str]]:
    probes = {host.name: dataclasses.replace(GOOD, hostname=host.name) for host in cluster.hosts}
    findings = judge(cluster, probes, {})
    assert all("TORCH_GLOO_LAZY_INIT" in finding.remedy for finding in findings)
    return [(finding.host, finding.check, finding.level) for finding in findings]


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_lazy_connections_of_gloo_are_warned_of_where_env_asks_for_them(make_cluster: MakeCluster, value: str) -> None:
    cluster = make_cluster(TWO + f'env = {{ TORCH_GLOO_LAZY_INIT = "{value}" }}\n')
    assert found(cluster) == [("box2", "gloo", "warning")]


def test_lazy_connections_are_warned_of_for_every_host_where_the_defaults_ask_for_them(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(TWO + '[defaults]\nenv = { TORCH_GLOO_LAZY_INIT = "1" }\n')
    assert [host for host, _, _ in found(cluster)] == ["box1", "box2"]
    assert found(make_cluster(TWO + 'pass_env = ["TORCH_GLOO_LAZY_INIT"]\n')) == [("box2", "gloo", "warning")]
    assert found(make_cluster(TWO + 'env = { TORCH_GLOO_LAZY_INIT = "0" }\n')) == []


def backends(cluster: Cluster, cards: int) -> list[tuple[str, str, str]]:
    probes = {host.name: dataclasses.replace(CUDA, gpus=(CARD,) * cards) for host in cluster.hosts}
    return [(finding.check, finding.level, finding.remedy) for finding in misfits(cluster, place(cluster, probes))]


def test_gpus_on_several_hosts_are_told_that_nccl_would_be_quicker_and_what_it_costs(make_cluster: MakeCluster) -> None:
    ((check, level, remedy),) = backends(make_cluster(TWO), cards=1)
    assert (check, level) == ("backend", "warning")
    assert 'backend = "nccl" is quicker' in remedy
    assert "may end the run" in remedy
    assert backends(make_cluster(TWO + '[run]\nbackend = "nccl"\n'), cards=1) == []
    one = TWO.partition('[[hosts]]\nname = "box2"')[0]
    assert backends(make_cluster(one), cards=2) == []
