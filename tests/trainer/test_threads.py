"""Real ranks try numbers of threads in their first steps: the one that cost least is in place, told and kept."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from motley.trainer.balance.balancer import Balancer
from motley.trainer.contract.spec import BalanceOptions, Member, RunOptions
from motley.trainer.host import rank_environment
from motley.trainer.host.journal import Journal
from motley.trainer.rank import cpu_threads
from motley.trainer.training.loop import train
from tests.trainer.ranks import make_job, run_ranks

COST_MS = {1: 20_000.0, 2: 60_000.0}  # what a step costs by what its host grants: more than it takes any machine


def trying(rank: int, world_size: int, _given: dict[str, Any]) -> dict[str, Any]:
    for module in (cpu_threads, rank_environment):
        module.usable_cores = lambda: 2.0  # type: ignore[attr-defined]
    os.environ["OMP_NUM_THREADS"] = "2"
    folder, member = Path(tempfile.mkdtemp()), Member(member=rank, host=f"host{rank}", local_rank=0, device="cpu")
    journal = Journal(folder, host=member.host, source=f"rank {rank}")
    options = RunOptions(task="simple_cnn/digits", global_batch=32, steps=20)
    spec: Any = SimpleNamespace(local_members=(member,), options=options, env={}, emulated=False, host=member.host)
    job = make_job(rank, world_size, options, (16, 16), double=False)
    job.threads = cpu_threads.threads_of(spec, member, job.device, folder, journal)
    began_with = torch.get_num_threads()
    grants: Any = SimpleNamespace(
        begin=lambda: None, look=lambda: None, needs_ms=lambda: COST_MS[torch.get_num_threads()]
    )
    job.budget = grants
    members = [Member(member=i, host=f"host{i}", local_rank=0, device="cpu") for i in range(world_size)]
    job.balancer = Balancer(BalanceOptions(), members, job.shares, journal)
    assert train(job) == "finished"
    again = cpu_threads.threads_of(spec, member, job.device, folder, journal)
    asked: Any = SimpleNamespace(**{**vars(spec), "options": replace(options, threads=3)})
    given = cpu_threads.threads_of(asked, member, job.device, folder, journal)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {
        "began_with": began_with,
        "count": job.threads.count,
        "event": next(event for event in events if event["kind"] == "threads"),
        "events": sum(event["kind"] == "threads" for event in events),
        "fits": job.balancer.fits(),
        "again": (again.count, again.over),
        "asked": (given.count, given.over, torch.get_num_threads()),
    }


@pytest.mark.ranks
def test_the_number_of_threads_that_costs_least_is_in_place_and_told_of_once() -> None:
    results = run_ranks(2, trying, {})
    for rank, result in enumerate(results):
        assert result["began_with"] == 2
        assert result["count"] == 1
        assert result["event"]["text"] == f"host{rank} computes with 1 thread: 1 samples/s, with 2: 0"
        assert result["event"]["data"]["samples_per_s"] == {"1": 0.8, "2": 0.3}
        assert result["events"] == 1
        assert result["again"] == (1, True)  # a new process of this rank does not try again
        assert result["asked"] == (3, True, 3)  # [run] threads holds, whatever was found
    fits = results[0]["fits"]
    assert fits["threads"] == {"0": 1, "1": 1}
    for model in fits["models"].values():  # what was measured with two threads is no part of it
        assert {point["ms"] for point in model["points"]} == {20_000.0}
