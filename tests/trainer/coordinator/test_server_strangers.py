"""Who has not proved that it belongs to the run costs the coordinator little, and keeps no rank out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.spec import Spec
from motley.trainer.coordinator import base_coordinator, server
from motley.trainer.coordinator.refusals import EVERY_S, Refusals
from motley.trainer.coordinator.server import GREETING_LIMIT, STRANGERS, CoordinatorServer
from motley.trainer.host.open_files import raise_limit
from tests.support.no_more_files import no_more_files
from tests.trainer.coordinating import BOUND_S, coordinating, dial, events, ready, spec, until

JUNK = b"x" * (GREETING_LIMIT - 1)  # as much as is kept
MOST_CALLS = 3000


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[CoordinatorServer]:
    """Of every coordinator that is started."""
    made: list[CoordinatorServer] = []

    class Noted(CoordinatorServer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(base_coordinator, "CoordinatorServer", Noted)
    return made


@contextlib.asynccontextmanager
async def flood(given: Spec) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Callers that hold on to their connections and say junk, one after another until it is left."""
    made: list[asyncio.StreamWriter] = []

    async def call() -> None:
        while len(made) < MOST_CALLS:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", given.port)
                writer.write(JUNK)
                made.append(writer)
            await asyncio.sleep(0)

    calling = asyncio.create_task(call())
    try:
        yield made
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        for writer in made:
            writer.transport.abort()


def told(folder: Path) -> list[str]:
    return [event["text"] for event in events(folder, "note") if "caller" in event["text"]]


async def test_a_flood_of_strangers_costs_little_and_keeps_no_rank_out(
    tmp_path: Path, servers: list[CoordinatorServer]
) -> None:
    given = spec(2)
    async with coordinating(given, tmp_path), flood(given) as made:
        async with until(lambda: len(made) > 3 * STRANGERS):
            pass
        lines = await asyncio.gather(*(asyncio.to_thread(dial, given, member) for member in range(2)))
        groups = await asyncio.wait_for(asyncio.gather(*(ready(line) for line in lines)), BOUND_S)
        assert [group.members for group in groups] == [(0, 1)] * 2
        (running,) = servers
        async with until(lambda: len(running.calls) <= STRANGERS + 4):  # those that make way are closed
            pass
        assert len(running.strangers) <= STRANGERS + 2
        assert sum(len(call._buffer) for call in running.strangers) <= GREETING_LIMIT * (STRANGERS + 2)
        assert len(told(tmp_path)) == 1
        for line in lines:
            line.ended("finished")
    _, rest = told(tmp_path)  # as a number, at the end
    assert int(rest.split()[0]) >= len(made) - STRANGERS - 10


async def test_a_stranger_that_says_a_line_without_an_end_is_hung_up_on(tmp_path: Path) -> None:
    given = spec(1)
    async with coordinating(given, tmp_path):
        reader, writer = await asyncio.open_connection("127.0.0.1", given.port)
        assert "nonce" in json.loads(await reader.readline())
        with contextlib.suppress(OSError):
            for _ in range(100):
                writer.write(JUNK)
                await writer.drain()
            assert await asyncio.wait_for(reader.read(), BOUND_S) == b""
        writer.close()
        line = await asyncio.to_thread(dial, given, 0)
        await ready(line)
        line.ended("finished")
    assert told(tmp_path) == ["a caller: connection to the coordinator: a line without an end"]


async def test_without_a_free_descriptor_callers_wait_and_nothing_is_logged_again_and_again(
    tmp_path: Path, servers: list[CoordinatorServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PAUSE_S", 0.05)
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    given = spec(1)
    async with coordinating(given, tmp_path):
        async with until(lambda: bool(servers)):
            pass
        (running,) = servers
        pauses: list[float] = []
        later = running._later

        def noted(name: str, seconds: float, act: Callable[[], None]) -> None:
            pauses.append(seconds)
            later(name, seconds, act)

        monkeypatch.setattr(running, "_later", noted)
        with socket.socket() as caller:
            with no_more_files():
                caller.connect(("127.0.0.1", given.port))
                async with until(lambda: pauses.count(0.05) > 2):
                    pass
                assert not running.strangers
            caller.settimeout(BOUND_S)
            line = await asyncio.to_thread(dial, given, 0)
            await ready(line)
            line.ended("finished")
    assert broken == []
    first, rest = told(tmp_path)
    assert first.startswith("callers have to wait: ")
    assert "Too many open files" in first
    assert "more caller" in rest


def test_refusals_are_told_of_once_a_minute() -> None:
    refusals = Refusals()
    lines = [refusals.add(f"caller {n}", now=n / 10) for n in range(10_000)]  # no timer comes between
    assert [line for line in lines if line] == ["caller 0"]
    assert refusals.look(now=EVERY_S - 0.1) is None
    line = refusals.look(now=1000.0)
    assert line is not None
    assert line.startswith("9999 more callers were refused")
    assert refusals.add("caller 10000", now=1001.0) is None  # within a minute of that line
    assert refusals.look(now=1060.0) is not None
    assert refusals.look(now=1120.0) is None
    assert refusals.due_at is None
    assert refusals.add("another", now=1121.0) == "another"


def test_the_limit_of_open_files_is_raised_as_far_as_is_granted() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(before[1], 1 << 16)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
