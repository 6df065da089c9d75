"""A script that calls `motley.session()` as the supervisor runs it: a killed rank, a lost coordinator, a resume."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.host import processes
from tests.trainer.rank.test_session_script import WithSessions
from tests.trainer.supervisor import test_supervisor
from tests.trainer.supervisor.test_supervisor import eventually

pytestmark = pytest.mark.ranks

SCRIPT = """
import json, os, pathlib
import torch
import motley

torch.set_num_threads(1)
place, member = pathlib.Path(os.environ["MOTLEY_DIR"]), os.environ["MOTLEY_MEMBER"]
torch.manual_seed(0)
run = motley.session()
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
model, optimizer = run.prepare(model, optimizer)
inputs = torch.randn(512, 8)
for step in run.steps((inputs, inputs.sum(1, keepdim=True)), global_batch=48, steps=1_000_000):
    with step:
        x, y = step.batch
        step.backward(((model(x) - y) ** 2).sum())
        optimizer.step()
    if (place / "fail").exists() and member == "1":
        raise RuntimeError("the loss is a turnip")
    if not step.done:
        continue
    if step.number % 5 == 0:
        told = {"step": step.number, "world": run.world_size, "pid": os.getpid(), "weight": model.weight.sum().item()}
        (place / f".at_{member}").write_text(json.dumps(told))
        (place / f".at_{member}").rename(place / f"at_{member}")
    if (place / "finish").exists():
        break
"""


class Training(WithSessions):
    run = "night"

    def folder(self, run: str = "") -> Path:
        return super().folder(run or self.run)

    def at(self, member: int, *, world: int, beyond: int = 0, besides: int = 0) -> dict[str, Any]:
        """Where a member has come to, in a group of so many, in another process than `besides`."""
        path = self.folder() / f"at_{member}"
        found: dict[str, Any] = {}

        def there() -> bool:
            nonlocal found
            found = json.loads(path.read_text()) if path.exists() else {}
            return bool(found) and found["world"] == world and found["step"] > beyond and found["pid"] != besides

        eventually(there, f"rank {member} trains in a group of {world}, after step {beyond}")
        return found


@pytest.fixture
def machine(tmp_path: Path, pushed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    monkeypatch.setattr(test_supervisor, "BOUND_S", 120.0)  # each process imports torch by itself
    machine = Training(tmp_path, pushed)
    machine.project(SCRIPT)
    yield machine
    processes.end(machine.folder(), grace_s=0.0)


def start(machine: Training, ranks: int, **changes: Any) -> list[dict[str, Any]]:
    spec = machine.session_spec(ranks)
    patient = dataclasses.replace(spec.elastic, lost_after_s=5.0)  # a busy machine is no lost one
    machine.supervise(dataclasses.replace(spec, elastic=patient, **changes))
    return [machine.at(member, world=ranks) for member in range(ranks)]


@pytest.mark.long
def test_a_killed_rank_comes_back_and_no_step_is_lost(machine: Training) -> None:
    first = start(machine, 3)
    os.kill(first[1]["pid"], signal.SIGKILL)
    again = machine.at(1, world=3, besides=first[1]["pid"])
    others = [machine.at(member, world=3, beyond=again["step"]) for member in (0, 2)]
    assert [one["pid"] for one in others] == [first[0]["pid"], first[2]["pid"]]
    machine.tell("finish")
    assert machine.ended() == "finished"
    table = machine.summary()
    assert (table["state"], table["steps"] >= others[0]["step"]) == ("finished", True)
    assert {(r["cause"], r["step_after"] - r["step_before"]) for r in table["regroups"]} == {("lost", 0)}
    assert machine.events_of("restarted") == []
    assert (machine.folder() / "checkpoints/final.pt").exists()


def test_a_lost_coordinator_is_followed_by_another_and_the_sessions_go_on(machine: Training) -> None:
    first = start(machine, 2)
    (coordinator,) = machine.coordinators()
    os.kill(coordinator, signal.SIGKILL)
    eventually(lambda: len(machine.events_of("group")) == 3, "the group of the new coordinator")
    newest = max(one["step"] for one in first)
    again = [machine.at(member, world=2, beyond=newest) for member in (0, 1)]
    assert [one["pid"] for one in again] == [one["pid"] for one in first]
    machine.tell("finish")
    assert machine.ended() == "finished"


@pytest.mark.long
def test_an_error_is_told_with_its_line(machine: Training) -> None:
    start(machine, 2)
    machine.tell("fail")
    assert machine.ended() == "failed"
    (fault,) = machine.events_of("fault")
    assert "train.py:" in fault["text"]
    assert "the loss is a turnip" in fault["text"]
    assert {rank["code"] for rank in machine.state()["ranks"]} >= {1}


@pytest.mark.long
def test_a_stopped_run_is_resumed_where_it_was(machine: Training) -> None:
    start(machine, 2)
    assert machine.stop() == {"left": 0, "state": "stopped"}
    steps, kept = machine.summary()["steps"], machine.folder() / "checkpoints"
    assert machine.summary()["state"] == "stopped"
    assert (kept / "stop.pt").exists()
    machine.run = "next"
    first = start(machine, 2, run="next", resume=str(kept), resume_of="night")
    assert min(one["step"] for one in first) > steps > 0
    machine.tell("finish")
    assert machine.ended() == "finished"
    table = machine.summary()
    assert (table["resumed_from"], table["steps_before"]) == ("night", steps)
