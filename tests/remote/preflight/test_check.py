"""The preflight over SSH: hosts are asked and judged in one go, and nothing is started."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.remote.errors import Finding
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.preflight import check as preflight_check
from motley.remote.preflight.check import check
from tests.remote.conftest import MakeCluster, know
from tests.remote.sshd import Sshd, make_key

CONNECT_S = 12.0  # a test's hosts share its machine, with whatever else is at work there


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_check, "CHECK_S", 120.0)


async def test_every_fault_at_once_over_real_ssh(
    make_sshd: Callable[..., Sshd], make_cluster: MakeCluster, home: Path, tmp_path: Path
) -> None:
    """The faults a first cluster has, one a host, all found in one go."""
    good, unknown, changed = make_sshd(), make_sshd(), make_sshd()
    know(home, good)
    with (home / ".ssh" / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{changed.port} {make_key(tmp_path / 'other').with_suffix('.pub').read_text()}")
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\necho \'motley:{"python": "2.7.18"}\'\n')
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'cannot load libpython' >&2; exit 1\n")
    for script in (old, broken):
        script.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        hosts = {
            "good": (good, sys.executable, {}),
            "bare": (good, str(bare / "bin/python"), {"address": "localhost"}),
            "no-python": (good, "/opt/none/python", {"address": "127.0.0.2"}),
            "old": (good, str(old), {"address": "127.0.0.3"}),
            "broken": (good, str(broken), {"address": "127.0.0.4"}),
            "stranger": (unknown, sys.executable, {}),
            "changed": (changed, sys.executable, {}),
            "user": (good, sys.executable, {"user": "nobody-here"}),
            "closed": (good, sys.executable, {"port": free.getsockname()[1]}),
            "silent": (good, sys.executable, {"port": silent.getsockname()[1]}),
        }
        (home / ".ssh" / "config").write_text(
            f"Host localhost 127.0.0.*\n  HostName 127.0.0.1\n  IdentityFile {good.user_key}\n"
        )
        text = '[cluster]\nname = "lab"\nleader = "good"\n'
        for name, (server, python, changes) in hosts.items():
            keys: dict[str, object] = {"name": name, "address": "127.0.0.1", "port": server.port, "python": python}
            text += "[[hosts]]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in {**keys, **changes}.items())
        cluster = make_cluster(text)
        records: list[Progress] = []
        async with Hosts(cluster, CONNECT_S) as pool:
            result = await check(pool, records.append)
    found: dict[str, list[Finding]] = {name: [] for name in hosts}
    for finding in result.findings:
        found[finding.host].append(finding)
    assert {name: [f.check for f in findings] for name, findings in found.items()} == {
        "good": [],
        "bare": ["torch", "machine"],  # the same sshd as good, under another name
        "no-python": ["python"],
        "old": ["python"],
        "broken": ["python"],
        "stranger": ["host_key"],
        "changed": ["host_key"],
        "user": ["authentication"],
        "closed": ["reachable"],
        "silent": ["reachable"],
    }
    causes = {name: findings[0].cause for name, findings in found.items() if findings}
    assert causes["no-python"] == "the Python '/opt/none/python' is not there"
    assert "Python 2.7.18" in causes["old"]
    assert "cannot load libpython" in causes["broken"]
    assert unknown.fingerprint in causes["stranger"]
    assert changed.fingerprint in causes["changed"]
    assert "nobody-here" in causes["user"]
    assert not result.ok
    assert result.leader_address == "127.0.0.1"
    assert (result.probes["good"].address, result.probes["good"].interface) == ("127.0.0.1", "lo")
    assert {record.host for record in records if record.done and record.failed} == set(hosts) - {"good", "bare"}


async def test_all_in_order_on_demo_hosts(make_cluster: MakeCluster) -> None:
    hosts = "".join(f'[[hosts]]\nname = "box{n}"\n' for n in range(3))
    cluster = make_cluster('[cluster]\nname = "demo"\nconnect = "demo"\n' + hosts)
    async with Hosts(cluster) as pool:
        result = await check(pool, lambda _: None)
    assert result.ok
    assert result.findings == ()
    assert [probe.executable for probe in result.probes.values()] == [sys.executable] * 3
    assert all(probe.torch and probe.cores >= 1 and probe.boot_id for probe in result.probes.values())


async def test_a_host_that_connects_and_never_answers_is_not_waited_for(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps = tmp_path / "sleeps"
    sleeps.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeps.chmod(0o755)
    monkeypatch.setattr(preflight_check, "CHECK_S", 0.5)
    text = f'[cluster]\nname = "demo"\nconnect = "demo"\n[[hosts]]\nname = "box0"\npython = "{sleeps}"\n'
    async with Hosts(make_cluster(text)) as pool:
        (finding,) = (await check(pool, lambda _: None)).findings
    assert (finding.host, finding.check, finding.level) == ("box0", "reachable", "error")
    assert finding.cause == "it had not answered after 0.5 s"


async def test_the_data_of_a_task_of_the_user_s_own_lies_where_path_says_or_nowhere(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    """Its file has a name such as `tasks/digits.py`, which is no data set's."""

    async def found(data: str) -> list[tuple[str, str, str]]:
        text = '[cluster]\nname = "demo"\nconnect = "demo"\n[run]\ntask = "tasks/digits.py"\n'
        async with Hosts(make_cluster(f'{text}[[hosts]]\nname = "box0"\n[data]\n{data}')) as pool:
            return [(f.check, f.level, f.cause) for f in (await check(pool, lambda _: None)).findings]

    assert await found(f'path = "{tmp_path}"') == []
    missing = "[data] path is not to be had, /no/such: No such file or directory"
    assert await found('path = "/no/such"') == [("data", "warning", f"{missing}: your task finds none there")]
    lost = f"{missing}, and [data] download is off"
    assert await found('path = "/no/such"\ndownload = false') == [("data", "error", lost)]
    assert await found("download = false") == []


async def test_of_a_part_nobody_else_is_asked_and_who_leads_a_run_may_hold_its_port(make_cluster: MakeCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        hosts = "".join(f'[[hosts]]\nname = "box{n}"\n' for n in range(3))
        port = held.getsockname()[1]
        cluster = make_cluster(f'[cluster]\nname = "demo"\nconnect = "demo"\nport = {port}\n{hosts}')
        part = dataclasses.replace(cluster, leader="box1", hosts=cluster.hosts[1:])
        seen: list[Progress] = []
        async with Hosts(cluster) as pool:
            alone = await check(pool, seen.append, part)
            joining = await check(pool, seen.append, part, joins="night")
    assert [(f.host, f.check, f.level) for f in alone.findings] == [("box1", "port", "error")]
    assert joining.findings == ()
    assert set(joining.probes) == {record.host for record in seen} == {"box1", "box2"}


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'
