"""The second half of `motley profile`: some real steps of all hosts together, with the shares that fit.

Alone, a host never waits. Together, the slowest of several counts in every step, and a host that is busy finds time for
its part of the ring late. A few seconds of a real run show by how much, so that `motley plan` need not guess.

    >>> await rehearse(cluster, profiles, emit)
    Rehearsal(task='simple_cnn/digits', …)
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from motley.console.commands.plan import candidates_of
from motley.console.commands.stored_profiles import knows, store_of, task_key
from motley.console.control.session_protocol import Emit
from motley.profiles.predict import predict
from motley.profiles.rehearsal import Rehearsal
from motley.profiles.split_solver import SplitError
from motley.profiles.store import Profile
from motley.remote.config.cluster import Cluster
from motley.remote.errors import Finding, MotleyError
from motley.remote.feed import Progress

SECONDS = 8.0
STEPS_LEAST, STEPS_MOST = 8, 60


async def rehearse(cluster: Cluster, profiles: Sequence[Profile], emit: Emit) -> Rehearsal | Finding | None:
    """None for a single device, and for a script, which ends when it wants to; a finding when the hosts could not train
    together."""
    from motley.remote.session.session import Session

    candidates, _ = candidates_of(cluster, profiles)
    candidates.sort(key=lambda c: c.host != cluster.leader)
    gradient_bytes = max((p.gradient_bytes for p in profiles), default=0)
    if len(candidates) < 2 or cluster.run.program is not None:
        return None
    try:
        expected = predict(candidates, cluster.run.global_batch, gradient_bytes)
    except SplitError as error:
        return _finding(cluster, str(error), "Raise max_batch or lower run.global_batch.")
    steps = max(STEPS_LEAST, min(STEPS_MOST, int(SECONDS * 1000 / expected.step_ms)))
    only = [h for h in cluster.hosts if any(c.host == h.name for c in candidates)]
    shorter = dataclasses.replace(
        cluster,
        hosts=tuple(only),
        run=dataclasses.replace(
            cluster.run, steps=steps, eval_every=0, checkpoint_every=0, trace_steps=0, local_steps=1, compress="none"
        ),
        balance=dataclasses.replace(cluster.balance, policy="static", shares=expected.shares),
    )
    text = f"a short run of all {len(only)} hosts together shows how long they wait for each other"
    emit(Progress(host=cluster.leader, stage="measure", text=text))
    name = f"profile-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    session = Session(shorter, name, emit=emit, knows=knows(cluster, store_of(cluster)))
    try:
        await session.launch()
        ended = await session.wait()
        if ended.state != "finished":
            why = str(ended.summary.get("cause") or f"the rehearsal {ended.state}")
            return _finding(cluster, f"the hosts did not train together: {why}", "motley run shows more.")
        step_ms, sending_ms = _medians(session.folder, len(candidates))
    except asyncio.CancelledError:  # Ctrl-C: nobody would come back to this run
        with contextlib.suppress(MotleyError):
            await asyncio.shield(session.stop("motley profile was interrupted"))
        raise
    except MotleyError as error:
        return _finding(cluster, f"the hosts did not train together: {error}", "motley check tells what is wrong.")
    finally:
        await session.close()
        shutil.rmtree(session.folder, ignore_errors=True)
    return Rehearsal(
        task=task_key(cluster),
        members=tuple((c.host, c.device) for c in candidates),
        shares=expected.shares,
        gradient_bytes=gradient_bytes,
        step_ms=step_ms,
        sending_ms=sending_ms,
        time=time.time(),
    )


def _medians(folder: Path, ranks: int) -> tuple[float, float]:
    """Of the second half of the steps: the whole, and what the rank that came last waited."""
    logs = [folder / "logs" / f"rank_{n}_metrics.jsonl" for n in range(ranks)]
    rows = [[json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] for log in logs]
    steps = list(zip(*rows))
    late = steps[len(steps) // 2 :]
    return (
        median(max(r["step_ms"] for r in step) for step in late),
        median(min(r["wait_ms"] for r in step) for step in late),
    )


def _finding(cluster: Cluster, cause: str, remedy: str) -> Finding:
    return Finding(cluster.leader, "rehearsal", "warning", cause, remedy)
