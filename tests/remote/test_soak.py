"""A short form of `make soak`."""

from __future__ import annotations

import pytest

from tests.remote.soak import soak
from tests.remote.stage import Stage

pytestmark = pytest.mark.long


async def test_stops_and_kills_at_random_moments_leave_nothing_and_lose_nothing(stage: Stage) -> None:
    counted, nights = await soak(stage, acts=12, seed=3)
    assert counted.total() >= 12
    assert nights >= 4
