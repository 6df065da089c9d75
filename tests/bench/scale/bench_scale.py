"""What grows with the hosts: `python tests/bench/scale/bench_scale.py`. For docs/scale.md.

The coordinator, real and in a process of its own, with connections that greet it, form a group, and give their signs of
life, up to 10,000; and the console's store and table with as many ranks, fed by hand. Ratios and CPU times; it ends
with exit code 1 when something fails, and wants no figure. Takes about four minutes.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from motley.console.state.store import Store
from motley.console.view.rank_table import table
from motley.console.view.run_lines import run_lines
from motley.remote.feed import Layout, RankLayout
from tests.bench.bench_console import BATCH_OF_RANK, sample
from tests.bench.bench_coordinator import measured, resident_mib
from tests.bench.results import record
from tests.console.scripted import START, event

MEMBERS = (100, 1_000, 3_000, 10_000)
RANKS = (64, 1_000, 10_000)
STEPS, PAINTS = 10, 5


def fed(ranks: int) -> dict[str, float]:
    """Of a console that shows so many ranks: `us` of CPU a sample, `ms` a painted screen, `kib` of memory a rank."""
    gc.collect()
    before = resident_mib(os.getpid())
    hosts = tuple(RankLayout(member=n, host=f"host{n}", device="cpu") for n in range(ranks))
    chance, store = random.Random(1), Store()
    layout = Layout(
        run="bench", task="simple_cnn/digits", policy="dynamic", global_batch=ranks * BATCH_OF_RANK,
        steps_total=STEPS, leader="host0", ranks=hosts,
    )  # fmt: skip
    store.apply(layout, START)
    members = [{"member": n, "host": f"host{n}", "rank": n, "device": "cpu"} for n in range(ranks)]
    store.apply(replace(event("group", "all are ready"), data={"generation": 0, "members": members}), START)
    samples = [sample(step, n, chance.random()) for step in range(1, STEPS + 1) for n in range(ranks)]
    began = time.process_time()
    for one in samples:
        store.apply(one, one.time)
    applied = time.process_time() - began
    del samples
    now, began = START + STEPS, time.process_time()
    for _ in range(PAINTS):
        shown = store.snapshot()
        run_lines(shown, width=200, now=now)
        table(shown, width=200, now=now)
    painted = time.process_time() - began
    return {
        "us": applied / (STEPS * ranks) * 1e6,
        "ms": painted / PAINTS * 1e3,
        "kib": max(0.0, resident_mib(os.getpid()) - before) * 1024 / ranks,
    }


def main() -> int:
    rows = []
    for members in MEMBERS:
        found = measured(members)
        rows += [
            (f"coordinator, {members:,} members: CPU at rest", f"{found['cores']:.1%} of a core"),
            (f"coordinator, {members:,} members: memory", f"{found['mib']:.0f} MiB"),
            (f"coordinator, {members:,} members: until all have called and the first group is known",
             f"{found['first']:.1f} s, of which {found['first_cpu']:.1f} s CPU of its own"),
            (f"coordinator, {members:,} members: one that hung up, one that fell silent is known to all after",
             f"{found['hung up']:.2f} s, {found['silent']:.2f} s"),
            (f"coordinator, {members:,} members: the next group is known to all after", f"{found['again']:.2f} s"),
        ]  # fmt: skip
    for ranks in RANKS:
        one = fed(ranks)
        rows += [
            (f"console, {ranks:,} ranks: CPU of a line of metrics", f"{one['us']:.0f} us"),
            (f"console, {ranks:,} ranks: CPU of a painted screen", f"{one['ms']:.0f} ms"),
            (f"console, {ranks:,} ranks: memory a rank after {STEPS} steps", f"{one['kib']:.0f} KiB"),
        ]
    text = "Members and ranks that train nothing, all on this machine, which also plays the members."
    print(record("Scale", text, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
