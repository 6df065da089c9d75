"""The machine itself as a connection: commands over pipes, in sessions and an environment of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motley.remote.config.cluster import Host
from motley.remote.errors import CommandFailed, Unreachable
from motley.remote.hosts.local_connection import LocalConnection

HOST = Host(name="desk", address="", connect="local", python=None)
LEAVES = "import os, sys; os.fork() and os._exit(0); os.setsid(); print(os.getpid(), flush=True); "
LEAVES += "os.close(0); os.close(1); os.close(2); import time; time.sleep(600)"


@pytest.fixture
async def connection(home: Path) -> AsyncIterator[LocalConnection]:  # noqa: ARG001
    made = await LocalConnection.open(HOST)
    yield made
    await made.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_it_runs_in_the_home_with_what_a_login_has(
    connection: LocalConnection, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_CONSOLE", "1")
    assert (await connection.run(["pwd"], timeout_s=20)).stdout == os.fsencode(home) + b"\n"
    lines = (await connection.run(["env"], timeout_s=20)).stdout.decode().splitlines()
    told = dict(line.partition("=")[::2] for line in lines)
    assert (told["HOME"], told["USER"]) == (str(home), told["LOGNAME"])
    assert "/usr/bin" in told["PATH"].split(":")
    assert "OF_THE_CONSOLE" not in told
    (home / "here").mkdir()
    assert (await connection.run(["pwd"], timeout_s=20, cwd="here")).stdout == os.fsencode(home / "here") + b"\n"


async def test_how_a_command_ends_is_told_as_over_ssh(connection: LocalConnection) -> None:
    done = await connection.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout_s=20)
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", "err")
    assert (await connection.run(["sh", "-c", "kill -9 $$"], timeout_s=20)).code == 128 + 9
    missing = await connection.run(["no-such-program"], timeout_s=20)
    assert missing.code == 127
    with pytest.raises(CommandFailed, match="sleep did not end within 0.2 s"):
        await connection.run(["sleep", "600"], timeout_s=0.2)
    with pytest.raises(CommandFailed, match="it sent more than 1,000 bytes"):
        await connection.run(["yes"], timeout_s=20, most=1000)


async def test_much_goes_in_and_comes_out(connection: LocalConnection) -> None:
    data, sent = os.urandom(5_000_000), list[int]()
    done = await connection.run(["cat"], stdin=data, timeout_s=60, sent=sent.append)
    assert done.stdout == data
    assert sent[-1] == len(data)
    assert (await connection.run(["true"], stdin=data, timeout_s=20)).code == 0  # which reads nothing


async def test_lines_are_read_as_they_come(connection: LocalConnection) -> None:
    async with connection.stream(["cat"]) as process:
        await process.write(b"one\ntw")
        lines = process.lines()
        assert await anext(lines) == b"one"
        await process.write(b"o\n")
        assert await anext(lines) == b"two"
        process.close_stdin()
        assert [line async for line in lines] == []
        assert await process.wait() == 0


async def test_each_command_has_a_session_of_its_own(connection: LocalConnection) -> None:
    told = await connection.run(["sh", "-c", "ps -o pid=,sid= -p $$"], timeout_s=20)
    pid, session = told.stdout.split()
    assert pid == session
    assert int(session) != os.getsid(0)


async def test_leaving_a_command_ends_it_and_what_has_left_its_session_lives_on(connection: LocalConnection) -> None:
    async with connection.stream(["sh", "-c", "echo $$; sleep 600; true"]) as process:
        shell = int(await anext(process.lines()))
    assert not is_alive(shell)
    async with connection.stream(["python3", "-c", LEAVES]) as process:
        left = int(await anext(process.lines()))
    try:
        assert is_alive(left)
    finally:
        os.kill(left, 9)


async def test_closing_it_ends_what_is_followed_and_says_so(connection: LocalConnection) -> None:
    lost = asyncio.ensure_future(connection.lost())
    async with connection.stream(["sh", "-c", "echo $$; exec sleep 600"]) as process:
        lines = process.lines()
        pid = int(await anext(lines))
        waits = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(Unreachable, match="the connection was lost: the connection was closed"):
            await waits
    assert not is_alive(pid)
    assert await lost == "the connection was closed"
    assert not connection.is_open
    with pytest.raises(Unreachable, match="the connection was closed"):
        await connection.run(["true"], timeout_s=20)


async def test_a_home_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/no/such/home")
    with pytest.raises(CommandFailed, match="desk: the home folder /no/such/home is not there. Set HOME"):
        await LocalConnection.open(HOST)
