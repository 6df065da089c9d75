"""Who says how many threads a rank has: cluster.toml, the environment, an earlier process, a profile; or a trial."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motley.trainer.rank.cpu_threads import Known, decide

NOTHING = Known(
    asked=None, environment=16, ours=16, in_env=False, found=None, profile=None, profiled=False, emulated=False
)  # fmt: skip


@pytest.mark.parametrize(
    ("known", "counts"),
    [
        ({}, (1, 8, 16)),
        ({"asked": 5, "profile": 1, "found": 8, "in_env": True, "environment": 3}, (5,)),
        ({"environment": 3, "profile": 1}, (3,)),  # OMP_NUM_THREADS is the user's own
        ({"in_env": True, "profile": 1}, (16,)),  # also where it is what we would have taken
        ({"profile": 8}, (8,)),
        ({"profile": 8, "profiled": True}, (8,)),
        ({"profiled": True}, (16,)),  # by a profile of before: its cost is that of all cores
        ({"found": 1}, (1,)),  # a new process of a rank that has tried
        ({"emulated": True, "environment": 1}, (1,)),
    ],
)
def test_what_is_given_holds_then_what_was_measured_and_else_it_is_tried(
    known: dict[str, object], counts: tuple[int, ...]
) -> None:
    assert decide(replace(NOTHING, **known), (1, 8, 16)) == counts  # type: ignore[arg-type]
