"""The source of a state goes in the middle of handing it over: nobody is left with half of it, or says so to others."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import BalanceOptions, Spec
from motley.trainer.host.exit_codes import Exit
from motley.trainer.training import checkpoint
from tests.trainer.coordinating import coordinating, events, spec, summary
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import with_torch

pytestmark = pytest.mark.ranks

RANKS, BATCH, BOUND_S, LIFE_S = 3, 24, 90.0, 400.0
Plan = Mapping[int, tuple[int, int]]  # by step: the member that hands it over, and before which transfer it is killed
Hangs = Mapping[int, int]  # by step: the member whose process hangs before that transfer, when it has all of the others
State = dict[str, dict[str, Tensor]]


class Aging(nn.Module):
    """A layer with a buffer: in how many steps it was trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("age", torch.zeros((), dtype=torch.float64))
        self.age: Tensor

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.age += 1
        return inputs * (1 + 0.1 * self.age)


class Noise(NoiseTask):
    """A task in float64 whose model has all that a state is made of."""

    name = "aging/noise"

    def __init__(self, *, ages: bool) -> None:
        self._ages = ages

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 4), *([Aging()] if self._ages else [])).double()


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    entries = {f"{i}": dict(state) for i, state in optimizer.state_dict()["state"].items()}
    return {"model": model.state_dict(), **entries}


def same(state: State, other: State) -> bool:
    """To 1e-6, and nothing more or less."""
    return state.keys() == other.keys() and all(
        values.keys() == other[part].keys()
        and all(torch.allclose(value, other[part][name], rtol=1e-6, atol=1e-9) for name, value in values.items())
        for part, values in state.items()
    )


def member(
    text: str, number: int, folder: Path, plan: Plan, hangs: Hangs, anew: bool, done: Semaphore, passed: Semaphore
) -> None:
    """The process of a rank. At each step of the plan the others stay behind one member, which is killed when it hands
    its state over to them.

    `done` counts who has made the step; `passed` the transfers that have come, by receiver.
    """
    import torch.distributed as dist

    from motley.trainer import tasks
    from motley.trainer.host import rank_progress
    from motley.trainer.optimize.local_sgd import LocalSgd
    from motley.trainer.rank import job_setup, task_rank
    from motley.trainer.rank.group_sockets import GroupSockets
    from motley.trainer.training import loop, recorder

    given = dataclasses.replace(Spec.from_json(text), host=f"box{number}")
    local = given.options.local_steps
    tasks.load = lambda *_, **__: Noise(ages=local == 1)
    left = dict(plan)
    kept: dict[str, Any] = {}
    transfers: list[int] = []  # of every join that came to its end

    class Sockets(GroupSockets):
        def __init__(self, keep: Any) -> None:
            super().__init__(keep)
            kept["sockets"] = self

    def prepare(*arguments: Any, **named: Any) -> Any:
        kept["prepared"] = prepared(*arguments, **named)
        return kept["prepared"]

    def ahead(step: int, complete: Callable[[], None], take_part: Callable[[], None]) -> None:
        """Complete a step; when it is planned, nobody but one does."""
        if step not in left:
            complete()
        elif left[step][0] == number:
            complete()
            for _ in range(RANKS - 1):
                done.release()
        else:
            take_part()
            assert done.acquire(timeout=BOUND_S)
            kept["sockets"].shut()
            raise RuntimeError("gloo: Connection closed by peer")

    def update(job: Any, samples: int = 1) -> None:
        kept["job"] = job
        if local > 1:
            updated(job, samples)
        else:
            ahead(job.step + 1, lambda: updated(job, samples), lambda: None)

    def average(apart: LocalSgd, changing: Any) -> None:
        ahead(kept["job"].step, lambda: averaged(apart, changing), lambda: averaged(copy.deepcopy(apart), changing))

    def join(prepared: Any, with_group: Any, *rest: Any) -> Any:
        victim, at = left.pop(with_group.step, (None, -1))
        (folder / f"{number}.past").write_text(str(with_group.step))
        count = 0

        def counted(collective: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal count
                if victim is not None and count == at and hangs.get(with_group.step) == number:
                    kept["sockets"].shut()
                    threading.Event().wait()
                if victim == number and count == at:
                    for _ in range(at * (RANKS - 1)):
                        assert passed.acquire(timeout=BOUND_S)
                    (folder / f"{at}.killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                work = collective(*arguments, **named)
                count += 1
                if victim is not None and victim != number:
                    passed.release()
                return work

            return call

        plain: Any = dist.broadcast, dist.all_reduce
        dist.broadcast, dist.all_reduce = map(counted, plain)
        try:
            job = joined(prepared, with_group, *rest)
        except RuntimeError:
            prepared.save()  # as when the wait for the one that was lost gets long
            raise
        finally:
            dist.broadcast, dist.all_reduce = plain
        transfers.append(count)
        return job

    def save(to: Any, name: str, step: int, state: Any, **named: Any) -> None:
        if name == "held":
            held = state_of(kept["prepared"].model, kept["prepared"].optimizer)
            torch.save((step, held), folder / f"{number}.{len(list(folder.glob('*.held')))}.held")
        saved(to, name, step, state, **named)

    def train_step(job: Any, place: Any) -> None:
        torch.save(state_of(job.task_model, job.optimizer), folder / f"{number}.{job.step}.state")
        stepped(job, place)

    if hangs and number not in hangs.values():
        rank_progress.FREED_S = BOUND_S  # a busy machine may keep it from letting go for a while: that is no hang
    saved, recorder.Recorder.save = recorder.Recorder.save, save  # type: ignore[method-assign,assignment]
    prepared, job_setup.prepare = job_setup.prepare, prepare
    joined, job_setup.join = job_setup.join, join  # type: ignore[assignment]
    updated, loop.update = loop.update, update
    stepped, loop.train_step = loop.train_step, train_step
    averaged, LocalSgd.average = LocalSgd.average, average  # type: ignore[method-assign,assignment]
    task_rank.GroupSockets = Sockets  # type: ignore[attr-defined]
    code = task_rank.TaskRank(given, given.members[number], folder, anew=anew).main()
    end = state_of(kept["prepared"].model, kept["prepared"].optimizer)
    torch.save((int(code), end, transfers), folder / f"{number}.end")
    os._exit(0)


async def run(
    folder: Path, plan: Plan, *, hangs: Hangs | None = None, **options: Any
) -> list[tuple[int, State, list[int]]]:
    """Train to the end; every rank's exit code, state, and how many transfers each of its joins had."""
    folder.mkdir()
    resume = options.pop("resume", "")
    given = spec(RANKS, lost_after_s=BOUND_S, task="aging/noise", global_batch=BATCH, checkpoint_every=0, **options)
    elastic = dataclasses.replace(given.elastic, min_hosts=RANKS)  # the others wait for one that starts again
    given = dataclasses.replace(given, balance=BalanceOptions(policy="static"), elastic=elastic, resume=resume)
    context = with_torch()
    done, passed = context.Semaphore(0), context.Semaphore(0)

    def live(number: int) -> bool:
        """A rank's processes: one that was killed, or hung, is followed by another. Whether it came to its end."""
        anew, past = False, folder / f"{number}.past"
        while True:
            known = {step: how for step, how in plan.items() if not anew or step > int(past.read_text())}
            arguments = (given.to_json(), number, folder, known, hangs or {}, anew, done, passed)
            process = context.Process(target=member, args=arguments, daemon=True)
            process.start()
            process.join(LIFE_S)
            if process.exitcode not in (-signal.SIGKILL, Exit.STUCK):
                process.kill()
                return (folder / f"{number}.end").exists()
            anew = True

    async with coordinating(given, folder):
        ended = await asyncio.gather(*(asyncio.to_thread(live, number) for number in range(RANKS)))
    assert all(ended), [event["text"] for event in events(folder, "note")]
    return [torch.load(folder / f"{i}.end") for i in range(RANKS)]


def assert_undisturbed(folder: Path, broken: list[tuple[int, State, list[int]]], calm: Path) -> None:
    """All ended as those of the calm run, and what was put on a disk meanwhile was a state of it, too."""
    for (code, state, _), (_, expected, _) in zip(broken, (torch.load(calm / f"{i}.end") for i in range(RANKS))):
        assert code == 0
        assert same(state, expected)
    held = [torch.load(path) for path in folder.glob("*.held")]
    assert held
    for step, state in held:
        assert same(state, torch.load(calm / f"0.{step}.state")), step


@pytest.mark.parametrize(
    ("options", "transfers"),
    [
        # What is agreed on, the header's two, weight, bias, the buffer, three tensors of AdamW each, the shares.
        pytest.param({"optimizer": "adamw"}, 1 + 2 + 2 + 1 + 6 + 1, id="every step together", marks=pytest.mark.long),
        # No buffer, nothing of SGD without momentum; the momentum of the outer optimizer.
        pytest.param(
            {"optimizer": "sgd", "momentum": 0.0, "local_steps": 2},
            1 + 2 + 2 + 1 + 1,
            id="local steps",
            marks=pytest.mark.longest,
        ),
    ],
)
async def test_a_source_that_dies_before_any_one_of_the_transfers_leaves_no_mixture(
    tmp_path: Path, options: dict[str, Any], transfers: int
) -> None:
    every = options.get("local_steps", 1)
    plan = {every * (i + 1): (i % RANKS, i) for i in range(transfers)}
    options = {**options, "steps": every * (transfers + 2), "eval_every": 1}
    await run(tmp_path / "calm", {}, **options)
    broken = await run(tmp_path / "broken", plan, **options)
    assert_undisturbed(tmp_path / "broken", broken, tmp_path / "calm")
    assert {count for _, _, counts in broken for count in counts} == {transfers}
    assert len(list((tmp_path / "broken").glob("*.killed"))) == transfers
    table = summary(tmp_path / "broken")
    assert (table["state"], table["steps"]) == ("finished", every * (transfers + 2))
    assert table["samples"] == every * (transfers + 2) * BATCH


@pytest.mark.long
async def test_steps_that_a_rank_0_knew_of_whose_process_hung_are_in_the_summary(tmp_path: Path) -> None:
    """It has steps 7 and 8 from another rank, and has told nobody of them: all was told up to step 6. Its new process
    then loses the average of step 10, too, so that it begins to tell in the middle of what is not known."""
    options: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0, "local_steps": 2, "steps": 14, "eval_every": 1}
    await run(tmp_path / "broken", {8: (1, 6), 10: (2, 0)}, hangs={8: 0}, **options)
    assert [event["source"] for event in events(tmp_path / "broken", "note") if "hangs" in event["text"]] == ["rank 0"]
    table = summary(tmp_path / "broken")
    assert (table["state"], table["steps"], table["samples"]) == ("finished", 14, 14 * BATCH)


@pytest.mark.long
async def test_a_resumed_run_whose_source_dies_before_the_first_step_goes_on_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    torch.manual_seed(7)
    model = Noise(ages=True).model()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    about = {"task": "aging/noise", "step": 4, "epoch": 1, "global_batch": BATCH, "seed": 0}
    state = {**about, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(tmp_path / "old" / "epoch_1.pt", state)
    options: dict[str, Any] = {"optimizer": "adamw", "steps": 7, "resume": str(tmp_path / "old")}
    calm = await run(tmp_path / "calm", {}, **options)
    broken = await run(tmp_path / "broken", {4: (0, 4)}, **options)
    for (code, end, _), (_, expected, _) in zip(broken, calm):
        assert code == 0
        assert same(end, expected)
    assert (tmp_path / "broken" / "4.killed").exists()
    for kind in ("report", "evaluated"):  # it has begun once, and does no old epoch's end again
        seen, undisturbed = (
            [
                {k: event["data"].get(k) for k in ("step", "epoch", "steps_total")}
                for event in events(tmp_path / name, kind)
            ]
            for name in ("broken", "calm")
        )
        assert seen == undisturbed, (seen, undisturbed)
        assert any(seen[0].values()), seen
