"""`motley checkpoint`: has a run that is on write a checkpoint now, and says where it is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from motley.console.commands.json_output import print_data
from motley.console.commands.plain import Printer
from motley.remote.config.cluster import Cluster
from motley.remote.session import runs


def checkpoint(cluster: Cluster, run: str, *, json: bool) -> int:
    """Raises RunFailed when it can't be written, UsageError when nobody can be asked for it."""
    written = asyncio.run(runs.checkpoint(cluster, run, Printer().note))
    if json:
        print_data({"run": run, **asdict(written)})
    else:
        print(written.told())
    return 0
