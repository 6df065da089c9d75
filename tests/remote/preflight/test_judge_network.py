"""What connections that failed between hosts mean, and which rule is missing where."""

from __future__ import annotations

import dataclasses

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import Finding
from motley.remote.preflight.judge_network import Gap, gaps, network
from motley.remote.preflight.probe import Probe
from motley.remote.preflight.reachability import Reachability
from motley.trainer.bootstrap import network as there
from tests.remote.conftest import MakeCluster
from tests.remote.preflight.test_judge import GOOD

NAMES = ("box1", "box2", "box3", "box4")
WSL = "5.15.167.4-microsoft-standard-WSL2"
DEBIAN = """
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
    }
    chain forward { type filter hook forward priority filter; }
}
"""


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster("".join(f'[[hosts]]\nname = "{name}"\n' for name in NAMES))


def missed(*pairs: tuple[str, str], why: str = "ETIMEDOUT") -> Reachability:
    return Reachability(asked=frozenset(NAMES), missed=dict.fromkeys(pairs, why))


def judged(cluster: Cluster, meeting: Reachability, **changes: dict[str, object]) -> list[Finding]:
    probes: dict[str, Probe] = {}
    for number, name in enumerate(NAMES, start=1):
        own = dataclasses.replace(GOOD, hostname=name, address=f"10.0.0.{number}", network="10.0.0.0/24")
        probes[name] = dataclasses.replace(own, **changes.get(name, {}))  # type: ignore[arg-type]
    return list(network(cluster, probes, meeting))


def one(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_all_that_cannot_reach_a_host_are_one_gap() -> None:
    towards = {(name, "box3"): "ETIMEDOUT" for name in NAMES if name != "box3"}
    assert gaps(towards) == [Gap("box3", "in", ("box1", "box2", "box4"))]
    away = {(to, name): why for (name, to), why in towards.items()}
    assert gaps(away) == [Gap("box3", "out", ("box1", "box2", "box4"))]
    assert gaps({**towards, **away}) == [Gap("box3", "both", ("box1", "box2", "box4"))]


def test_two_firewalls_are_two_gaps_that_leave_no_pair_out() -> None:
    pairs = {(a, b): "ETIMEDOUT" for b in ("box2", "box3") for a in NAMES if a != b}
    found = gaps(pairs)
    assert [(gap.host, gap.direction) for gap in found] == [("box2", "in"), ("box3", "in")]
    assert {(a, gap.host) for gap in found for a in gap.others} == set(pairs)


def test_sixteen_hosts_that_all_refuse_are_a_finding_each() -> None:
    names = [f"h{n}" for n in range(16)]
    found = gaps({(a, b): "ETIMEDOUT" for a in names for b in names if a != b})
    assert len(found) == 15  # the last one's pairs are in the others'
    assert {gap.direction for gap in found} == {"both"}


@pytest.mark.parametrize(
    ("firewall", "command"),
    [
        ("ufw", "sudo ufw allow from 10.0.0.0/24"),
        ("firewalld", "sudo firewall-cmd --permanent --zone=trusted --add-source=10.0.0.0/24 && sudo firewall-cmd --"),
        ("iptables", "sudo iptables -I INPUT -p tcp -s 10.0.0.0/24 -j ACCEPT"),
        ("nft inet filter input", "sudo nft insert rule inet filter input ip saddr 10.0.0.0/24 accept"),
        ("nft inet filter input; reboot", "sudo nft list ruleset"),  # a host may say anything
        ("", "sudo nft list ruleset"),
    ],
)
def test_the_missing_rule_is_for_the_firewall_that_is_there(cluster: Cluster, firewall: str, command: str) -> None:
    towards = missed(("box1", "box3"), ("box2", "box3"), ("box4", "box3"))
    finding = one(judged(cluster, towards, box3={"firewall": firewall}))
    assert (finding.host, finding.check, finding.level) == ("box3", "reach", "error")
    assert finding.cause.startswith("box1, box2, box4 can't reach it at 10.0.0.3 on TCP ports that the system picks")
    assert f"ssh -t box3 '{command}" in finding.remedy
    assert "10.0.0.0/24" in finding.remedy


def test_hosts_of_other_networks_are_let_in_one_by_one(cluster: Cluster) -> None:
    finding = one(judged(cluster, missed(("box1", "box3")), box3={"firewall": "ufw", "network": "10.9.0.0/16"}))
    assert "ssh -t box3 'sudo ufw allow from 10.0.0.1'" in finding.remedy


def test_a_firewall_may_keep_a_host_in(cluster: Cluster) -> None:
    away = missed(("box3", "box1"), ("box3", "box2"), ("box3", "box4"), why="EPERM")
    finding = one(judged(cluster, away, box3={"firewall": "ufw"}))
    assert "it can't reach box1, box2, box4" in finding.cause
    assert "forbidden by a firewall" in finding.cause
    assert "ssh -t box3 'sudo ufw allow out to 10.0.0.0/24'" in finding.remedy


@pytest.mark.parametrize("interfaces", [("lo", "eth0"), ("lo", "eth0", "loopback0")])
def test_wsl2_behind_nat_is_told_from_wsl2_behind_a_firewall(cluster: Cluster, interfaces: tuple[str, ...]) -> None:
    wsl: dict[str, object] = {
        "kernel": WSL,
        "address": "172.20.3.4",
        "interfaces": interfaces,
        "network": "172.20.0.0/20",
    }
    finding = one(judged(cluster, missed(("box1", "box2"), ("box3", "box2")), box2=wsl))
    assert finding.host == "box2"
    mirrored = "loopback0" in interfaces
    assert ("behind NAT" in finding.cause) != mirrored
    assert ("networkingMode=mirrored" in finding.remedy) != mirrored
    assert ("Set-NetFirewallHyperVVMSetting" in finding.remedy) == mirrored


def test_wsl2_that_all_reach_is_in_order(cluster: Cluster) -> None:
    assert judged(cluster, missed(), box2={"kernel": WSL, "address": "172.20.3.4"}) == []


def test_a_stranger_at_the_address_is_no_firewall(cluster: Cluster) -> None:
    finding = one(judged(cluster, missed(("box1", "box3"), why="stranger")))
    assert "another machine answers at that address" in finding.cause
    assert "ssh box1 'ip neigh show 10.0.0.3'" in finding.remedy


def test_a_host_that_could_not_take_part_is_no_error(cluster: Cluster) -> None:
    finding = one(judged(cluster, Reachability(asked=frozenset(NAMES), absent={"box4": "it took too long"})))
    assert (finding.host, finding.level) == ("box4", "warning")
    late = Reachability(asked=frozenset({"box1", "box2"})).counting(["box1", "box2", "box3"])
    assert set(late.absent) == {"box3"}
    assert Reachability().counting(["box1"]).absent == {}


def test_the_chain_that_refuses_is_read_from_nftables_conf() -> None:
    assert there._nft_chain(DEBIAN) == "nft inet filter input"
    assert there._nft_chain(DEBIAN.replace("policy drop", "policy accept")) == ""
    assert there._nft_chain(f"# drop\n{DEBIAN.replace('policy drop', 'policy accept')}") == ""
    assert there._nft_chain("") == ""
