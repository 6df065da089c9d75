"""Every way in which a connection can't be had: the host, the cause and a remedy to paste, in time."""

from __future__ import annotations

import asyncio
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motley.remote.config.cluster import Host
from motley.remote.errors import AuthenticationFailed, HostError, HostKeyChanged, HostKeyUnknown, Unreachable
from motley.remote.ssh import dial
from motley.remote.ssh.connection import SSHConnection
from motley.remote.ssh.dial import Dialer
from tests.remote.conftest import host_of, know
from tests.remote.sshd import Sshd, make_key


async def failure(host: Host, dialer: Dialer) -> HostError:
    with pytest.raises(HostError) as caught:
        await SSHConnection.open(host, dialer)
    assert caught.value.host == host.name
    assert str(caught.value).startswith(f"{host.name}: ")
    assert caught.value.remedy
    return caught.value


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_unknown_host_key(make_sshd: Callable[..., Sshd], dialer: Dialer) -> None:
    server = make_sshd()
    error = await failure(host_of(server), dialer)
    assert isinstance(error, HostKeyUnknown)
    assert server.fingerprint in error.cause
    assert f"ssh -i {server.user_key} -p {server.port} -l {server.user} 127.0.0.1 true" in error.remedy


async def test_changed_host_key_and_its_remedy(sshd: Sshd, home: Path, dialer: Dialer, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known = home / ".ssh" / "known_hosts"
    known.write_text(f"# a comment\n[127.0.0.1]:{sshd.port} {other}")
    error = await failure(host_of(sshd), dialer)
    assert isinstance(error, HostKeyChanged)
    assert f"{known}:2" in error.cause
    assert sshd.fingerprint in error.cause
    forget = re.search(r"ssh-keygen .*? &&", error.remedy)
    assert forget is not None
    subprocess.run(shlex.split(forget[0])[:-1], check=True, capture_output=True)
    assert isinstance(await failure(host_of(sshd), dialer), HostKeyUnknown)  # read anew by the same dialer
    know(home, sshd)
    await (await SSHConnection.open(host_of(sshd), dialer)).close()


async def test_known_key_of_another_kind(sshd: Sshd, home: Path, dialer: Dialer, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "ecdsa").with_suffix(".pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    assert isinstance(await failure(host_of(sshd), dialer), HostKeyChanged)


async def test_the_key_of_another_machine_at_this_address_proves_nothing(
    sshd: Sshd, home: Path, dialer: Dialer
) -> None:
    key = sshd.host_key.with_suffix(".pub").read_text()
    (home / ".ssh" / "config").write_text("Host box\n  HostName localhost\n  AddressFamily inet\n")
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {key}")
    assert isinstance(await failure(host_of(sshd, address="box"), dialer), HostKeyUnknown)


async def test_no_config_switches_host_keys_off(make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("UserKnownHostsFile none\nStrictHostKeyChecking no\n")
    assert isinstance(await failure(host_of(make_sshd()), dialer), HostKeyUnknown)


async def test_revoked_host_key(sshd: Sshd, home: Path, dialer: Dialer) -> None:
    (home / ".ssh" / "known_hosts").write_text(f"{sshd.known_line}@revoked {sshd.known_line}")
    error = await failure(host_of(sshd), dialer)
    assert isinstance(error, HostKeyChanged)
    assert "revoked" in error.cause


async def test_wrong_user(sshd: Sshd, dialer: Dialer) -> None:
    error = await failure(host_of(sshd, user="nobody-here"), dialer)
    assert isinstance(error, AuthenticationFailed)
    assert "nobody-here may not log in on 127.0.0.1" in error.cause
    assert str(sshd.user_key) in error.cause
    assert f"ssh-copy-id -i {sshd.user_key} -p {sshd.port} nobody-here@127.0.0.1" in error.remedy


async def test_no_key_at_all(sshd: Sshd, dialer: Dialer) -> None:
    error = await failure(host_of(sshd, identity=None), dialer)
    assert isinstance(error, AuthenticationFailed)
    assert "there is no key in ~/.ssh and no SSH agent" in error.cause
    assert error.remedy.count("ssh-keygen -t ed25519 && ssh-copy-id") == 1


async def test_key_with_a_passphrase_prompts_for_nothing(sshd: Sshd, dialer: Dialer) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(sshd.user_key)], check=True, capture_output=True
    )
    error = await failure(host_of(sshd), dialer)
    assert isinstance(error, AuthenticationFailed)
    assert f"ssh-add {sshd.user_key}" in error.remedy


async def test_identity_that_is_not_there_or_no_key(sshd: Sshd, dialer: Dialer, tmp_path: Path) -> None:
    missing = await failure(host_of(sshd, identity=str(tmp_path / "no thing")), dialer)
    assert "no thing is not there" in missing.cause
    assert missing.remedy.endswith(f"ssh-keygen -t ed25519 -f '{tmp_path}/no thing'")
    (tmp_path / "text").write_text("this is no key")
    assert "can't be read" in (await failure(host_of(sshd, identity=str(tmp_path / "text")), dialer)).cause


async def test_closed_port(dialer: Dialer, unused_port: int) -> None:
    error = await failure(Host(name="box", address="127.0.0.1", port=unused_port), dialer)
    assert isinstance(error, Unreachable)
    assert f"nothing listens on port {unused_port} of 127.0.0.1" in error.cause
    error = await failure(Host(name="box", address="localhost", port=unused_port), dialer)
    assert f"nothing listens on port {unused_port} of localhost" in error.cause


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Nobody else gets it meanwhile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


async def test_no_answer_in_time(silent: int, dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dial.CONNECT_S <= 5
    assert dial.DEADLINE_S < 10
    monkeypatch.setattr(dial, "CONNECT_S", 0.3)
    error = await failure(Host(name="box", address="127.0.0.1", port=silent), dialer)
    assert isinstance(error, Unreachable)
    assert f"port {silent} of 127.0.0.1 took the connection and then said nothing for 0.3 s" in error.cause


async def test_many_hosts_behind_a_dead_gate_are_bounded(
    silent: int, dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "CONNECT_S", 0.3)
    monkeypatch.setattr(dial, "DEADLINE_S", 0.5)
    hosts = [Host(name=f"box{n}", address="127.0.0.1", port=silent) for n in range(30)]
    errors = await asyncio.wait_for(asyncio.gather(*(failure(host, dialer) for host in hosts)), 30)
    assert {type(error) for error in errors} == {Unreachable}


async def test_a_name_that_can_not_be_resolved(dialer: Dialer) -> None:
    error = await failure(Host(name="box", address="no such name", port=22), dialer)
    assert isinstance(error, Unreachable)
    assert "can't be resolved" in error.cause


async def test_something_else_than_ssh_listens(dialer: Dialer) -> None:
    async def web(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(Host(name="box", address="127.0.0.1", port=port), dialer)
        assert isinstance(error, Unreachable)
        assert f"port {port}" in error.cause


async def test_the_jump_host_fails(sshd: Sshd, dialer: Dialer, unused_port: int) -> None:
    error = await failure(host_of(sshd, jump=f"127.0.0.1:{unused_port}"), dialer)
    assert isinstance(error, Unreachable)
    assert f"by way of the jump host 127.0.0.1: nothing listens on port {unused_port}" in error.cause
    assert "can't be read" in (await failure(host_of(sshd, jump="a b:c:d"), dialer)).cause


async def test_the_target_behind_the_jump_host_fails(sshd: Sshd, home: Path, dialer: Dialer, unused_port: int) -> None:
    (home / ".ssh" / "config").write_text(f"Host 127.0.0.1\n  IdentityFile {sshd.user_key}\n")
    error = await failure(host_of(sshd, port=unused_port, jump=f"127.0.0.1:{sshd.port}"), dialer)
    assert isinstance(error, Unreachable)
    assert f"the jump host can't reach port {unused_port} of 127.0.0.1" in error.cause


async def test_an_ssh_config_that_can_not_be_read(sshd: Sshd, home: Path, dialer: Dialer) -> None:
    (home / ".ssh" / "config").write_text("Host *\n  Port many\n")
    error = await failure(host_of(sshd, port=None), dialer)
    assert "config line 2: Invalid Port" in error.cause
