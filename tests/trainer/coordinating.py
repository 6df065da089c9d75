"""A coordinator in this process, and ranks that call it over real sockets: what its tests share."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from motley.trainer.contract.generation import Group
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.coordinator.script_coordinator import ScriptCoordinator
from motley.trainer.coordinator.task_coordinator import TaskCoordinator
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from motley.trainer.supervisor.coordinator_socket import listen
from tests.support.lines import whole_lines
from tests.support.ports import free_pair

TOKEN = "5a" * 32
BOUND_S = 20.0


def spec(members: int, *, lost_after_s: float = 1.5, **options: Any) -> Spec:
    elastic = ElasticOptions(lost_after_s=lost_after_s)
    return Spec(
        run="night", host="box0", token=TOKEN, leader="box0", leader_address="127.0.0.1", port=free_pair(),
        members=tuple(Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(members)),
        options=RunOptions(**options), balance=BalanceOptions(), elastic=elastic, data=DataOptions(), env={},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def coordinating(
    given: Spec, folder: Path, kind: type[TaskCoordinator] | type[ScriptCoordinator] = TaskCoordinator
) -> AsyncIterator[asyncio.Task[None]]:
    with listen(given.leader_address, given.port) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(kind(given, folder, goodbye_s=0.2).run(listener))
        try:
            yield task
            await asyncio.wait_for(task, BOUND_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def refused(given: Spec, member: int) -> None:
    """Call once. Raises JoinError when the coordinator did not let the caller in."""
    calls = iter([(given.leader_address, given.port)])

    def where() -> tuple[str, int]:
        for address in calls:
            return address
        raise JoinError("refused")

    CoordinatorClient.dial(given, member=member, deadline_s=BOUND_S, where=where)


def dial(given: Spec, member: int, *, session: bool = False) -> CoordinatorClient:
    on_host = dataclasses.replace(given, host=f"box{member}")
    return CoordinatorClient.dial(on_host, member=member, deadline_s=5.0, session=session)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in whole_lines(folder / "events.jsonl")]
    return [line for line in lines if line["kind"] == kind]


def summary(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return table


def whole_life(given: Spec, member: int, end: str = "finished") -> Group:
    line = dial(given, member)
    line.phase("importing torch")
    group = line.ready(times={"import_s": 1.0 + member}, store=("127.0.0.1", 4711) if member == 0 else None)
    line.joined()
    if member == 0:
        line.report(steps=[[1, 96, 50.0, 0.7]], batches=[[32, 32, 32]], epoch=1)
    line.ended(end)
    return group


async def all_in_a_group(given: Spec) -> list[CoordinatorClient]:
    lines = [await asyncio.to_thread(dial, given, m) for m in range(len(given.members))]
    await asyncio.gather(*(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1)) for line in lines))
    for line in lines:
        line.joined()
    return lines


@contextlib.asynccontextmanager
async def until(condition: Callable[[], bool]) -> AsyncIterator[None]:
    """What another thread brings about."""
    deadline = asyncio.get_running_loop().time() + BOUND_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    yield


def led_anew(given: Spec, folder: Path) -> None:
    """The coordinator that is started now is the second of a run of box0 and box1."""
    lead = Lead(term=Term(1), leader="box0", address="127.0.0.1", port=given.port, hosts=("box0", "box1"))
    (folder / "lead.json").write_text(lead.to_json())


def ready(line: CoordinatorClient, *, term: Term = FIRST, generation: int = 3) -> Awaitable[Group]:
    said: dict[str, Any] = {"step": 7, "term": term, "generation": generation}
    return asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1), **said)
