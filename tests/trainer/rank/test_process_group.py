"""Process groups made one after another in the same processes, as regroups do."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from motley.trainer.api.ranks import GroupBroken, Ranks
from motley.trainer.contract.generation import Group
from motley.trainer.rank import process_group
from tests.trainer.ranks import run_ranks

pytestmark = pytest.mark.ranks


def again_after_a_failure(rank: int, world_size: int, _given: dict[str, Any]) -> list[float]:
    """Rank 1 fails to make a group that nobody else comes to; then all make one."""
    listener = process_group.listen("127.0.0.1")
    address = torch.tensor([listener.getsockname()[1]])
    dist.broadcast(address, 0)
    process_group.leave()
    if rank == 1:
        alone = process_group.listen("127.0.0.1")
        nobody = Group(generation=1, rank=0, members=(0, 1), store=("127.0.0.1", alone.getsockname()[1]))
        with pytest.raises((RuntimeError, dist.DistError)):
            process_group.join(nobody, alone, backend="gloo", timeout_s=1)
        process_group.leave()
    members = tuple(range(world_size))
    second = Group(generation=2, rank=rank, members=members, store=("127.0.0.1", int(address)))
    process_group.join(second, listener, backend="gloo", timeout_s=30)
    total = torch.tensor([float(rank)])
    dist.all_reduce(total)
    return [float(total)]


def test_a_group_that_failed_while_it_was_made_does_not_spoil_the_next() -> None:
    assert run_ranks(2, again_after_a_failure, {}) == [[1.0], [1.0]]


def leaves_while_a_collective_hangs(rank: int, _world_size: int, given: dict[str, Any]) -> str:
    """Rank 1 takes no part in a sum until rank 0 has left the group, which the coordinator has called broken."""
    told = Path(given["told"])
    if rank == 1:
        deadline = time.monotonic() + 30  # the backend gives up after 60
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return "stayed" if told.exists() else "waited in vain"
    asked = itertools.count()
    ranks = Ranks(broken=lambda: next(asked) > 1)
    with pytest.raises(GroupBroken) as raised:
        ranks.add_up([torch.ones(3)])
    ranks.let_go()
    process_group.leave()
    told.touch()
    return str(raised.value)


def test_who_waits_in_a_broken_group_leaves_it_though_its_backend_hangs(tmp_path: Path) -> None:
    ends = run_ranks(2, leaves_while_a_collective_hangs, {"told": str(tmp_path / "left")})
    assert ends == ["the connection to another rank broke", "stayed"]
