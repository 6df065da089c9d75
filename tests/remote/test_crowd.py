"""A short form of the second part of `make soak`."""

from __future__ import annotations

import pytest

from tests.remote.crowd import RANKS, crowd, cuts
from tests.remote.stage import Stage

pytestmark = pytest.mark.long


async def test_connections_that_are_cut_again_and_again_lose_no_line(stage: Stage) -> None:
    assert "0, 0" in " ".join((await cuts(stage, 3)).values())


async def test_a_run_of_many_ranks_is_followed_and_stopped(stage: Stage) -> None:
    rows = await crowd(stage, 3)
    assert any(f"3 hosts with {RANKS} ranks" in name for name in rows)
