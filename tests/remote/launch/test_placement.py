"""Which device gets which number, what each host is told, and what can't be shared out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.launch.placement import (
    Pace,
    first_words,
    joining_spec,
    layout,
    layout_of,
    misfits,
    next_specs,
    place,
    spec_for,
)
from motley.remote.preflight.probe import Gpu, Probe
from motley.remote.provision.project import UserCode
from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.contract.term import FIRST
from motley.trainer.verbs.status import layout as told
from tests.remote.conftest import MakeCluster

PLAIN = Probe(
    python="3.11.2", executable="/usr/bin/python3", hostname="box", system="Linux", machine="x86_64",
    home="/home/ada", boot_id="one", clock=1.0, torch="2.13.0", torch_build="", gpus=(), cpu_model="", cores=4,
    memory_mib=8000,
    disk_free_mib=50_000, unwritable="", server_address="192.168.0.7", address="192.168.0.7", interface="eth0", code=(),
)  # fmt: skip
CARDS = tuple(Gpu(index=n, name="RTX 3070", total_mib=8192, free_mib=8000, driver="550.1") for n in range(2))
CUDA = dataclasses.replace(PLAIN, torch_build="CUDA 13.0", gpus=CARDS)
HOSTS = '[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\n[[hosts]]\nname = "box3"\n'


def cluster_of(make_cluster: MakeCluster, more: str = "", hosts: str = HOSTS) -> Cluster:
    return make_cluster(f'[cluster]\nname = "lab"\nleader = "box2"\n{hosts}{more}')


def placed(cluster: Cluster, **probes: Probe) -> list[tuple[int, str, int, str]]:
    found = place(cluster, {"box1": PLAIN, "box2": PLAIN, "box3": PLAIN, **probes})
    return [(m.member, m.host, m.local_rank, m.device) for m in found]


def spec(cluster: Cluster, members: tuple[Member, ...], host: str = "box1", resume: str | None = None) -> Spec:
    by_name = {h.name: h for h in cluster.hosts}
    return spec_for(
        cluster, "night", by_name[host], members, token="ab" * 32, leader_address="192.168.0.8", before_s=1.5,
        phases={"push_s": 0.5}, resume=resume,
    )  # fmt: skip


def test_rank_0_is_on_the_leader_the_others_follow_in_order(make_cluster: MakeCluster) -> None:
    cluster = cluster_of(make_cluster)
    assert placed(cluster) == [(0, "box2", 0, "cpu"), (1, "box1", 0, "cpu"), (2, "box3", 0, "cpu")]


def test_what_is_known_of_a_device_goes_with_it_and_the_log_says_where_shares_come_from(
    make_cluster: MakeCluster,
) -> None:
    cluster = cluster_of(make_cluster)
    probes = {"box1": PLAIN, "box2": PLAIN, "box3": CUDA}

    def found(known: dict[str, Pace]) -> tuple[Member, ...]:
        return place(cluster, probes, lambda host, device, _: known.get(f"{host.name} {device}", Pace()))

    measured = Pace(a_ms=2.0, c_ms=0.5, pass_limit=64, threads=3)
    some = found({"box3 cuda:1": measured})
    assert [m.a_ms for m in some] == [None, None, None, 2.0]
    assert (some[3].c_ms, some[3].pass_limit, some[3].threads) == (0.5, 64, 3)
    assert "box2, box1, box3 without one: motley profile" in first_words(some, cluster)
    guessed = found({f"{h} {d}": Pace(relative_speed=2.0) for h in probes for d in ("cpu", "cuda:0", "cuda:1")})
    assert "guessed from the names" in first_words(guessed, cluster)
    everywhere = found({f"{h} {d}": measured for h in probes for d in ("cpu", "cuda:0", "cuda:1")})
    assert first_words(everywhere, cluster) == "the first shares come from the profiles of all hosts"
    assert first_words(found({}), cluster).startswith("the first shares are equal; motley profile")
    assert first_words(found({}), cluster_of(make_cluster, '[balance]\npolicy = "static"\n')) == ""


def test_who_knows_how_fast_hosts_are_against_each_other_says_so(make_cluster: MakeCluster) -> None:
    cluster = cluster_of(make_cluster)
    hosts = tuple(dataclasses.replace(h, relative_speed={"box1": 4.0}.get(h.name)) for h in cluster.hosts)
    cluster = dataclasses.replace(cluster, hosts=hosts)
    probes = {"box1": PLAIN, "box2": PLAIN, "box3": CUDA}
    members = place(cluster, probes, lambda *_: Pace(relative_speed=77.0))
    assert [(m.host, m.relative_speed) for m in members] == [("box2", 1), ("box1", 4), ("box3", 1), ("box3", 1)]
    assert "relative_speed in cluster.toml" in first_words(members, cluster)
    measured = place(cluster, probes, lambda *_: Pace(a_ms=1.0, c_ms=1.0))
    assert first_words(measured, cluster) == "the first shares come from the profiles of all hosts"


def test_every_card_is_a_rank(make_cluster: MakeCluster) -> None:
    cluster = cluster_of(make_cluster)
    assert placed(cluster, box1=CUDA, box3=CUDA) == [
        (0, "box2", 0, "cpu"),
        (1, "box1", 0, "cuda:0"),
        (2, "box1", 1, "cuda:1"),
        (3, "box3", 0, "cuda:0"),
        (4, "box3", 1, "cuda:1"),
    ]


def test_cards_that_torch_can_t_use_are_not(make_cluster: MakeCluster) -> None:
    without = dataclasses.replace(CUDA, torch_build="")
    assert placed(cluster_of(make_cluster), box1=without)[1] == (1, "box1", 0, "cpu")


def test_devices_that_are_named_are_taken_as_they_are(make_cluster: MakeCluster) -> None:
    hosts = HOSTS.replace('"box2"\n', '"box2"\ndevices = ["cuda:1", "cpu"]\n')
    cluster = cluster_of(make_cluster, hosts=hosts)
    assert placed(cluster, box2=CUDA)[:2] == [(0, "box2", 0, "cuda:1"), (1, "box2", 1, "cpu")]


@pytest.mark.parametrize(
    ("more", "check", "cause"),
    [
        (
            '[balance]\npolicy = "static"\nshares = [128, 128]\n',
            "shares",
            "balance.shares has 2 entries, the hosts have 3 devices",
        ),
        (
            "[defaults]\nmax_batch = 50\n",
            "max_batch",
            "max_batch of all ranks together is 150, run.global_batch is 256",
        ),
        ('[balance]\npolicy = "static"\nshares = [128, 64, 64]\n', "", ""),
        ("[defaults]\nmax_batch = 100\n", "", ""),
    ],
)
def test_what_can_t_be_shared_out(make_cluster: MakeCluster, more: str, check: str, cause: str) -> None:
    cluster = cluster_of(make_cluster, more)
    found = misfits(cluster, place(cluster, dict.fromkeys(("box1", "box2", "box3"), PLAIN)))
    assert [(f.check, f.level, f.cause) for f in found] == ([(check, "error", cause)] if check else [])


def test_one_rank_without_a_cap_takes_the_rest(make_cluster: MakeCluster) -> None:
    hosts = HOSTS.replace('"box1"\n', '"box1"\nmax_batch = 1\n').replace('"box2"\n', '"box2"\nmax_batch = 1\n')
    cluster = cluster_of(make_cluster, hosts=hosts)
    assert misfits(cluster, place(cluster, dict.fromkeys(("box1", "box2", "box3"), PLAIN))) == []


def test_what_a_host_is_told(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", "secret")
    monkeypatch.delenv("NOT_SET", raising=False)
    hosts = HOSTS.replace(
        '"box1"\n', '"box1"\nenv = {LEVEL = "debug", HUB_TOKEN = "old"}\npass_env = ["HUB_TOKEN", "NOT_SET"]\n'
    )
    cluster = cluster_of(make_cluster, "[run]\nsteps = 7\n", hosts)
    members = place(cluster, {"box1": CUDA, "box2": PLAIN, "box3": PLAIN})
    one = spec(cluster, members, resume="/home/ada/old")
    assert Spec.from_json(one.to_json()) == one
    assert one.env == {"LEVEL": "debug", "HUB_TOKEN": "secret"}
    assert [m.device for m in one.local_members] == ["cuda:0", "cuda:1"]
    assert (one.leader, one.leader_address, one.port, one.is_leader) == ("box2", "192.168.0.8", 29500, False)
    assert (one.options.steps, one.resume, one.before_s, one.phases) == (7, "/home/ada/old", 1.5, {"push_s": 0.5})
    assert spec(cluster, members, "box2").is_leader
    assert spec(cluster, members, "box2").env == {}


def test_what_of_the_user_s_own_goes_with_it(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(f'[run]\ntask = "night.py"\n[task]\nwidth = [1, {{deep = true}}]\n{HOSTS}')
    members = place(cluster, {"box1": PLAIN, "box2": PLAIN, "box3": PLAIN})
    own_task = OwnTask(tree="8f5a", file="night.py", parameters=cluster.task)
    script = Script(path="train.py", args=("x",), tree="8f5a", port=29500)
    given: dict[str, Any] = {"token": "ab" * 32, "before_s": 0.0, "resume": None}
    found: dict[Any, Spec] = {}
    policy = OwnPolicy(tree="8f5a", file="mine.py")
    task_and_policy = UserCode(tree="8f5a", own_task=own_task, own_policy=policy)
    for kind, user_code in {
        OwnTask: task_and_policy, Script: UserCode(tree="8f5a", script=script),
        OwnPolicy: UserCode(tree="8f5a", own_policy=policy), None: None,
    }.items():  # fmt: skip
        found[kind] = one = spec_for(
            cluster, "night", cluster.hosts[0], members, leader_address="192.168.0.8", phases={}, user_code=user_code,
            **given,
        )  # fmt: skip
        assert Spec.from_json(one.to_json()) == one
        assert one.project_tree == ("8f5a" if user_code else "")
    assert (found[OwnTask].own_task, found[OwnTask].script) == (own_task, None)
    assert (found[Script].own_task, found[Script].script) == (None, script)
    assert [found[kind].own_policy for kind in (OwnTask, Script, OwnPolicy)] == [policy, None, policy]
    assert (found[None].own_task, found[None].script, found[None].own_policy) == (None, None, None)
    other = OwnTask(tree="8f5a", file="day.py")
    following = next_specs(found[OwnTask], cluster, "day", user_code=UserCode(tree="8f5a", own_task=other), **given)
    assert [spec.own_task for spec in following] == [other] * 3
    assert [spec.own_task for spec in next_specs(found[OwnTask], cluster, "day", **given)] == [None] * 3
    lead = Lead(term=FIRST, leader="box1", address="10.0.0.1", port=1, hosts=("box1",))
    joins = joining_spec(cluster, "night", cluster.hosts[2], members, lead, token="ab" * 32, user_code=task_and_policy)
    assert (joins.own_task, joins.own_policy, joins.joins) == (own_task, policy, True)


def test_who_takes_part_is_the_same_launched_or_found(make_cluster: MakeCluster) -> None:
    """The layout that a console launches with is the one that another gets out of a host's status."""
    text = "".join(f'[[hosts]]\nname = "box{n}"\nspeed = 0.5\n' for n in (1, 2, 3))
    cluster = make_cluster(f'[cluster]\nname = "lab"\nconnect = "demo"\n[run]\nsteps = 40\n{text}')
    members = place(cluster, {"box1": PLAIN, "box2": PLAIN, "box3": PLAIN})
    launched = layout(cluster, "night", members)
    table = {"run": "night", "leader": "box1", "layout": told(dataclasses.asdict(spec(cluster, members)), {})}
    assert layout_of(table) == dataclasses.replace(launched, attached=True, speeds={})
    assert launched.emulated == {"box1", "box2", "box3"}


@pytest.mark.parametrize(
    "table", [{}, {"run": "night"}, {"run": "night", "leader": "box1", "layout": {"members": [{"member": "x"}]}}]
)
def test_a_status_in_another_form_is_a_clear_error(table: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"its host tells of it in another form"):
        layout_of(table)
