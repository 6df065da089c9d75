"""What a script finds in its environment: the names and numbers that torchrun would give it."""

from __future__ import annotations

import dataclasses
import os

import pytest

from motley.trainer.contract.generation import Group
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.rank.torchrun_environment import environment

PLACES = [("box0", "cuda:0"), ("box0", "cuda:1"), ("box1", "cpu"), ("box2", "cuda:1")]
SPEC = Spec(
    run="night", host="box0", token="ab" * 32, leader="box0", leader_address="10.0.0.1", port=29501,
    members=tuple(Member(member=i, host=host, local_rank=0, device=device) for i, (host, device) in enumerate(PLACES)),
    options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(restarts=2), data=DataOptions(), env={},
    script=Script(path="src/train.py", args=("--lr", "1"), tree="8f5a", port=29500),
)  # fmt: skip


def test_the_spec_of_a_script_travels_whole() -> None:
    assert Spec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize(
    ("members", "member", "expected"),
    [
        ((0, 1, 2, 3), 0, "rank 0 of 4, local 0 of 2, node 0 of 3"),
        ((0, 1, 2, 3), 1, "rank 1 of 4, local 1 of 2, node 0 of 3"),
        ((0, 1, 2, 3), 3, "rank 3 of 4, local 0 of 1, node 2 of 3"),
        ((1, 3), 1, "rank 0 of 2, local 0 of 1, node 0 of 2"),
        ((1, 3), 3, "rank 1 of 2, local 0 of 1, node 1 of 2"),
        ((2,), 2, "rank 0 of 1, local 0 of 1, node 0 of 1"),
    ],
)
def test_ranks_are_counted_among_those_that_take_part(members: tuple[int, ...], member: int, expected: str) -> None:
    group = Group(generation=1, rank=members.index(member), members=members, store=("10.0.0.3", 29500))
    env = environment(SPEC, group, member)
    told = f"rank {env['RANK']} of {env['WORLD_SIZE']}, local {env['LOCAL_RANK']} of {env['LOCAL_WORLD_SIZE']}, "
    assert told + f"node {env['NODE_RANK']} of {env['GROUP_WORLD_SIZE']}" == expected
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("10.0.0.3", "29500")
    counts = [env[n] for n in ("MOTLEY_RESTART", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")]
    assert counts == ["1", "1", "2"]
    assert env["MOTLEY_DEVICE"] == PLACES[member][1]
    assert env["NODE_RANK"] == env["GROUP_RANK"]
    assert "MOTLEY_DATA" not in env
    pushed = dataclasses.replace(SPEC, data=DataOptions(path="~/.motley/data/8f5a/files"))
    assert environment(pushed, group, member)["MOTLEY_DATA"] == f"{os.environ['HOME']}/.motley/data/8f5a/files"
