"""`motley logs`: what happened in a run, in order of time, and what its ranks print."""

from __future__ import annotations

import asyncio
import sys

from motley.remote.config.cluster import Cluster
from motley.remote.session import runs
from motley.remote.session.run_log import text_of


def logs(cluster: Cluster, run: str, *, rank: int | None, follow: bool) -> int:
    """`rank`: only its lines. With `follow` it goes on until the run has ended."""
    causes: list[str] = []

    async def copy() -> None:
        async for row in runs.logs(cluster, run, rank, follow, told=causes.append):
            print(text_of(row), flush=follow)

    asyncio.run(copy())
    for cause in causes:
        print(f"motley: {run}: {cause}", file=sys.stderr)
    return 0
