"""Demo hosts behave as a real sshd does, as far as a trainer can tell."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import CommandFailed, HostKeyChanged, Unreachable
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.ssh.connection import SSHConnection
from motley.remote.ssh.demo_hosts import DemoHosts
from motley.remote.ssh.dial import Dialer
from motley.remote.ssh.route import Endpoint
from tests.remote.conftest import MakeCluster

DAEMON = """
import os, time
pid = os.fork()
if pid == 0:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    while True:
        time.sleep(60)
print(pid)
"""


def demo_cluster(make_cluster: MakeCluster, count: int = 1) -> Cluster:
    hosts = "".join(f'[[hosts]]\nname = "box{n}"\n' for n in range(count))
    return make_cluster('[cluster]\nname = "demo"\nconnect = "demo"\n' + hosts)


async def open_one(cluster: Cluster, demo: DemoHosts) -> SSHConnection:
    return await SSHConnection.open(cluster.hosts[0], Dialer(demo.endpoints))


def nothing(_: Progress) -> None:
    """For those who don't watch."""


async def test_ten_megabytes_each_way_unharmed(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)
    async with DemoHosts(cluster) as demo:
        connection = await open_one(cluster, demo)
        data = os.urandom(10_000_000)
        assert (await connection.run(["cat"], stdin=data, timeout_s=60)).stdout == data
        await connection.close()


async def test_codes_signals_and_errors(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)
    async with DemoHosts(cluster) as demo:
        connection = await open_one(cluster, demo)
        failed = await connection.run(["sh", "-c", "echo no >&2; exit 7"], timeout_s=10)
        assert (failed.code, failed.stderr) == (7, "no")
        assert (await connection.run(["sh", "-c", "kill -9 $$"], timeout_s=10)).code == 128 + signal.SIGKILL
        assert (await connection.run(["true"], stdin=bytes(3_000_000), timeout_s=10)).code == 0
        await connection.close()


async def test_a_home_and_an_environment_of_its_own(
    make_cluster: MakeCluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "never sent")
    cluster = demo_cluster(make_cluster)
    async with DemoHosts(cluster) as demo:
        connection = await open_one(cluster, demo)
        words = (await connection.run(["env"], timeout_s=10)).stdout.decode().splitlines()
        told = dict(word.split("=", 1) for word in words)
        folder = (await connection.run(["pwd"], timeout_s=10)).stdout.decode().strip()
        await connection.close()
    assert folder == told["HOME"] == str(demo.folder / "box0")
    assert Path(folder).is_relative_to(home / ".motley" / "demo")
    assert told["SSH_CONNECTION"].split()[2] == "127.0.0.1"
    assert {"PATH", "USER", "LANG"} < set(told)
    assert "SOME_TOKEN" not in told
    assert Path(folder).stat().st_mode & 0o777 == 0o700


async def test_two_consoles_serve_the_same_hosts(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster, 2)
    async with Hosts(cluster) as one, Hosts(cluster) as two:
        await asyncio.gather(one.connect(nothing), two.connect(nothing))
        await (await one.get("box1")).run(["touch", "seen"], timeout_s=10)
        assert (await (await two.get("box1")).run(["ls"], timeout_s=10)).stdout == b"seen\n"


async def test_a_daemon_lives_on_and_a_command_does_not(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)
    hosts = Hosts(cluster)
    connection = await hosts.get("box0")
    daemon = int((await connection.run([sys.executable, "-"], stdin=DAEMON.encode(), timeout_s=20)).stdout)
    try:
        async with connection.stream(["sh", "-c", "echo $$; exec sleep 60"]) as process:
            command = int(await process.lines().__anext__())
            assert _alive(command)
            await asyncio.wait_for(hosts.close(), 10)
        assert not _alive(command)
        assert _alive(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


async def test_a_closed_channel_ends_its_command(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)
    async with Hosts(cluster) as hosts:
        connection = await hosts.get("box0")
        async with connection.stream(["sh", "-c", "echo $$; exec sleep 60"]) as process:
            command = int(await process.lines().__anext__())
        assert (await connection.run(["echo", "on"], timeout_s=10)).stdout == b"on\n"
    assert not _alive(command)


async def test_a_command_that_is_ended_while_it_prints_leaves_no_pipe_open(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)

    def pipes() -> int:
        return sum(os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:") for fd in open_files())

    def open_files() -> list[str]:
        return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]

    before = pipes()
    gc.disable()  # what it would close by chance
    try:
        async with DemoHosts(cluster) as demo:
            connection = await open_one(cluster, demo)
            async with connection.stream(["cat", "/dev/zero"]) as process:
                with pytest.raises(CommandFailed, match="more than 20,000,000 bytes"):
                    await process.read_to(lambda _: None, 20_000_000)
            await connection.close()
        assert pipes() == before
    finally:
        gc.enable()


async def test_hosts_opens_a_lost_connection_again(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)
    async with Hosts(cluster) as hosts:
        first = await hosts.get("box0")
        assert await hosts.get("box0") is first
        await first.close()
        second = await hosts.get("box0")
        assert second is not first
        assert (await second.run(["echo", "back"], timeout_s=10)).stdout == b"back\n"


async def test_a_hundred_hosts_connect(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster, 100)
    seen: list[Progress] = []
    async with Hosts(cluster) as hosts:
        outcomes = await asyncio.wait_for(hosts.connect(seen.append), 60)
        assert all(isinstance(outcome, SSHConnection) for outcome in outcomes.values())
    assert {record.host for record in seen if record.done and not record.failed} == set(outcomes)


async def test_host_keys_are_strict_for_demo_hosts_too(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster, 2)
    async with DemoHosts(cluster) as demo:
        one, two = demo.endpoints["box0"], demo.endpoints["box1"]
        swapped = Endpoint(address=one.address, port=one.port, user=one.user, key=one.key, host_key=two.host_key)
        with pytest.raises(HostKeyChanged, match="^box0: "):
            await SSHConnection.open(cluster.hosts[0], Dialer({"box0": swapped}))


async def test_after_closing_nothing_listens(make_cluster: MakeCluster) -> None:
    cluster = demo_cluster(make_cluster)
    async with DemoHosts(cluster) as demo:
        endpoints = dict(demo.endpoints)
    with pytest.raises(Unreachable, match="nothing listens"):
        await SSHConnection.open(cluster.hosts[0], Dialer(endpoints))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
