"""What is judged of hosts that have answered: what is wrong is named, with host, cause and remedy."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.preflight.judge import judge
from motley.remote.preflight.probe import Gpu, Leftover, Probe, ahead, parse
from motley.remote.preflight.reachability import Reachability
from tests.remote.conftest import MakeCluster

GOOD = Probe(
    python="3.11.2",
    executable="/usr/bin/python3",
    hostname="box",
    system="Linux",
    machine="x86_64",
    home="/home/ada",
    boot_id="one",
    clock=1.0,
    torch="2.13.0+cpu",
    torch_build="",
    gpus=(),
    cpu_model="AMD Ryzen 7 5800X 8-Core Processor",
    cores=4,
    memory_mib=8000,
    disk_free_mib=50_000,
    unwritable="",
    server_address="192.168.0.7",
    address="192.168.0.7",
    interface="eth0",
    code=(),
)
CARD = Gpu(index=0, name="RTX 3070", total_mib=8192, free_mib=8000, driver="580.95")
CUDA = dataclasses.replace(GOOD, torch="2.13.0+cu130", torch_build="CUDA 13.0", gpus=(CARD,))


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(
        '[cluster]\nname = "lab"\nleader = "box1"\n'
        '[[hosts]]\nname = "box1"\naddress = "192.168.0.7"\nuser = "ada"\nport = 2222\n'
        '[[hosts]]\nname = "box2"\naddress = "192.168.0.8"\ndevices = ["cuda:0", "cuda:1"]\n'
        '[[hosts]]\nname = "box3"\naddress = "192.168.0.9"\npython = "~/venv/bin/python"\n'
    )


def judged(cluster: Cluster, **changed: Probe) -> list[tuple[str, str, str]]:
    probes = {"box1": GOOD, "box2": dataclasses.replace(CUDA, gpus=(CARD, CARD)), "box3": GOOD, **changed}
    named = {name: dataclasses.replace(probe, hostname=name) for name, probe in probes.items()}
    findings = judge(cluster, named, {})
    assert all(finding.cause and finding.remedy for finding in findings)
    return [(finding.host, finding.check, finding.level) for finding in findings]


def test_a_good_cluster_has_no_findings(cluster: Cluster) -> None:
    assert judged(cluster) == []


@pytest.mark.parametrize(
    ("change", "check_", "level"),
    [
        ({"python": "3.9.2"}, "python", "error"),
        ({"torch": ""}, "torch", "error"),
        ({"torch": "2.5.1"}, "torch", "error"),
        ({"torch": "2.12.0"}, "torch", "warning"),
        ({"disk_free_mib": 900}, "disk", "warning"),
        ({"disk_free_mib": 20}, "disk", "error"),
        ({"unwritable": "Read-only file system"}, "write", "error"),
        ({"system": "Darwin"}, "system", "error"),
        ({"gpus": (CARD,)}, "devices", "warning"),
        ({"memory_available_mib": 900}, "memory", "warning"),
        ({"memory_available_mib": 90}, "memory", "error"),
        ({"clock_ahead_s": -2.5}, "clock", "warning"),
        ({"ends_with_login": True, "user": "ada"}, "login", "warning"),
        ({"open_files": 200}, "limits", "warning"),
        ({"processes_left": 50, "user": "ada"}, "limits", "warning"),
        ({"processes_left": 3, "user": "ada"}, "limits", "error"),
        ({"data_missing": "/data: No such file"}, "data", "warning"),
        ({"no_way": "Network is unreachable"}, "route", "error"),
        ({"kernel": "4.4.0-22621-Microsoft"}, "system", "error"),
        ({"gpu_trouble": "couldn't communicate with the NVIDIA driver"}, "driver", "warning"),
    ],
)
def test_each_fault_of_one_host(cluster: Cluster, change: dict[str, object], check_: str, level: str) -> None:
    assert judged(cluster, box3=dataclasses.replace(GOOD, **change)) == [("box3", check_, level)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("more", "level"), [("", "error"), ('[environment]\nrequirements = "r.txt"\n', "warning")])
def test_the_program_of_a_command_is_missed_where_no_environment_will_bring_it(
    make_cluster: MakeCluster, tmp_path: Path, more: str, level: str
) -> None:
    (tmp_path / "r.txt").write_text("accelerate\n")
    text = '[[hosts]]\nname = "box1"\n[run]\ncommand = ["accelerate", "launch", "train.py"]\n'
    missing = dataclasses.replace(GOOD, command_missing="/usr/bin:/bin")
    (finding,) = judge(make_cluster(text + more), {"box1": missing}, {})
    assert (finding.check, finding.level) == ("script", level)
    assert finding.cause == "[run] command: there is no accelerate in /usr/bin:/bin"
    assert ("pip install accelerate" in finding.remedy) == (level == "error")


@pytest.mark.parametrize(
    "change",
    [
        {"memory_available_mib": 1024},
        {"clock_ahead_s": 1.9},
        {"open_files": 1024, "processes_left": 72},
        {"kernel": "5.15.167.4-microsoft-standard-WSL2"},
    ],
)
def test_what_is_enough(cluster: Cluster, change: dict[str, object]) -> None:
    assert judged(cluster, box3=dataclasses.replace(GOOD, **change)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cuda", "driver", "level"),
    [
        ("13.0", "580.65.06", ""),
        ("13.0", "580.65.05", "error"),
        ("12.8", "535.183.01", ""),  # minor versions go with any driver of their major one
        ("12.8", "470.256.02", "error"),
        ("14.0", "580.65.06", ""),  # not known yet
    ],
)
def test_the_driver_must_fit_the_CUDA_of_torch(cluster: Cluster, cuda: str, driver: str, level: str) -> None:  # noqa: N802
    card = dataclasses.replace(CARD, driver=driver)
    probe = dataclasses.replace(CUDA, torch_build=f"CUDA {cuda}", gpus=(card,))
    assert judged(cluster, box3=probe) == ([("box3", "driver", level)] if level else [])


def test_a_gpu_in_use_is_no_news_when_the_run_leaves_it_out(cluster: Cluster) -> None:
    busy = dataclasses.replace(CARD, free_mib=100, users="blender (pid 7, ada) 7000 MiB")
    asked = dataclasses.replace(CUDA, gpus=(CARD, CARD, dataclasses.replace(busy, index=2)))
    assert judged(cluster, box2=asked) == []
    assert judged(cluster, box3=dataclasses.replace(CUDA, gpus=(busy,))) == [("box3", "gpu", "warning")]


def test_a_clock_is_ahead_by_what_the_way_does_not_explain() -> None:
    assert ahead(105.0, 99.5, 100.5) == 4.5
    assert ahead(100.0, 99.5, 100.5) == 0.0
    assert ahead(90.0, 99.5, 100.5) == -9.5


def test_a_patch_release_of_torch_is_no_difference(cluster: Cluster) -> None:
    assert judged(cluster, box3=dataclasses.replace(GOOD, torch="2.13.1")) == []


def test_devices_that_are_asked_for_and_not_there(cluster: Cluster) -> None:
    assert judged(cluster, box2=CUDA) == [("box2", "devices", "error")]
    assert judged(cluster, box2=GOOD) == [("box2", "devices", "error")] * 2
    plain = dataclasses.replace(CUDA, gpus=(CARD, CARD), torch="2.13.0+cpu", torch_build="")
    assert judged(cluster, box2=plain) == [("box2", "devices", "error")]


def test_a_leader_on_loopback_leads_nobody_elsewhere(cluster: Cluster) -> None:
    local = dataclasses.replace(GOOD, server_address="127.0.0.1")
    assert judged(cluster, box1=local) == []  # all on one machine
    elsewhere = dataclasses.replace(GOOD, boot_id="two")
    assert judged(cluster, box1=local, box3=elsewhere) == [("box1", "leader", "error")]


def test_remedies_are_commands_for_that_host(cluster: Cluster) -> None:
    lacking = dataclasses.replace(GOOD, torch="")
    findings = judge(cluster, {"box1": lacking, "box2": CUDA, "box3": lacking}, {})
    remedies = {finding.host: finding.remedy for finding in findings if finding.check == "torch"}
    assert "ssh -p 2222 -l ada 192.168.0.7 'python3 -m pip install \"torch==2.13.*\"'" in remedies["box1"]
    assert "ssh 192.168.0.9 '~/venv/bin/python -m pip install" in remedies["box3"]


@pytest.mark.parametrize(("torch", "has"), [("", "no torch"), ("2.5.1", "torch 2.5.1, older than 2.6")])
def test_a_demo_host_without_torch_says_how_this_installation_gets_it(
    make_cluster: MakeCluster, torch: str, has: str
) -> None:
    """A plain `pip install` of Motley brings none; a demo host with a Python of its own is as any other."""
    hosts = '[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\n[[hosts]]\nname = "box3"\npython = "/opt/python"\n'
    cluster = make_cluster(f'[cluster]\nconnect = "demo"\n{hosts}')
    lacking = dataclasses.replace(GOOD, torch=torch)
    found = [
        one for one in judge(cluster, dict.fromkeys(("box1", "box2", "box3"), lacking), {}) if one.check == "torch"
    ]
    assert [(one.host, one.level) for one in found] == [(name, "error") for name in ("box1", "box2", "box3")]
    assert sys.executable in found[0].cause
    assert found[0].cause.endswith(f"has {has}")
    assert found[0].remedy == f"Install it: {sys.executable} -m pip install 'motley-cluster[train]'"
    assert (found[1].cause, found[1].remedy) == (found[0].cause, found[0].remedy)
    assert "/opt/python -m pip install" in found[2].remedy
    assert "motley-cluster" not in found[2].remedy


def test_pillow_is_missed_for_pictures_alone_with_what_brings_it(make_cluster: MakeCluster) -> None:
    text = (
        '[[hosts]]\nname = "box1"\naddress = "10.0.0.1"\npython = "~/venv/bin/python"\n'
        '[[hosts]]\nname = "box2"\naddress = "10.0.0.2"\nrequirements = "needs.txt"\n'
        '[[hosts]]\nname = "box3"\nconnect = "demo"\n'
        '[[hosts]]\nname = "box4"\naddress = "10.0.0.4"\nruntime = "docker"\nimage = "mine:1"\n'
    )
    pictures = '[run]\ntask = "mlp/image_folder"\n[data]\npath = "/photos"\n'
    names = [f"box{number}" for number in range(1, 5)]

    def found(more: str, probe: Probe) -> dict[str, str]:
        probes = {name: dataclasses.replace(probe, hostname=name) for name in names}
        return {one.host: one.remedy for one in judge(make_cluster(text + more), probes, {}) if one.check == "pillow"}

    assert found("", GOOD) == {}
    assert found(pictures, dataclasses.replace(GOOD, pillow="11.0.0")) == {}
    remedies = found(pictures, GOOD)
    assert list(remedies) == names
    assert "ssh 10.0.0.1 '~/venv/bin/python -m pip install Pillow'" in remedies["box1"]
    assert remedies["box2"].startswith("Add Pillow to /")
    assert remedies["box2"].endswith("needs.txt")
    assert remedies["box3"].endswith(f"or install it: {sys.executable} -m pip install Pillow")
    assert remedies["box4"].startswith("Take an image that has it")


def test_a_demo_host_with_another_torch_than_most_is_told_which(make_cluster: MakeCluster) -> None:
    hosts = "".join(f'[[hosts]]\nname = "{name}"\naddress = "10.0.0.{name[-1]}"\n' for name in ("box1", "box2"))
    cluster = make_cluster(f'{hosts}[[hosts]]\nname = "box3"\nconnect = "demo"\n')
    older = dataclasses.replace(GOOD, torch="2.12.0")
    (found,) = (one for one in judge(cluster, {"box1": GOOD, "box2": GOOD, "box3": older}, {}) if one.check == "torch")
    assert (found.host, found.level) == ("box3", "warning")
    assert "torch==2.13.*" in found.remedy


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"torch": None}, "torch of type NoneType"),
        ({"cores": True}, "cores of type bool"),
        ({"gpus": [{"index": 0}]}, "no gpus.name"),
        ({"gpus": "none"}, "gpus that are no list of tables"),
        ({"code": [1]}, "code that is no list of names"),
        ({"cores": 10**400}, "cores that is out of bounds"),
        ({"address": "fe80::1%$(reboot)"}, "the address fe80"),
        ({"address": "10.0.0.7/24"}, "does not appear to be"),
        ({"server_address": "10.0.0.7; reboot"}, "does not appear to be"),
        ({"network": "10.0.0.7/24"}, "has host bits set"),
    ],
)
def test_an_answer_that_is_none(change: dict[str, object], complaint: str) -> None:
    answer = json.loads(json.dumps(dataclasses.asdict(CUDA))) | {"torch_build": "cuda 13.0"}
    assert parse(answer) == CUDA
    with pytest.raises(ValueError, match=complaint):
        parse({**answer, **change})


def test_commands_to_paste_hold_what_a_host_says_as_one_word(make_cluster: MakeCluster) -> None:
    """A user of a domain has a backslash in the name, which some shells' echo takes for its own."""
    one = make_cluster('[[hosts]]\nname = "box1"\naddress = "10.0.0.7"\n[data]\npath = "~/my pictures"\n')
    left = Leftover(run="$(id)", host="box1", pids=(7, 8), supervised=False)
    odd = dataclasses.replace(GOOD, user="LAB\\nina", open_files=100, data_missing="it is not there", leftovers=(left,))
    remedies = {finding.check: finding.remedy for finding in judge(one, {"box1": odd}, {})}
    commands = {check: shlex.split(remedy[remedy.index("ssh ") :])[-1] for check, remedy in remedies.items()}
    assert commands["limits"].startswith("printf '%s\\n' 'LAB\\nina - nofile 65536' | sudo tee ")
    assert commands["data"] == "ls -ld ~/'my pictures'"
    assert commands["leftovers"] == "kill 7 8"


def test_that_the_leader_is_at_work_is_no_reason_not_to_join(cluster: Cluster) -> None:
    left = Leftover(run="night", host="box1", pids=(7,), supervised=True)
    busy = dataclasses.replace(GOOD, memory_available_mib=90, leftovers=(left,))
    probes = {"box1": busy, "box3": dataclasses.replace(GOOD, hostname="box3", leftovers=(left,))}
    part = dataclasses.replace(cluster, hosts=(cluster.hosts[0], cluster.hosts[2]))
    assert judge(part, probes, {}, joins="night") == ()
    found = judge(part, probes, {}, Reachability(missed={("box1", "box3"): "ETIMEDOUT"}), joins="evening")
    assert [(f.host, f.check) for f in found] == [("box3", "reach"), ("box3", "leftovers")]


def test_what_a_script_does_not_heed_and_devices_it_would_miss_are_warned_of(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        '[[hosts]]\nname = "box1"\ndevices = ["cuda:1"]\n[[hosts]]\nname = "box2"\ndevices = ["cuda:0", "cpu"]\n'
        '[run]\nscript = "train.py"\nseed = 1\n[balance]\nwindow = 9\n'
    )
    two = dataclasses.replace(CUDA, gpus=(CARD, CARD))
    findings = judge(cluster, {"box1": two, "box2": dataclasses.replace(two, hostname="other")}, {})
    assert [(f.host, f.check, f.level) for f in findings] == [
        ("box1", "script", "warning"), ("box1", "devices", "warning"),
    ]  # fmt: skip
    assert (
        findings[0].cause == "run.seed, balance.window have no effect on a script that does not call motley.session()"
    )
    assert "MOTLEY_DEVICE" in findings[1].remedy


def test_that_an_emulated_host_slows_what_a_script_sends_is_warned_of_and_a_task_is_not(
    make_cluster: MakeCluster,
) -> None:
    hosts = '[cluster]\nconnect = "demo"\n[[hosts]]\nname = "box1"\n[[hosts]]\nname = "box2"\nspeed = 0.5\n'
    probes = {"box1": CUDA, "box2": dataclasses.replace(CUDA, hostname="other")}
    (finding,) = judge(make_cluster(f'{hosts}[run]\nscript = "train.py"\n'), probes, {})
    assert (finding.host, finding.check, finding.level) == ("box2", "script", "warning")
    assert "also while it sends gradients" in finding.cause
    assert judge(make_cluster(hosts), probes, {}) == ()
