"""What the console costs its own machine: a core's part for 64 ranks at 10 steps a second, painted four times a second.

    python tests/bench/bench_console.py [RANKS]

Records of a run whose lines come as they do from hosts (a look five times a second, each at its own moment) are fed to
the store; the lines of the header and the table are made as the app makes them. Without Textual, which writes only what
has changed.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from motley.console.state.store import Store
from motley.console.view.rank_table import table
from motley.console.view.run_lines import run_lines
from motley.remote.feed import Layout, RankLayout
from motley.trainer.contract.wire import Sample
from tests.console.scripted import START, event

STEPS_PER_S, LOOKS_PER_S, PAINTS_PER_S = 10, 5, 4
SECONDS = 60  # of the run
BATCH_OF_RANK = 16


def sample(step: int, member: int, noise: float) -> Sample:
    return Sample(
        seq=step - 1, step=step, epoch=step // 100, time=START + step / STEPS_PER_S, host=f"host{member}",
        member=member, rank=member, generation=0, batch=BATCH_OF_RANK, loss=1.0 + noise, compute_ms=60 + 30 * noise,
        wait_ms=40 - 30 * noise, data_ms=0.4, step_ms=100.0 + noise, samples_per_s=160.0, mem_mib=300.0,
    )  # fmt: skip


def core(ranks: int, *, seconds: int = SECONDS) -> float:
    """The part of a core that the console takes."""
    chance = random.Random(1)
    hosts = tuple(RankLayout(member=n, host=f"host{n}", device="cpu") for n in range(ranks))
    samples = [[sample(step, n, chance.random()) for step in range(1, seconds * STEPS_PER_S + 1)] for n in range(ranks)]
    store = Store()
    store.apply(
        Layout(
            run="bench", task="simple_cnn/digits", policy="dynamic", global_batch=ranks * BATCH_OF_RANK,
            steps_total=seconds * STEPS_PER_S, leader="host0", ranks=hosts,
        ),
        START,
    )  # fmt: skip
    members = [{"member": n, "host": f"host{n}", "rank": n, "device": "cpu"} for n in range(ranks)]
    store.apply(replace(event("group", "all are ready"), data={"generation": 0, "members": members}), START)
    moments = [
        (look / LOOKS_PER_S + chance.random() / LOOKS_PER_S, n)
        for look in range(seconds * LOOKS_PER_S)
        for n in range(ranks)
    ]
    moments += [(paint / PAINTS_PER_S, -1) for paint in range(seconds * PAINTS_PER_S)]
    moments.sort()
    read = [0] * ranks
    began = time.process_time()
    for at, member in moments:
        if member < 0:
            shown = store.snapshot()
            run_lines(shown, width=200, now=START + at)
            table(shown, width=200, now=START + at)
            continue
        there = int(at * STEPS_PER_S)
        for n in range(read[member], there):
            store.apply(samples[member][n], START + at)
        read[member] = max(read[member], there)
    return (time.process_time() - began) / seconds


def main() -> int:
    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    measured = sorted(core(ranks) for _ in range(5))
    print(
        f"{ranks} ranks at {STEPS_PER_S} steps/s: {measured[2]:.3f} of a core ({measured[0]:.3f} to {measured[-1]:.3f})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
