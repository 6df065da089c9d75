from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from motley.remote.hosts.pool import Hosts
from motley.remote.hosts.reach import Connection
from tests.remote.conftest import MakeCluster


@pytest.fixture
async def connection(make_cluster: MakeCluster) -> AsyncIterator[Connection]:
    """To the one host of a demo."""
    cluster = make_cluster('[cluster]\nname = "demo"\nconnect = "demo"\n[[hosts]]\nname = "box"\n')
    async with Hosts(cluster) as hosts:
        yield await hosts.get("box")
