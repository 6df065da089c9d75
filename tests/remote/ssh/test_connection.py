"""Commands and processes over a real sshd."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import asyncssh
import pytest

from motley.remote.errors import CommandFailed, Unreachable
from motley.remote.ssh import dial
from motley.remote.ssh.connection import SESSIONS, SSHConnection, backoff
from motley.remote.ssh.dial import Dialer
from tests.remote.conftest import host_of, know
from tests.remote.sshd import Sshd, kill

WORDS = ["a b", "it's", "back\\slash\\n", "wow! no", "$HOME `id` $(id)", "*?~[]{}", "é ü", '"q"', "#;&|<>^%", ""]


async def test_every_word_arrives_as_it_was_given(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    result = await connection.run(["printf", r"%s\0", *WORDS], timeout_s=5)
    assert result.stdout.decode().split("\0")[:-1] == WORDS
    assert result.code == 0
    await connection.close()


async def test_input_output_errors_and_codes_come_through(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    data = os.urandom(3_000_000)
    assert (await connection.run(["cat"], stdin=data, timeout_s=20)).stdout == data
    failed = await connection.run(["sh", "-c", "echo \x1b[31mred >&2; exit 7"], timeout_s=5)
    assert (failed.code, failed.stderr, failed.stdout) == (7, "red", b"")
    assert (await connection.run(["sh", "-c", "kill -9 $$"], timeout_s=5)).code == 128 + signal.SIGKILL
    assert (await connection.run(["true"], stdin=data, timeout_s=5)).code == 0  # input that nobody reads
    assert connection.server_address == "127.0.0.1"
    await connection.close()


async def test_no_more_of_an_answer_is_kept_than_it_may_be_long(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    assert len((await connection.run(["head", "-c", "1000", "/dev/zero"], timeout_s=60, most=1000)).stdout) == 1000
    with pytest.raises(CommandFailed, match="box: it sent more than 1,000 bytes"):
        await connection.run(["cat", "/dev/zero"], timeout_s=60, most=1000)
    with pytest.raises(CommandFailed, match="it sent more than 16,777,216 bytes"):
        await connection.run(["cat", "/dev/zero"], timeout_s=60)
    await connection.close()


async def test_no_kerberos_takes_the_place_of_the_host_key(
    sshd: Sshd, dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("asyncssh.connection.GSSClient", lambda *words: asked.append(words))
    await (await SSHConnection.open(host_of(sshd), dialer)).close()
    assert asked == []


async def test_the_reason_for_which_sshd_refuses_a_channel_steers_no_terminal(
    sshd: Sshd, dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motley.remote.ssh.connection.RETRY_S", ())
    connection = await SSHConnection.open(host_of(sshd), dialer)

    async def refused(*_: object, **__: object) -> None:
        raise asyncssh.ChannelOpenError(1, "full\x1b]52;c;aGVsbG8=\x07\x9b31m")

    monkeypatch.setattr(connection._raw, "create_process", refused)
    with pytest.raises(CommandFailed) as failed:
        await connection.run(["true"], timeout_s=5)
    assert failed.value.cause == "sshd starts no further command: full"
    assert "\x1b" not in str(failed.value)
    await connection.close()


async def test_folders_are_relative_to_home(sshd: Sshd, dialer: Dialer) -> None:
    folder = sshd.home / ".motley" / "code" / "it's one"
    folder.mkdir(parents=True)
    tool = sshd.home / "my tool"
    tool.write_text("#!/bin/sh\npwd\n")
    tool.chmod(0o755)
    connection = await SSHConnection.open(host_of(sshd), dialer)
    assert (
        await connection.run(["~/my tool"], cwd=".motley/code/it's one", timeout_s=5)
    ).stdout == f"{folder}\n".encode()
    missing = await connection.run(["true"], cwd=".motley/none", timeout_s=5)
    assert missing.code != 0
    assert "none" in missing.stderr
    await connection.close()


async def test_a_greeting_of_the_login_shell_is_no_output(
    make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer
) -> None:
    greeting = make_sshd('ForceCommand echo Welcome; echo "{\\"v\\": 1}"; sh -c "$SSH_ORIGINAL_COMMAND"')
    refusing = make_sshd("ForceCommand echo This account is not available; exit 1")
    know(home, greeting, refusing)
    connection = await SSHConnection.open(host_of(greeting), dialer)
    assert (await connection.run(["echo", "hello"], timeout_s=5)).stdout == b"hello\n"
    async with connection.stream(["echo", "hello"]) as process:
        assert [line async for line in process.lines()] == [b"hello"]
    await connection.close()
    connection = await SSHConnection.open(host_of(refusing, "box2"), dialer)
    with pytest.raises(CommandFailed, match=r"^box2: .*This account is not available"):
        await connection.run(["echo", "hello"], timeout_s=5)
    await connection.close()


async def test_a_stream_gives_lines_as_they_come_and_takes_input(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    async with connection.stream(
        ["sh", "-c", 'while read x; do echo "got $x"; echo seen >&2; done; exit 3']
    ) as process:
        lines = process.lines()
        for number in range(3):
            await process.write(f"{number}\n".encode())
            assert await lines.__anext__() == f"got {number}".encode()
        process.close_stdin()
        assert [line async for line in lines] == []
        assert await process.wait() == 3
        assert process.stderr_tail == "seen\nseen\nseen"
    await connection.close()


async def test_a_stream_of_many_errors_does_not_block_its_output(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    script = "head -c 4000000 /dev/zero | tr '\\0' x >&2; echo done; printf 'no newline'"
    async with connection.stream(["sh", "-c", script]) as process:
        assert [line async for line in process.lines()] == [b"done", b"no newline"]
        assert len(process.stderr_tail) <= 8192
    await connection.close()


async def test_more_commands_at_once_than_sshd_allows(
    make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer
) -> None:
    server = make_sshd("MaxSessions 10")
    know(home, server)
    connection = await SSHConnection.open(host_of(server), dialer)
    results = await asyncio.gather(*(connection.run(["echo", str(n)], timeout_s=20) for n in range(4 * SESSIONS)))
    assert [result.stdout for result in results] == [f"{n}\n".encode() for n in range(4 * SESSIONS)]
    await connection.close()


async def test_more_connections_at_once_than_sshd_allows(
    make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer
) -> None:
    server = make_sshd("MaxStartups 10:100:10")
    know(home, server)
    opened = await asyncio.gather(*(SSHConnection.open(host_of(server, f"box{n}"), dialer) for n in range(30)))
    assert all(connection.is_open for connection in opened)
    await asyncio.gather(*(connection.close() for connection in opened))


async def test_a_command_that_does_not_end_is_given_up(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    with pytest.raises(CommandFailed, match="sleep did not end within 0.2 s"):
        await connection.run(["sleep", "60"], timeout_s=0.2)
    assert (await connection.run(["echo", "still there"], timeout_s=5)).code == 0
    await connection.close()


async def _session_of(connection: SSHConnection) -> int:
    """The pid of the sshd that serves this connection."""
    return int((await connection.run(["sh", "-c", "echo $PPID"], timeout_s=5)).stdout)


async def test_a_killed_server_is_noticed_by_all_who_wait(sshd: Sshd, dialer: Dialer) -> None:
    connection = await SSHConnection.open(host_of(sshd), dialer)
    session = await _session_of(connection)
    async with connection.stream(["sh", "-c", "echo up; exec sleep 60"]) as process:
        lines = process.lines()
        assert await lines.__anext__() == b"up"
        running = asyncio.ensure_future(connection.run(["cat", "/dev/zero"], timeout_s=30))
        kill(session)
        with pytest.raises(Unreachable, match="^box: the connection was lost"):
            await asyncio.wait_for(lines.__anext__(), 5)
        with pytest.raises(Unreachable, match="^box: the connection was lost"):
            await running
    assert await asyncio.wait_for(connection.lost(), 5)
    assert not connection.is_open
    with pytest.raises(Unreachable, match="^box: the connection was lost"):
        await connection.run(["true"], timeout_s=5)


async def test_a_frozen_server_is_noticed(sshd: Sshd, dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dial.KEEPALIVE_S * (dial.KEEPALIVE_COUNT + 1) <= 8
    monkeypatch.setattr(dial, "KEEPALIVE_S", 0.2)
    connection = await SSHConnection.open(host_of(sshd), dialer)
    session = await _session_of(connection)
    os.kill(session, signal.SIGSTOP)
    try:
        await asyncio.wait_for(connection.lost(), 5)
        assert not connection.is_open
    finally:
        kill(session)


async def test_three_hosts_share_one_connection_to_their_jump_host(
    make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer
) -> None:
    jump, target = make_sshd(), make_sshd()
    know(home, jump, target)
    (home / ".ssh" / "config").write_text(f"Host 127.0.0.1\n  IdentityFile {jump.user_key}\n")
    way = f"{jump.user}@127.0.0.1:{jump.port}"
    hosts = [host_of(target, f"box{n}", jump=way) for n in range(3)]
    opened = await asyncio.gather(*(SSHConnection.open(host, dialer) for host in hosts))
    results = await asyncio.gather(*(connection.run(["echo", "hi"], timeout_s=5) for connection in opened))
    assert [result.stdout for result in results] == [b"hi\n"] * 3
    assert (jump.log.count("Accepted publickey"), target.log.count("Accepted publickey")) == (1, 3)
    await asyncio.gather(*(connection.close() for connection in opened))


async def test_the_users_ssh_config_is_honoured(make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer) -> None:
    server = make_sshd()
    (home / ".ssh").mkdir()
    (home / "my keys").write_text(f"box-alias {server.host_key.with_suffix('.pub').read_text()}")
    config = f"""
        Host mybox
          HostName 127.0.0.1
          Port {server.port}
          User {server.user}
          IdentityFile {home}/not-there
          IdentityFile {server.user_key}
          HostKeyAlias box-alias
          UserKnownHostsFile "~/my keys"
          SomeNewOption yes
          RequestTTY force
          RemoteCommand tmux
    """
    (home / ".ssh" / "config").write_text(config)
    host = host_of(server, address="mybox", port=None, user=None, identity=None)
    connection = await SSHConnection.open(host, dialer)
    assert (await connection.run(["echo", "hi"], timeout_s=5)).stdout == b"hi\n"
    await connection.close()


async def test_a_key_with_a_passphrase_comes_from_the_agent(
    sshd: Sshd, dialer: Dialer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, text=True)
    try:
        assert agent.stdout is not None
        assert agent.stdout.readline()  # it listens by now
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(sshd.user_key)], check=True, capture_output=True)
        change = ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(sshd.user_key)]
        subprocess.run(change, check=True, capture_output=True)
        for identity in (None, str(sshd.user_key)):
            connection = await SSHConnection.open(host_of(sshd, identity=identity), dialer)
            assert (await connection.run(["echo", "hi"], timeout_s=5)).stdout == b"hi\n"
            await connection.close()
    finally:
        agent.terminate()
        agent.communicate(timeout=5)


async def test_an_agent_that_is_gone_does_no_harm(
    sshd: Sshd, dialer: Dialer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    await (await SSHConnection.open(host_of(sshd), dialer)).close()


async def test_motleys_own_known_hosts_counts_and_bad_lines_do_not(
    make_sshd: Callable[..., Sshd], home: Path, dialer: Dialer
) -> None:
    server = make_sshd()
    (home / ".motley").mkdir()
    (home / ".motley" / "known_hosts").write_text("half a line\n" + server.known_line)
    await (await SSHConnection.open(host_of(server), dialer)).close()


def test_backoff_grows_to_five_seconds_and_is_spread() -> None:
    assert [round(delay, 2) for delay in islice(backoff(lambda: 1.0), 7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [round(delay, 2) for delay in islice(backoff(lambda: 0.0), 7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5]
