"""Somebody else answers at the leader's address: a rank notices, and tries on until its own coordinator is there."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motley.trainer.contract.spec import Spec
from motley.trainer.rank.coordinator_connection import GREETING_LIMIT, CoordinatorConnection, JoinError, NoAnswer
from tests.trainer.coordinating import BOUND_S, coordinating, dial, ready, spec, until

NONCE = b'{"nonce": "0123456789abcdef"}\n'
FALSE = {
    "nothing": b"",
    "no json": b"HTTP/1.1 400 Bad Request\r\n",
    "no table": b"[]\n",
    "no nonce": b"{}\n",
    "a nonce that is a number": b'{"nonce": 7}\n',
    "a lone surrogate": b'{"nonce": "\\ud800"}\n',
    "a nonce without end": b'{"nonce": "' + b"a" * 3000 + b'"}\n',
    "a line without end": b"x" * (GREETING_LIMIT + 1),
    "nested": b"[" * 4000 + b"\n",
    "bytes that are no text": b"\xff\xfe\n",
    "a proof that is not ASCII": NONCE + '{"proof": "é"}\n'.encode(),
    "a proof that is a lone surrogate": NONCE + b'{"proof": "\\udfff"}\n',
    "a proof that is a table": NONCE + b'{"proof": {}}\n',
    "no proof": NONCE + b"{}\n",
    "a message that is none": NONCE + b"7\n",
}


class Impostor:
    """Says the same to everybody, and hangs up; with `drips` a byte at a time, for ever."""

    def __init__(self, said: bytes, *, drips: bool = False) -> None:
        self.said, self.drips = said, drips
        self.calls = 0
        self.answers: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self.answers[asyncio.current_task()] = writer
        with contextlib.suppress(OSError):
            writer.write(self.said)
            if b"nonce" in self.said:
                await asyncio.wait_for(reader.readline(), BOUND_S)  # so that it hears the proof
            while self.drips and not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    @contextlib.asynccontextmanager
    async def at(self, given: Spec) -> AsyncIterator[None]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", given.port)
        try:
            yield
        finally:
            server.close()
            for writer in self.answers.values():
                writer.transport.abort()
            await asyncio.gather(*filter(None, self.answers))
            await server.wait_closed()


def call(given: Spec, greet_s: float = 5.0) -> CoordinatorConnection:
    return CoordinatorConnection.make(("127.0.0.1", given.port), given, member=0, connect_s=5.0, greet_s=greet_s)


@pytest.mark.parametrize("said", [pytest.param(said, id=name) for name, said in FALSE.items()])
async def test_whatever_a_stranger_says_is_no_answer(said: bytes) -> None:
    given = spec(1)
    async with Impostor(said).at(given):
        with pytest.raises(NoAnswer):
            await asyncio.wait_for(asyncio.to_thread(call, given), BOUND_S)


async def test_a_wrong_proof_is_another_runs_coordinator() -> None:
    given = spec(1)
    async with Impostor(NONCE + b'{"proof": "00"}\n').at(given):
        with pytest.raises(JoinError, match="is not this run's coordinator"):
            await asyncio.wait_for(asyncio.to_thread(call, given), BOUND_S)


async def test_one_deadline_holds_for_a_stranger_that_says_a_byte_now_and_then() -> None:
    given = spec(1)
    async with Impostor(b"", drips=True).at(given):
        with pytest.raises(NoAnswer):
            await asyncio.wait_for(asyncio.to_thread(call, given, 0.3), BOUND_S)


@pytest.mark.parametrize("name", ["a lone surrogate", "a proof that is not ASCII", "nested", "nothing"])
async def test_a_rank_calls_until_its_own_coordinator_answers(name: str, tmp_path: Path) -> None:
    """At its start, and when the line was lost."""
    given, impostor = spec(1), Impostor(FALSE[name])
    async with impostor.at(given):
        dialling = asyncio.ensure_future(asyncio.to_thread(dial, given, 0))
        async with until(lambda: impostor.calls > 1):
            pass
    with contextlib.suppress(asyncio.CancelledError):
        async with coordinating(given, tmp_path) as task:
            line = await asyncio.wait_for(dialling, BOUND_S)
            await asyncio.wait_for(ready(line), BOUND_S)
            task.cancel()
    again = Impostor(FALSE[name])
    async with again.at(given), until(lambda: again.calls > 1):
        pass
    assert "coordinator client: listen" in {thread.name for thread in threading.enumerate()}
    (tmp_path / "again").mkdir()
    async with coordinating(given, tmp_path / "again"):
        await asyncio.wait_for(ready(line), BOUND_S)
        line.ended("finished")
