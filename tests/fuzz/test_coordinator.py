"""Whatever a member says ends its own line at most: the coordinator goes on, hears the others, and writes its summary.

Everything is real: the coordinator of a task or of a script serves on a socket, members call it and prove that they
hold the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.contract.handshake import proof
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.contract.wire import Event, decode
from motley.trainer.coordinator.script_coordinator import ScriptCoordinator
from motley.trainer.coordinator.task_coordinator import TaskCoordinator
from motley.trainer.supervisor.coordinator_socket import listen
from tests.fuzz.mutation import FIGURES, ODD, TEXTS, WHOLES, cases, mutated, nested, scratch, table, written

TOKEN = "5a" * 32
MEMBERS = 3
BOUND_S = 20.0
ABORT = struct.pack("ii", 1, 0)  # a closed socket is gone at once: thousands of them would fill the kernel's table

SMALL = st.integers(0, 4)
FIGURE = st.floats(0, 1e4)
RECORD = st.tuples(st.sampled_from(["lost", "joined"]), st.sampled_from(["box0"]), SMALL, st.none() | SMALL, FIGURE)
PAST = table({"records": st.lists(RECORD | ODD, max_size=3), "hosts": st.lists(TEXTS) | ODD})
MESSAGES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "beat": {"step": SMALL, "arrived": SMALL, "stage": SMALL, "moves": SMALL},
    "phase": {"phase": st.sampled_from(["importing torch", "loading data", "joining"])},
    "ready": {
        "times": table({"import_s": FIGURE, "spawn_s": FIGURE}), "store": st.none() | st.just(["127.0.0.1", 4711]),
        "step": SMALL, "term": st.just(-1), "generation": st.just(-1), "attempt": st.integers(1, 3),
        "regroups": st.none() | ODD | PAST,
    },
    "joined": {},
    "report": {
        "steps": st.lists(st.tuples(SMALL | WHOLES, SMALL | WHOLES, FIGURES, st.none() | FIGURES) | ODD, max_size=3),
        "batches": st.lists(st.lists(SMALL | WHOLES, max_size=3) | ODD, max_size=3), "epoch": SMALL,
        "rebalances": SMALL, "before": SMALL, "first_step_s": FIGURE, "eval": table({"accuracy": FIGURES}),
        "fits": table({"changes": SMALL, "models": table({"0": ODD})}),
    },
    "checkpointed": {"requests": st.lists(TEXTS) | ODD},
    "resumed": {"generation": SMALL, "pause_s": FIGURE},
    "exited": {"generation": SMALL, "code": st.integers(-70, 3)},
    "ended": {"state": st.sampled_from(["finished", "stopped", "failed", "lost"])},
}  # fmt: skip
MESSAGE = st.one_of([table({"op": st.just(op), **right}) for op, right in MESSAGES.items()])
PIECES = ['"', "{", "}", "[", "]", ",", ":", "\n", "1e999", "NaN", "-Infinity", "9" * 400, "9" * 5000, '"op":', "null"]
LINE: st.SearchStrategy[str] = st.one_of(
    MESSAGE.map(written),
    MESSAGE.map(written),
    mutated(MESSAGE.map(written), PIECES),
    ODD.map(written),
    nested(),
    nested().map(lambda deep: '{"op":"ready","times":' + deep + "}"),
    nested().map(lambda deep: '{"op":"report","steps":[],"batches":[],"fits":{"a":' + deep + "}}"),
    nested().map(lambda deep: '{"op":' + deep + "}"),
    TEXTS,
)
READY = {"op": "ready", "times": {"import_s": 1.0}, "store": ["127.0.0.1", 1], "step": 0, "term": -1}
WELL = [{**READY, "generation": -1, "attempt": 1}, {"op": "joined"}]  # of a member without fault


def spec(script: bool) -> Spec:
    return Spec(
        run="night", host="box0", token=TOKEN, leader="box0", leader_address="127.0.0.1", port=29500,
        members=tuple(Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(MEMBERS)),
        options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(), env={},
        script=Script(path="train.py", args=(), tree="1f", port=29501) if script else None,
    )  # fmt: skip


class Caller:
    """A member's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def call(cls, port: int) -> Caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        return cls(reader, writer)

    async def greet(self, member: int) -> None:
        theirs = json.loads(await self.reader.readline())["nonce"]
        words = proof(TOKEN, "rank", member, f"box{member}", theirs, "ours")
        self.say(json.dumps({"member": member, "host": f"box{member}", "nonce": "ours", "proof": words}))
        assert "proof" in json.loads(await self.reader.readline())

    def say(self, text: str) -> None:
        self.writer.write(text.encode(errors="surrogatepass") + b"\n")

    async def until_heard(self) -> None:
        """Until the other side has taken all that was said, or has hung up."""
        with contextlib.suppress(OSError):
            self.writer.write_eof()
            while await self.reader.read(1 << 16):
                pass

    def drop(self) -> None:
        self.writer.transport.abort()


async def converse(script: bool, said: dict[int, list[str]], folder: Path, hello: str | None = None) -> None:
    """Members 1 and 2 say what is given; member 0 is one without fault, and is not hung up on."""
    given = spec(script)
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    coordinator = ScriptCoordinator(given, folder) if script else TaskCoordinator(given, folder)
    with listen("127.0.0.1", 0) as listener, contextlib.closing(coordinator._journal):
        listener.setblocking(False)
        port = listener.getsockname()[1]
        running = asyncio.create_task(coordinator.run(listener))
        callers = {member: await Caller.call(port) for member in (0, *said)}
        for member, caller in callers.items():
            await caller.greet(member)
        for message in WELL:
            callers[0].say(json.dumps(message))
        if hello is not None:
            callers[-1] = await Caller.call(port)
            callers[-1].say(hello)
            await callers[-1].until_heard()
        for member, lines in said.items():
            for line in lines:
                callers[member].say(line)
            await callers[member].until_heard()
        if not coordinator._over.is_set():
            assert coordinator._connections[0].transport is not None
            now = coordinator._clock()
            for later_s in (0.0, 0.3):  # what it does several times a second
                coordinator._tick(now + later_s)
                coordinator._write_summary("running")
            coordinator._stop()
        await asyncio.wait_for(running, BOUND_S)
        for caller in callers.values():
            caller.drop()
    assert broken == []


def check(folder: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in summary.json")

    summary = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    assert summary["state"] in ("finished", "stopped", "failed")
    for line in filter(None, (folder / "events.jsonl").read_bytes().splitlines()):
        assert len(line) < 10_000
        assert isinstance(decode(line), Event)


@cases(50)
@given(st.booleans(), st.lists(LINE, max_size=5), st.lists(LINE, max_size=3), st.booleans())
def test_a_member_that_says_anything_ends_its_own_line_at_most(
    script: bool, first: list[str], second: list[str], well: bool
) -> None:
    """With `well` everybody is ready before, so that there is a group."""
    ready = [json.dumps(message) for message in WELL] if well else []
    with scratch() as folder:
        asyncio.run(converse(script, {1: [*ready, *first], 2: [*ready, *second]}, Path(folder)))
        check(Path(folder))


HELLO = table({"member": SMALL, "host": st.just("box1"), "nonce": TEXTS, "proof": TEXTS}).map(written)


@cases(50)
@given(st.booleans(), st.one_of(HELLO, mutated(HELLO, PIECES), ODD.map(written), nested(), TEXTS))
def test_a_caller_that_says_anything_is_refused(script: bool, hello: str) -> None:
    with scratch() as folder:
        asyncio.run(converse(script, {}, Path(folder), hello))
        check(Path(folder))
