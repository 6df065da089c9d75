"""`motley stop`: ends a run on every host, and says which hosts did not answer."""

from __future__ import annotations

import asyncio
import sys

from motley.console.commands.json_output import print_data
from motley.remote.config.cluster import Cluster
from motley.remote.session import runs


def stop(cluster: Cluster, run: str) -> int:
    """1 when a host did not answer: ranks may run on there."""

    def told(text: str) -> None:
        print(f"motley: {text}", file=sys.stderr)

    record, over = asyncio.run(runs.stop(cluster, run, "motley stop", told))
    data = {"run": run, "state": record.state, "unanswered": list(record.unanswered)}
    print_data({**data, "was_over": True} if over else data)
    if over:
        print(f"motley: '{run}' had ended before ({record.state}); nothing of it was running", file=sys.stderr)
    if record.unanswered:
        who = ", ".join(record.unanswered)
        print(f"motley: no answer from {who}: ranks may run on there; stop again when back", file=sys.stderr)
    return 1 if record.unanswered else 0
