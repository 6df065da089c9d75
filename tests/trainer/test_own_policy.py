"""Real ranks train with a balancing policy of the user's own: its shares hold on all, and its errors end nothing."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.own_policy import load_policy
from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.contract.spec import BalanceOptions, Member, RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.host.paths import project_folder
from motley.trainer.training.loop import train
from tests.trainer.ranks import make_job, run_ranks

MINE = """
import motley
from beside import FIRST

calls = 0

def shares(costs: "list[motley.Cost]", global_batch, now):
    global calls
    calls += 1
    assert [cost.host for cost in costs] == ["host0", "host1"]
    if calls == 1:
        return [FIRST, global_batch - FIRST]
    raise RuntimeError("no idea")
"""


def training(rank: int, world_size: int, _given: dict[str, Any]) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp())
    os.environ["HOME"] = str(home)
    folder = project_folder("8f5a")
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(MINE)
    (folder / "beside.py").write_text("FIRST = 20\n")
    options = RunOptions(task="simple_cnn/digits", global_batch=32, steps=24)
    job = make_job(rank, world_size, options, (16, 16), double=False)
    members = [Member(member=i, host=f"host{i}", local_rank=0, device="cpu") for i in range(world_size)]
    own = load_policy(OwnPolicy(tree="8f5a", file="mine.py"), "mine.py")
    journal = Journal(home, host=f"host{rank}", source=f"rank {rank}")
    job.balancer = Balancer(BalanceOptions(policy="mine.py"), members, job.shares, journal, own=own)
    state = train(job)
    path = home / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {"state": state, "shares": job.shares, "events": [e["text"] for e in events if e["kind"] == "policy"]}


@pytest.mark.ranks
def test_its_shares_hold_on_all_ranks_and_what_it_raises_ends_no_run() -> None:
    first, second = run_ranks(2, training, {})
    assert (first["state"], second["state"]) == ("finished", "finished")
    assert first["shares"] == second["shares"] == (20, 12)
    assert first["events"] == ["mine.py:13: RuntimeError: no idea; the shares stay as they are"]
    assert second["events"] == []  # rank 0 alone asks it
