"""What grows with the hosts: `python tests/bench/scale/bench_scale.py`. For docs/scale.md.

The coordinator, real and in a process of its own, with connections that greet it, form a group, and give their signs of
life, up to 10,000; and the console's store and table with as many ranks, fed by hand. Beside them a fixed piece of
Python work, to compare other machines by. CPU times, and seconds where members wait; it ends with exit code 1 when
something fails, and wants no figure. Takes about six minutes, and 20,000 open files.
"""

from __future__ import annotations

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
from tests.bench.bench_coordinator import TooLong, measured
from tests.bench.results import record, yardstick
from tests.console.scripted import START, event

MEMBERS = (100, 1_000, 3_000, 10_000)
RANKS = (64, 1_000, 10_000)
STEPS, PAINTS = 10, 5
FIGURES = {  # what of a coordinator -> how it is written
    "until all have called and the first group is known": "{first:.1f} s, of which {first_cpu:.1f} s CPU of its own",
    "what a member is told of a group": "{group_kib:.0f} KiB",
    "CPU at rest, of a core": "{cores:.1%}",
    "memory": "{mib:.0f} MiB",
    "one that fell silent is known to all after": "{silent:.2f} s",
    "one that hung up is known to all after": "{hung_up:.2f} s",
    "the next group is known to all after": "{again:.2f} s",
}


def fed(ranks: int) -> dict[str, float]:
    """Of a console that shows so many ranks: `us` of CPU a sample, `ms` a painted screen."""
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
    }


def main() -> int:
    rows = [yardstick()]
    for members in MEMBERS:
        try:
            found, bound = measured(members), ""
        except TooLong as error:
            found, bound = error.found, str(error)
        for what, form in FIGURES.items():
            try:
                value = form.format(**{name.replace(" ", "_"): one for name, one in found.items()})
            except KeyError:
                value = bound
            rows.append((f"coordinator, {members:,} members: {what}", value))
    for ranks in RANKS:
        one = fed(ranks)
        rows += [
            (f"console, {ranks:,} ranks: CPU of a line of metrics", f"{one['us']:.0f} us"),
            (f"console, {ranks:,} ranks: CPU of a painted screen", f"{one['ms']:.0f} ms"),
        ]
    text = "Members and ranks that train nothing, all on this machine, which also plays the members."
    print(record("Scale", text, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
