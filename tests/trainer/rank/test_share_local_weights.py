"""A frozen trunk that every host has by itself, a head that is trained, over real ranks: only the head is sent and
saved, whoever is killed, comes, or goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from motley.trainer.contract.spec import Member, RunOptions, Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.errors import CheckpointError
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.journal import Journal
from motley.trainer.host.run_members import admit, keep, roll_of
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.optimize.optimizer import make_optimizer
from motley.trainer.rank.restore_state import go_on
from motley.trainer.rank.share_state import share_state, share_table
from motley.trainer.training import checkpoint
from motley.trainer.training.loop import train_step
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.coordinating import coordinating, events, spec, summary
from tests.trainer.optimize.headed_task import SEED, WIDTH, Headed
from tests.trainer.ranks import make_job, run_ranks, with_torch
from tests.trainer.written_out import WrittenOut

pytestmark = pytest.mark.ranks

STEPS, BATCH, BOUND_S = 25, 24, 90.0
LET_IN_AT, KILLED_AT, BACK_AT = 4, 9, 12  # steps
HEAD = WIDTH * 4 + 4  # values
NEW = Member(member=0, host="box2", local_rank=0, device="cpu")
OPTIONS: dict[str, Any] = {
    "steps": STEPS, "global_batch": BATCH, "eval_every": 0, "optimizer": "adamw", "learning_rate": 0.02,
    "clip_norm": 1.0, "ema": 0.8, "schedule": "constant",
}  # fmt: skip


def alone() -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same steps in one process: the loss of each, and the weights."""
    task, losses = WrittenOut(Headed()), []
    model = task.model()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02, weight_decay=RunOptions(**OPTIONS).weight_decay)
    batches = BatchSampler(count=task.train_size, global_batch=BATCH, seed=0)
    for step in range(STEPS):
        batch = task.train_batch(batches.ids(step, (BATCH,), 0), batches.place(step).epoch)
        loss = task.loss_sum(task.task.forward(model, batch), batch[1]) / BATCH
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, model.state_dict()


def process(text: str, number: int, folder: Path, anew: bool, answer: Connection) -> None:
    """The process of a rank, which notes what it is sent; rank 0 waits for the newcomer, rank 1 is killed once."""
    from motley.trainer import tasks
    from motley.trainer.rank import job_setup, task_rank
    from motley.trainer.training import loop

    tasks.load = lambda *_, **__: Headed()
    kept: dict[str, Any] = {"shapes": []}

    def prepare(*arguments: Any, **named: Any) -> Any:
        kept["prepared"] = prepared(*arguments, **named)
        return kept["prepared"]

    def broadcast(tensor: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        if tensor.is_floating_point():
            kept["shapes"].append(tuple(tensor.shape))
        return broadcasts(tensor, *arguments, **named)

    def step_of(job: Any, place: Any) -> None:
        if job.member == 0 and job.step == LET_IN_AT:
            wait(lambda: job.progress.boundary or job.generation > 0)
        if job.member == 0 and job.step == BACK_AT:
            wait(lambda: job.progress.boundary or job.world_size == 3)
        if job.member == 1 and job.step == KILLED_AT and not anew:
            os.kill(os.getpid(), signal.SIGKILL)
        steps(job, place)

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + BOUND_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)

    prepared, job_setup.prepare = job_setup.prepare, prepare
    steps, loop.train_step = loop.train_step, step_of
    broadcasts, dist.broadcast = dist.broadcast, broadcast
    given = Spec.from_json(text)
    mine = next(m for m in given.members if m.member == number)
    code = task_rank.TaskRank(given, mine, folder, anew=anew).main()
    held = kept["prepared"]
    torch.save((int(code), held.model.state_dict(), kept["shapes"]), folder / f"{number}.end")
    answer.send(True)
    os._exit(0)


async def test_one_joins_one_is_killed_and_comes_again_and_only_the_head_travels(tmp_path: Path) -> None:
    given = spec(2, lost_after_s=BOUND_S, **OPTIONS)
    elastic = dataclasses.replace(given.elastic, min_hosts=2)
    given = dataclasses.replace(given, balance=dataclasses.replace(given.balance, policy="static"), elastic=elastic)
    roll = admit(given, roll_of(tmp_path), "box2", [NEW], term=FIRST)
    joining = dataclasses.replace(given, members=roll.members(given.members), joins=True)
    context = with_torch()
    pipes = [context.Pipe() for _ in range(3)]
    ends: dict[int, list[int | None]] = {number: [] for number in range(3)}

    def live(number: int) -> bool:
        """A rank's processes: one that was killed, or hung in a broken group, is followed by another."""
        mine = dataclasses.replace(joining if number == 2 else given, host=f"box{number}")
        for anew in (number == 2, True, True):
            arguments = (mine.to_json(), number, tmp_path, anew, pipes[number][1])
            rank = context.Process(target=process, args=arguments, daemon=True)
            rank.start()
            rank.join(BOUND_S)
            ends[number].append(rank.exitcode)
            if rank.exitcode not in (Exit.STUCK, -signal.SIGKILL):
                break
        return pipes[number][0].poll(0)

    async with coordinating(given, tmp_path):
        keep(tmp_path, roll)
        answered = await asyncio.gather(*(asyncio.to_thread(live, number) for number in range(3)))
    assert all(answered), [event["text"] for event in events(tmp_path, "note")]
    assert ends[1][:1] == [-signal.SIGKILL]
    groups = [[m["member"] for m in event["data"]["members"]] for event in events(tmp_path, "group")]
    assert (groups[0], groups[-1]) == ([0, 1], [0, 1, 2])
    _, weights = alone()
    for number in range(3):
        code, state, shapes = torch.load(tmp_path / f"{number}.end")
        assert code == 0
        for name, tensor in weights.items():
            assert torch.allclose(state[name], tensor, rtol=1e-9, atol=1e-12), (number, name)
        # The head with its average and its optimizer's state, and steps of this: nothing of the trunk.
        assert set(shapes) <= {(4, WIDTH), (4,), ()}, shapes
        assert (4, WIDTH) in shapes
    table = summary(tmp_path)
    assert (table["state"], table["steps"], table["samples"]) == ("finished", STEPS, STEPS * BATCH)
    assert [r["step_before"] - r["step_after"] for r in table["regroups"]] == [0] * len(table["regroups"])
    for name in ("final.pt", "best.pt"):
        path = tmp_path / "checkpoints" / name
        if path.exists():
            assert set(checkpoint.load(path)["model"]) == {"head.weight", "head.bias"}
    assert (tmp_path / "checkpoints/final.pt").exists()


def going_on(rank: int, world_size: int, given: dict[str, Any]) -> tuple[list[float], list[tuple[int, ...]]]:
    """Losses of this rank from the step of the checkpoint on, or from the first, to the end or to `stop`."""
    options, folder = RunOptions(task="headed/noise", **OPTIONS), given["folder"]
    torch.manual_seed(rank)
    job = make_job(rank, world_size, options, given["shares"], double=False, task=Headed())
    step, sent = 0, list[tuple[int, ...]]()
    if rank == 0 and given["resume"]:
        journal = Journal(folder, host="box0", source="rank 0")
        asked = dataclasses.replace(spec(world_size), options=options, resume=str(folder), resume_of="old")
        step = go_on(asked, job.state, journal, ()).step
    broadcasts = dist.broadcast

    def broadcast(tensor: torch.Tensor, source: int) -> None:
        sent.append(tuple(tensor.shape))
        broadcasts(tensor, source)

    dist.broadcast = broadcast  # type: ignore[assignment]
    incoming = share_state(job.task_model, job.optimizer, step, more=job.state.tensors(), local=job.local)
    dist.broadcast = broadcasts
    incoming.put()
    job.step, losses = incoming.step, []
    while job.step < given["stop"]:
        train_step(job, job.batches.place(job.step))
        losses.append(job.window.rows[-1].loss_sum)
    if rank == 0 and not given["resume"]:
        checkpoint.save(folder / "stop.pt", job.content())
    return losses, sent


def test_on_another_number_of_ranks_the_losses_are_those_of_one_process(tmp_path: Path) -> None:
    first = run_ranks(2, going_on, {"folder": tmp_path, "shares": (15, 9), "resume": False, "stop": 7})
    saved = checkpoint.load(tmp_path / "stop.pt")
    assert set(saved["model"]) == set(saved["ema"]) == {"head.weight", "head.bias"}
    assert saved["local"]["names"][0] == "trunk.0.bias"
    rest = run_ranks(3, going_on, {"folder": tmp_path, "shares": (4, 13, 7), "resume": True, "stop": STEPS})
    losses, _ = alone()
    for part, ranks in ((losses[:7], first), (losses[7:], rest)):
        summed = [sum(of_ranks) / BATCH for of_ranks in zip(*(rank[0] for rank in ranks), strict=True)]
        assert summed == pytest.approx(part, rel=1e-6)
    for _, sent in rest:
        assert not {(WIDTH, 6), (WIDTH,), (WIDTH, WIDTH)} & set(sent)
        assert sent.count((4, WIDTH)) == 4  # weight, its average, two moments of the optimizer


def with_another_trunk(rank: int, _world_size: int, given: dict[str, Any]) -> str:
    os.environ[SEED] = str(given["seeds"][rank])
    task = Headed()
    model = task.model()
    local = LocalWeights.of(task, model)
    optimizer = make_optimizer(RunOptions(**OPTIONS), model)
    header = {"step": 0, "optimizer": [], "local": dict(local.table)} if rank == 0 else None
    if header is not None:  # what follows would wait for a rank that is gone
        share_table(header, torch.device("cpu"))
        return str(local.table["digest"])
    with pytest.raises(CheckpointError) as refused:
        share_state(model, optimizer, 0, local=local)
    return str(refused.value)


def test_a_rank_with_another_trunk_takes_nothing_and_says_both_digests() -> None:
    digest, refused = run_ranks(2, with_another_trunk, {"seeds": (7, 8)})
    assert refused.startswith("the state of the others was trained on other weights than the model now begins with")
    assert f"their digest was {digest} (float64), now it is" in refused


def test_a_checkpoint_of_another_trunk_is_refused_by_both_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ranks(1, going_on, {"folder": tmp_path, "shares": (BATCH,), "resume": False, "stop": 2})
    then = checkpoint.load(tmp_path / "stop.pt")["local"]["digest"]
    monkeypatch.setenv(SEED, "8")
    with pytest.raises(AssertionError, match=rf"stop\.pt was trained on other weights .*their digest was {then}"):
        run_ranks(1, going_on, {"folder": tmp_path, "shares": (BATCH,), "resume": True, "stop": STEPS})
