"""A member whose words make no sense: its line ends, and the coordinator goes on. A last word is heard."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.coordinator.members import MemberConnection
from motley.trainer.coordinator.task_coordinator import TaskCoordinator
from motley.trainer.supervisor.coordinator_socket import listen
from tests.fuzz.test_coordinator import WELL, converse
from tests.trainer.coordinating import all_in_a_group, coordinating, events, spec, summary

READY = json.dumps(WELL[0])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('{"op": "beat", "step": 1e999, "arrived": 0}', id="endless"),
        pytest.param('{"op": "beat", "step": true, "arrived": 0}', id="a truth value"),
        pytest.param('{"op": ' + "[" * 900 + "]" * 900 + "}", id="nested as deep as it can be read"),
        pytest.param("[" * 100_000, id="nested deeper"),
        pytest.param('{"op": "phase", "phase": {"a": 1}}', id="a table for a text"),
        pytest.param(json.dumps({"op": "phase", "phase": "x" * 100_000}), id="a text without end"),
        pytest.param(READY.replace("1.0", '"slow"'), id="a time that is none"),
        pytest.param(READY.replace("1.0", "NaN"), id="a time that is no number"),
        pytest.param(READY.replace('{"import_s": 1.0}', "[1]"), id="times that are no table"),
        pytest.param(READY.replace('["127.0.0.1", 1]', '"ab"'), id="a store that is none"),
        pytest.param('{"op": "report", "steps": [[1, 8, 1.0, 0.1]], "batches": [[1' + "0" * 400 + "]]}", id="huge"),
        pytest.param(
            '{"op": "report", "steps": [], "batches": [], "fits": {"a": ' + "[" * 50 + "]" * 50 + "}}", id="fits"
        ),
        pytest.param('{"op": "resumed", "generation": 1, "pause_s": NaN}', id="a pause that is no number"),
        pytest.param('{"op": "ended", "state": ["finished"]}', id="an end that is none"),
        pytest.param("[]", id="no table"),
    ],
)
def test_what_makes_no_sense_ends_that_line_alone(line: str, tmp_path: Path) -> None:
    """Some of it would have ended the coordinator later, when it formed a group or wrote the summary."""
    asyncio.run(converse(False, {1: [line, READY], 2: [READY]}, tmp_path))
    notes = [json.loads(text) for text in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    (refused,) = [note["text"] for note in notes if "connection to the coordinator" in note["text"]]
    assert refused.startswith("rank 1: ")
    assert len(refused) < 500


async def test_a_coordinator_whose_clockwork_fails_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor starts another one; the run would hang otherwise."""

    def fail(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(TaskCoordinator, "_tick", fail)
    with pytest.raises(RuntimeError, match="out of order"):
        async with coordinating(spec(1), tmp_path):
            pass


async def test_a_line_that_comes_byte_by_byte_is_one_line(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.setblocking(False)
        running = asyncio.create_task(TaskCoordinator(spec(1), tmp_path).run(listener))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        await reader.readline()
        for byte in b'{"member": 0}\n':
            writer.write(bytes([byte]))
            await writer.drain()
        assert await reader.read() == b""
        writer.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert "KeyError('host')" in (tmp_path / "events.jsonl").read_text()


async def test_the_last_word_of_a_rank_is_heard_though_its_connection_breaks_while_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of its words came in one piece: the second must count although the answer to the first can't be sent."""
    given, received = spec(3), TaskCoordinator.received

    def answer(self: TaskCoordinator, connection: MemberConnection, message: dict[str, Any]) -> None:
        if message.get("phase") == "leaving":
            hung_up(connection.transport)
        received(self, connection, message)

    def hung_up(transport: asyncio.WriteTransport | None) -> None:
        assert transport is not None
        lines[1]._call._socket.shutdown(socket.SHUT_RDWR)
        for _ in range(1000):
            if transport.is_closing():
                return
            transport.write(b"\n")
        raise AssertionError("what is sent to a rank that has hung up breaks its connection")

    monkeypatch.setattr(TaskCoordinator, "received", answer)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[1]._closed.set()  # it does not call again
        last = [{"op": "phase", "phase": "leaving"}, {"op": "ended", "state": "finished"}]
        lines[1]._call._socket.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in last))
        for number in (0, 2):
            lines[number].ended("finished")
    assert events(tmp_path, "lost") == []
    assert summary(tmp_path)["state"] == "finished"
