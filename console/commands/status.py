"""`motley status`: what runs on the hosts, and what ran there."""

from __future__ import annotations

import asyncio
import sys

from motley.console.commands.json_output import print_data
from motley.console.view.answer_tables import status_text
from motley.remote.config.cluster import Cluster
from motley.remote.session import runs


def status(cluster: Cluster, *, json: bool) -> int:
    """Hosts that do not answer are told of on stderr, with what to do."""
    data = asyncio.run(runs.status(cluster))
    if json:
        print_data(data)
    else:
        print(status_text(data))
    for silent in data.get("unreachable", []):
        print(f"✖ {silent['host']}: {silent['cause']}\n  {silent['remedy']}", file=sys.stderr)
    return 0
