"""What is wrong with machines and their network, shown by real hosts: `motley check` names it.

Each is injected from a root shell on the host, as its owner would have done it; `stand_in` says where something stands
for what a lab can't have. Those that need no machine of their own are in
tests/remote/preflight/test_misconfigurations.py.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.support.absent import not_here

HOSTS = ("box1", "box2", "box3")
MASTER_LEADS = '[[hosts]]\nname = "here"\nconnect = "demo"\n'

FIREWALL = """
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    iif lo accept
    ct state established,related accept
    tcp dport 22 accept
    %s
  }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`inject` and `undo` are for a root shell on `host`. `heals`: the remedy's command is run, and mends it."""

    name: str
    check: str
    host: str
    inject: str
    undo: str
    cause: str
    remedy: str
    level: str = "error"
    heals: bool = False
    needs: str = ""
    stand_in: str = ""
    often: bool = False  # in `make test`, too


def _firewall(rule: str) -> str:
    rules = shlex.quote(FIREWALL % rule)
    return (
        f"mount -t tmpfs tmpfs /mnt && echo {rules} > /mnt/rules && "
        "mount --bind /mnt/rules /etc/nftables.conf && nft -f /etc/nftables.conf"
    )


NO_FIREWALL = "nft flush ruleset; umount /etc/nftables.conf /mnt"
WSL = "5.15.167.4-microsoft-standard-WSL2"

CASES = (
    Case(
        name="a firewall drops",
        check="reach",
        host="box3",
        inject=_firewall(""),
        undo=NO_FIREWALL,
        cause="box1, box2 can't reach it at 10.77.0.13 on TCP ports that the system picks, as training does "
        "(no answer: a firewall drops it)",
        remedy="ssh -t 10.77.0.13 'sudo nft insert rule inet filter input ip saddr 10.77.0.0/24 accept'",
        heals=True,
        needs="nft",
        often=True,
    ),
    Case(
        name="a firewall rejects",
        check="reach",
        host="box2",
        inject=_firewall("reject with icmpx type admin-prohibited"),
        undo=NO_FIREWALL,
        cause="box1, box3 can't reach it at 10.77.0.12",
        remedy="sudo nft insert rule inet filter input ip saddr 10.77.0.0/24 accept",
        heals=True,
        needs="nft",
    ),
    Case(
        name="two hosts are kept apart",
        check="reach",
        host="box3",
        inject="ip route add blackhole 10.77.0.12/32",
        undo="ip route del blackhole 10.77.0.12/32",
        cause="it and box2 can't reach each other",
        remedy="TCP from 10.77.0.0/24 on every port",
    ),
    Case(
        name="no route to the leader",
        check="route",
        host="box3",
        inject="ip route add unreachable 10.77.0.11/32",
        undo="ip route del unreachable 10.77.0.11/32",
        cause="it has no way to the leader's address 10.77.0.11: No route to host",
        remedy="ssh 10.77.0.13 'ip route get 10.77.0.11'",
    ),
    Case(
        name="WSL2 behind NAT",
        check="reach",
        host="box3",
        inject=f"echo {WSL} > /run/osrelease && mount --bind /run/osrelease /proc/sys/kernel/osrelease && "
        "ip address add 172.20.3.4/20 dev eth0 && ip route replace 10.77.0.0/24 dev eth0 src 172.20.3.4",
        undo="ip route replace 10.77.0.0/24 dev eth0 src 10.77.0.13; ip address del 172.20.3.4/20 dev eth0; "
        "umount /proc/sys/kernel/osrelease",
        cause="only its own Windows knows the address 172.20.3.4. So box1, box2 can't reach it",
        remedy=r'in PowerShell: Add-Content $HOME\.wslconfig "[wsl2]`nnetworkingMode=mirrored"; wsl --shutdown',
        stand_in="the kernel's release; an address that nobody else has a route to",
    ),
    Case(
        name="its disk is full",
        check="disk",
        host="box2",
        inject="mkdir -p ~/.motley && mount -t tmpfs -o size=1m tmpfs ~/.motley; "
        "! head -c 2000000 /dev/zero > ~/.motley/x",
        undo="umount ~/.motley",
        cause="only 0 MiB are free for /root/.motley",
        remedy="ssh 10.77.0.12 'du -xsh ~/.[!.]* ~/* 2>/dev/null | sort -h | tail'",
        often=True,
    ),
    Case(
        name="its home is read-only",
        check="write",
        host="box2",
        inject="mkdir -p ~/.motley && mount -t tmpfs -o size=2g,ro tmpfs ~/.motley",
        undo="umount ~/.motley",
        cause="~/.motley can't be written: Read-only file system",
        remedy="""ssh -t 10.77.0.12 'sudo mount -o remount,rw "$(findmnt -no TARGET -T ~/.motley)"'""",
        heals=True,
    ),
    Case(
        name="its memory is taken",
        check="memory",
        host="box2",
        inject="sed 's/^MemAvailable:.*/MemAvailable:  102400 kB/' /proc/meminfo > /run/meminfo && "
        "mount --bind /run/meminfo /proc/meminfo",
        undo="umount /proc/meminfo",
        cause="only 100 MiB of its ",
        remedy="ssh 10.77.0.12 'ps -eo user,pid,rss,args --sort=-rss | head'",
        stand_in="the figures in /proc/meminfo, as in a container with lxcfs",
    ),
    Case(
        name="systemd ends what a login leaves",
        check="login",
        host="box2",
        inject="mkdir -p /run/systemd/system && mkdir -p /etc/systemd && mount -t tmpfs tmpfs /etc/systemd && "
        "printf '[Login]\\nKillUserProcesses=yes\\nKillExcludeUsers=\\n' > /etc/systemd/logind.conf",
        undo="umount /etc/systemd; rm -r /run/systemd",
        cause="systemd ends all processes of a user at the last logout (KillUserProcesses)",
        remedy="ssh -t 10.77.0.12 'sudo loginctl enable-linger root'",
        level="warning",
        stand_in="the files of a systemd that does not run there",
    ),
    Case(
        name="a server has the port",
        check="port",
        host="box1",
        inject="setsid python3 -m http.server 29500 > /dev/null 2>&1 < /dev/null & echo $! > /run/server; "
        "while ! ss -ltn | grep -q :29500; do sleep 0.05; done",
        undo="kill $(cat /run/server)",
        cause="port 29500, where the ranks meet, is in use there by python3 -m http.server 29500 (pid ",
        remedy="""ssh -t 10.77.0.11 'sudo ss -ltnp '"'"'sport = :29500'"'"''""",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def boxes(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    """Three hosts at full speed."""
    with Lab(dict.fromkeys(HOSTS)) as lab:
        yield lab


@pytest.fixture
def config(boxes: Lab, tmp_path: Path) -> Path:
    return boxes.cluster_toml(tmp_path, run={"task": "simple_cnn/digits"})


def check(lab: Lab, config: Path) -> list[dict[str, Any]]:
    done = lab.exec(lab.motley("check", "-c", str(config), "--json"))
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 3), done.stderr
    return list(answer["findings"])


def on(lab: Lab, host: str, command: str) -> None:
    done = lab.ssh(host, command)
    assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name.replace(" ", "-"), marks=() if c.often else pytest.mark.long) for c in CASES],
)
def test_each_is_named_with_host_cause_and_remedy(boxes: Lab, config: Path, case: Case) -> None:
    if case.needs and shutil.which(case.needs) is None:
        not_here(f"no {case.needs} on this machine: apt install nftables")
    try:
        on(boxes, case.host, case.inject)
        (finding,) = check(boxes, config)
        assert (finding["host"], finding["check"], finding["level"]) == (case.host, case.check, case.level)
        assert case.cause in finding["cause"]
        assert case.remedy in finding["remedy"]
        if case.heals:
            on(boxes, case.host, command_in(finding["remedy"]))
            assert check(boxes, config) == []
    finally:
        boxes.ssh(case.host, case.undo)
    assert check(boxes, config) == []


def test_hosts_that_are_off_or_frozen_or_set_up_anew_are_told_apart_at_once(boxes: Lab, config: Path) -> None:
    known = boxes.home / ".ssh/known_hosts"
    lines = known.read_text()
    other = boxes.home / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    key = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    changed = re.sub(r"^(10\.77\.0\.11,box1) .*$", rf"\1 {key}", lines, flags=re.MULTILINE)
    try:
        known.write_text(changed)
        boxes["box2"].freeze()
        boxes["box3"].unplug()
        found = {row["host"]: row for row in check(boxes, config)}
    finally:
        known.write_text(lines)
        boxes["box2"].thaw()
        boxes["box3"].plug()
    assert {name: row["check"] for name, row in found.items()} == {
        "box1": "host_key",
        "box2": "reachable",
        "box3": "reachable",
    }
    assert "Either the machine was set up anew, or another one answers in its place" in found["box1"]["cause"]
    assert "ssh-keygen -f" in found["box1"]["remedy"]
    assert "took the connection and then said nothing" in found["box2"]["cause"]
    assert re.search("no answer from port 22|can't reach port 22", found["box3"]["cause"])
    assert "switched on" in found["box3"]["remedy"]


@pytest.mark.long
def test_a_leader_that_only_its_own_machine_reaches(boxes: Lab, tmp_path: Path) -> None:
    """The console's machine leads, as a demo host: the others would look for it on their own loopback."""
    config = boxes.cluster_toml(tmp_path, cluster={"leader": "here"}, extra=MASTER_LEADS)
    (finding,) = (row for row in check(boxes, config) if row["check"] == "leader")
    assert (finding["host"], finding["level"]) == ("here", "error")
    assert "its address 127.0.0.1 can't be reached from box1, box2, box3" in finding["cause"]


@pytest.mark.long
def test_a_slow_host_is_waited_for_and_not_refused(boxes: Lab, config: Path) -> None:
    """A tenth of a core: its answers take seconds."""
    boxes["box3"].set_quota(0.1)
    try:
        done = boxes.exec(boxes.motley("check", "-c", str(config), "--json"))
    finally:
        boxes["box3"].set_quota(None)
    assert done.returncode == 0, done.stdout + done.stderr


def command_in(remedy: str) -> str:
    """What the remedy's ssh would run on the host; root needs no sudo there."""
    words = remedy[remedy.index("ssh ") :]
    return shlex.split(words)[-1].replace("sudo ", "")
