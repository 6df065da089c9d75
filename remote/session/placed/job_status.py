"""`motley status` where hosts are nodes of jobs: each job is asked for its own run, one that waits says for what.

>>> await status_of_jobs(cluster, look)
{'runs': [{'run': 'night', 'state': 'queued', 'step': None, 'hosts': [], 'cause': 'in the queue: Resources, …'}]}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import MotleyError
from motley.remote.placement.placement import placed_runs, placement_of
from motley.remote.session.placed.hand_over import restarts_of

UNKNOWN = (
    "requeued by Slurm on other nodes: the one that is to lead has nothing of it, and nobody goes on; `motley attach "
    "{run}` brings there what came home, for some minutes; later `motley run --resume {run}` goes on from it"
)
Look = Callable[[Cluster], Awaitable[dict[str, Any]]]


async def status_of_jobs(cluster: Cluster, look: Look) -> dict[str, Any]:
    """`look`: what hosts that can be connected to say. Runs of jobs that are gone are told by nobody."""
    found: list[dict[str, Any]] = []
    silent: list[dict[str, str]] = []
    for run, state in await placed_runs(cluster):
        if state.phase == "queued":
            found.append({"run": run, "state": "queued", "step": None, "hosts": [], "cause": state.says})
            continue
        try:
            placed = await placement_of(cluster, run).found(lambda _: None)
            told = await look(placed)
        except MotleyError as error:
            silent.append({"host": run, "cause": str(error), "remedy": ""})
            continue
        mine = [row for row in told["runs"] if row["run"] == run]
        if restarts_of(placed) and placed.leader not in {host["name"] for row in mine for host in row["hosts"]}:
            mine = [{"run": run, "state": "waiting", "step": None, "hosts": [], "cause": UNKNOWN.format(run=run)}]
        found += mine or [{"run": run, "state": "starting", "step": None, "hosts": []}]
        silent += told.get("unreachable", [])
    return {"runs": found, **({"unreachable": silent} if silent else {})}
