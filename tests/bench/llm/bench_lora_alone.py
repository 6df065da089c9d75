"""LoRA on three real hosts against each of them alone: `make bench-llm`, as root.

The runs of `bench_lora.py`. Each host alone, with as many rows a step as it had beside the others, all together, and
all together with twice the rows a step take turns by the second (`tests/bench/contest.py`).
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.bench import results
from tests.bench.contest import contest, interval, ratios
from tests.bench.llm.bench_lora import BATCH, ENDLESS, FOLDER, HOSTS, ROWS, START_S, TURN_S, LoraBench
from tests.bench.llm.small_model import LENGTH, write
from tests.lab.lab import Lab

ROUNDS = 8
TWICE = "balanced, twice the rows"
WANTED = 0.88  # of the sum of the hosts alone


def main() -> int:
    with Lab(HOSTS) as lab:
        bench = LoraBench(lab, task="causal_lm", global_batch=BATCH)
        write(bench.folder / FOLDER, rows=ROWS)
        settled = list(bench.motley(steps=60, policy="dynamic").batches[-1])
        batches = {"balanced": BATCH, TWICE: 2 * BATCH, **dict(zip(HOSTS, settled, strict=True))}
        found = contest(
            {
                "balanced": lambda: bench.start(steps=ENDLESS, policy="dynamic"),
                TWICE: lambda: bench.start(steps=ENDLESS, policy="dynamic", batch=2 * BATCH),
                **{
                    host: functools.partial(bench.start, steps=ENDLESS, hosts=[host], batch=batches[host])
                    for host in HOSTS
                },
            },
            batch=BATCH,
            done=lambda name, _: batches[name] * LENGTH,
            rounds=ROUNDS,
            turn_s=TURN_S,
            start_s=START_S,
        )
    together = [sum(of_hosts) for of_hosts in zip(*(found[host] for host in HOSTS), strict=True)]
    of_sum, twice_of_sum = (ratios(found[name], together) for name in ("balanced", TWICE))
    rows = [
        ("rows a rank, as a balanced run settled", "/".join(map(str, settled))),
        ("each host alone with these rows, tokens/s", " + ".join(f"{median(found[host]):,.0f}" for host in HOSTS)),
        ("balanced, tokens/s, median", f"{median(found['balanced']):,.0f}"),
        (f"balanced, {BATCH} rows a step / sum of the hosts alone", interval(of_sum)),
        (f"balanced, {2 * BATCH} rows a step / sum of the hosts alone", interval(twice_of_sum)),
    ]
    text = (
        "As above. Whole rows are what is shared out: of 24 none can be split as the hosts' speeds are. ± is a 95 % "
        "interval. Ratios of runs that took turns by the second."
    )
    print(results.record("Language models, hosts alone", text, rows))
    return int(mean(of_sum) < WANTED)


if __name__ == "__main__":
    sys.exit(main())
