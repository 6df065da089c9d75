"""Process groups made one after another in the same processes, as regroups do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

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
