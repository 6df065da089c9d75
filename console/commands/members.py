"""`motley join` and `motley drop`: a host is brought into a run under way, or taken out of it."""

from __future__ import annotations

import asyncio
import sys

from motley.console.commands.json_output import print_data
from motley.console.commands.plain import Printer
from motley.console.commands.stored_profiles import knows, store_of
from motley.remote.config.cluster import Cluster
from motley.remote.session import runs


def join(cluster: Cluster, run: str, host: str) -> int:
    """Raises CheckFailed when the host is not in order, UsageError when it can't be brought in."""
    asyncio.run(runs.join(cluster, run, host, Printer(), knows(cluster, store_of(cluster))))
    print_data({"run": run, "host": host, "state": "joined"})
    return 0


def drop(cluster: Cluster, run: str, host: str) -> int:
    """1 when the host did not answer: ranks that run on there end when they call the others."""
    answered = asyncio.run(runs.drop(cluster, run, host, Printer().note))
    print_data({"run": run, "host": host, "state": "dropped", "answered": answered})
    if not answered:
        print(f"motley: {host} did not answer: ranks that run on there end when they call the others", file=sys.stderr)
    return 0 if answered else 1
