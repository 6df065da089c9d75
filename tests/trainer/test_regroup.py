"""Groups of real ranks that break in the middle of a step and go on: nothing of what was learned differs."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import BalanceOptions, Spec
from motley.trainer.host.exit_codes import Exit
from tests.trainer.coordinating import coordinating, events, spec, summary
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import with_torch

pytestmark = pytest.mark.ranks

RANKS, STEPS, BATCH, BOUND_S = 3, 14, 24, 90.0
AT_ARRIVAL, AT_BEGIN = "when its gradients are handed over", "when the step begins"
HANGS = "when its gradients are handed over, and its main thread never gets free"
AT_COMBINING = "after the step, when all but this one have combined their BatchNorms"
Breaks = Mapping[int, Mapping[int, str]]  # by member and step: when it cuts its sockets


class Wobbly(NoiseTask):
    """A task whose model has what a step changes besides weights: BatchNorm's statistics, dropout's random numbers."""

    name = "wobbly/noise"

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        layers = (nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 4))
        return nn.Sequential(*layers).double()


def member(text: str, number: int, folder: Path, breaks: Mapping[int, str], answer: Connection, anew: bool) -> None:
    """The process of a rank, which cuts the sockets of its own group where `breaks` says so."""
    from motley.trainer import tasks
    from motley.trainer.rank import job_setup, member_process, task_rank
    from motley.trainer.rank.coordinator_client import CoordinatorClient
    from motley.trainer.rank.group_sockets import GroupSockets
    from motley.trainer.training import batchnorm, loop

    tasks.load = lambda *_, **__: Wobbly()
    kept: dict[str, Any] = {}
    left = dict(breaks)

    class Sockets(GroupSockets):
        def __init__(self, keep: Any) -> None:
            super().__init__(keep)
            kept["sockets"] = self

    class Line(CoordinatorClient):
        def arrive(self, stage: int = 0) -> None:
            super().arrive(stage)
            if stage:
                return
            if left.get(self.step + 1) == AT_ARRIVAL:
                del left[self.step + 1]
                kept["sockets"].shut()
            if left.get(self.step + 1) == HANGS:
                kept["sockets"].shut()
                threading.Event().wait()

    def prepare(*arguments: Any, **named: Any) -> Any:
        kept["prepared"] = prepared(*arguments, **named)
        return kept["prepared"]

    def train_step(job: Any, place: Any) -> None:
        if left.get(job.step + 1) == AT_BEGIN:
            del left[job.step + 1]
            kept["sockets"].shut()
        step(job, place)

    def combine(model: nn.Module, weight: float) -> None:
        step = kept["prepared"].recorder._line.step
        if left.get(step) == AT_COMBINING:
            del left[step]
            combined(copy.deepcopy(model), weight)
            kept["sockets"].shut()
        else:
            combined(model, weight)

    combined, batchnorm.combine = batchnorm.combine, combine  # type: ignore[assignment]
    prepared, job_setup.prepare = job_setup.prepare, prepare
    step, loop.train_step = loop.train_step, train_step
    task_rank.GroupSockets, member_process.CoordinatorClient = Sockets, Line  # type: ignore[attr-defined]
    given = dataclasses.replace(Spec.from_json(text), host=f"box{number}")
    code = task_rank.TaskRank(given, given.members[number], folder, anew=anew).main()
    held = kept["prepared"]
    state = (int(code), held.model.state_dict(), held.optimizer.state_dict()["state"], torch.get_rng_state())
    torch.save(state, folder / f"{number}.end")
    answer.send(True)
    os._exit(0)


async def run(folder: Path, breaks: Breaks, **more: Any) -> list[tuple[int, dict[str, Tensor], dict[int, Any], Tensor]]:
    """Train to the end; every rank's exit code, model, optimizer state and random state."""
    folder.mkdir()
    options: dict[str, Any] = {
        "task": "wobbly/noise",
        "steps": STEPS,
        "global_batch": BATCH,
        "eval_every": 1,
        "checkpoint_every": 0,
        **more,
    }
    given = spec(RANKS, lost_after_s=BOUND_S, **options)
    elastic = dataclasses.replace(given.elastic, min_hosts=RANKS)  # the others wait for one that starts again
    given = dataclasses.replace(given, balance=BalanceOptions(policy="static"), elastic=elastic)
    context = with_torch()
    pipes = [context.Pipe() for _ in range(RANKS)]

    def live(number: int) -> bool:
        """A rank's processes: one that hung is followed by another. Whether it came to its end."""
        for anew in (False, True, True):
            known = {step: how for step, how in breaks.get(number, {}).items() if not anew}
            arguments = (given.to_json(), number, folder, known, pipes[number][1], anew)
            process = context.Process(target=member, args=arguments, daemon=True)
            process.start()
            process.join(BOUND_S)
            if process.exitcode != Exit.STUCK:
                return pipes[number][0].poll(0)
        return False

    async with coordinating(given, folder):
        answered = await asyncio.gather(*(asyncio.to_thread(live, number) for number in range(RANKS)))
    assert all(answered), [event["text"] for event in events(folder, "note")]
    return [torch.load(folder / f"{i}.end") for i in range(RANKS)]


async def test_broken_steps_leave_no_trace_in_weights_buffers_or_random_numbers(tmp_path: Path) -> None:
    undisturbed = await run(tmp_path / "calm", {})
    breaks = {
        0: {6: AT_BEGIN, 9: AT_ARRIVAL, 12: AT_COMBINING},
        1: {3: AT_ARRIVAL, 11: AT_BEGIN},
        2: {8: AT_COMBINING, 9: AT_ARRIVAL, 13: HANGS},
    }
    broken = await run(tmp_path / "broken", breaks)
    for (code, model, optimizer, random), (_, model0, optimizer0, random0) in zip(broken, undisturbed, strict=True):
        assert code == 0
        for name, tensor in model0.items():
            assert torch.allclose(model[name], tensor, rtol=1e-9, atol=1e-12), name
        for index, state in optimizer0.items():
            assert torch.allclose(optimizer[index]["momentum_buffer"], state["momentum_buffer"], rtol=1e-9, atol=1e-12)
        assert torch.equal(random, random0)
    assert len(events(tmp_path / "broken", "group")) >= 7
    table = summary(tmp_path / "broken")
    assert (table["state"], table["steps"]) == ("finished", STEPS)


async def test_a_group_that_breaks_in_the_evaluation_before_the_first_step_makes_it_again_and_later_ones_do_not(
    tmp_path: Path,
) -> None:
    undisturbed = await run(tmp_path / "calm", {})
    broken = await run(tmp_path / "broken", {1: {0: AT_COMBINING, 3: AT_ARRIVAL}}, eval_on_start=True)
    assert len(events(tmp_path / "broken", "group")) == 3
    found = [(event["data"]["epoch"], event["data"]["step"]) for event in events(tmp_path / "broken", "evaluated")]
    calm = [(event["data"]["epoch"], event["data"]["step"]) for event in events(tmp_path / "calm", "evaluated")]
    assert found == [(0, 0), *calm]
    assert summary(tmp_path / "broken")["eval_on_start"]["loss"] > 0
    for (_, model, _, random), (_, model0, _, random0) in zip(broken, undisturbed, strict=True):
        assert all(torch.allclose(model[name], tensor, rtol=1e-9, atol=1e-12) for name, tensor in model0.items())
        assert torch.equal(random, random0)
